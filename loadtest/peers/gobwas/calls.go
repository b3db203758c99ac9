package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gobwas/ws"
)

// waiter is a call in flight: the connection that it was sent on, and where its result goes.
type waiter struct {
	conn   socket
	result chan json.RawMessage
}

// call asks an agent and waits for its answer.
func (s *server) call(w http.ResponseWriter, r *http.Request) {
	agent := r.PathValue("agent")
	var body struct {
		Method  string          `json:"method"`
		Timeout string          `json:"timeout"`
		Params  json.RawMessage `json:"params"`
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, messageMax))
	if err == nil {
		err = json.Unmarshal(raw, &body)
	}
	timeout, bad := time.ParseDuration(body.Timeout)
	if err != nil || bad != nil {
		outcome(w, http.StatusBadRequest, "bad_request")
		return
	}
	number, waiting, err := s.open(agent, body.Method, body.Params, timeout)
	if err != nil {
		outcome(w, http.StatusNotFound, "offline")
		return
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	select {
	case result := <-waiting.result:
		answer(w, http.StatusOK, fmt.Appendf(nil, `{"outcome":"ok","agent":%q,"result":%s}`, agent, result))
	case <-deadline.C:
		s.forget(number)
		outcome(w, http.StatusGatewayTimeout, "no_reply")
	case <-r.Context().Done():
		s.forget(number)
	}
}

// open writes a call to its agent; the waiter is there before the first byte leaves.
func (s *server) open(agent, method string, params json.RawMessage, timeout time.Duration) (uint64, waiter, error) {
	name, err := json.Marshal(method)
	if err != nil {
		return 0, waiter{}, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	conn, ok := s.agents[agent]
	if !ok {
		return 0, waiter{}, io.EOF
	}
	s.calls++
	number := s.calls
	call := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":"%016x","method":%s,"params":%s,"meta":{"deadline_ms":%d}}`,
		number, name, params, timeout.Milliseconds())
	frame, err := ws.CompileFrame(ws.NewTextFrame(call))
	if err != nil {
		return 0, waiter{}, err
	}
	waiting := waiter{conn: conn, result: make(chan json.RawMessage, 1)}
	s.waiters[number] = waiting
	if _, err := conn.Write(frame); err != nil {
		delete(s.waiters, number)
		return 0, waiter{}, err
	}
	return number, waiting, nil
}

func (s *server) forget(number uint64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.waiters, number)
}

func outcome(w http.ResponseWriter, status int, name string) {
	answer(w, status, fmt.Appendf(nil, `{"outcome":%q}`, name))
}

// answer tells its length, since net/http would cut a long one into chunks.
func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}
