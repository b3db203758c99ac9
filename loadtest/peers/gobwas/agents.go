package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

var errUnauthorized = ws.RejectConnectionError(ws.RejectionStatus(401))

// enter upgrades a connection: to /dev/echo for anybody, to /v1/agent with a token.
func (s *server) enter(conn socket, known *connection) error {
	var path, token string
	upgrader := ws.Upgrader{
		OnRequest: func(uri []byte) error {
			path = string(uri)
			return nil
		},
		OnHeader: func(key, value []byte) error {
			if rest, ok := bytes.CutPrefix(value, []byte("Bearer ")); ok && string(key) == "Authorization" {
				token = string(rest)
			}
			return nil
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			switch path {
			case "/dev/echo":
				return nil, nil
			case "/v1/agent":
				agent, err := s.verify(token, time.Now())
				known.agent = agent
				if err != nil {
					return nil, errUnauthorized
				}
				return nil, nil
			}
			return nil, ws.RejectConnectionError(ws.RejectionStatus(404))
		},
	}
	if _, err := upgrader.Upgrade(conn); err != nil {
		return err
	}
	known.upgraded = true
	if known.agent == "" {
		return nil
	}
	s.mutex.Lock()
	// An older connection of the agent stays until it ends; calls go to the newer one.
	s.agents[known.agent] = conn
	s.mutex.Unlock()
	return s.send(conn, ws.OpText, []byte(`{"jsonrpc":"2.0","method":"welcome","params":{}}`))
}

// verify checks a JSON Web Token with HS256 and returns whose it is.
func (s *server) verify(token string, now time.Time) (string, error) {
	signed, signature, _ := cutLast(token, ".")
	head, payload, found := strings.Cut(signed, ".")
	if !found || len(s.secret) == 0 {
		return "", errors.New("no token")
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	if err := part(head, &header); err != nil || header.Algorithm != "HS256" {
		return "", errors.New("another algorithm")
	}
	given, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte(signed))
	if !hmac.Equal(given, mac.Sum(nil)) {
		return "", errors.New("another signature")
	}
	var claims struct {
		Agent   string `json:"sub"`
		Expires int64  `json:"exp"`
	}
	if err := part(payload, &claims); err != nil {
		return "", err
	}
	if claims.Agent == "" || now.Unix() >= claims.Expires {
		return "", errors.New("nobody, or too late")
	}
	return claims.Agent, nil
}

func cutLast(text, sep string) (before, after string, found bool) {
	at := strings.LastIndex(text, sep)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(sep):], true
}

func part(text string, into any) error {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// reply hands an agent's answer to the backend that waits for it.
func (s *server) reply(conn socket, data []byte) error {
	var envelope struct {
		ID     string          `json:"id"`
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return err
	}
	number, err := strconv.ParseUint(envelope.ID, 16, 64)
	if err != nil {
		return nil
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	// A late answer, or another agent's, is dropped.
	if waiting, ok := s.waiters[number]; ok && waiting.conn == conn {
		delete(s.waiters, number)
		waiting.result <- envelope.Result
	}
	return nil
}
