// A holdfast agent in Go: go run . ws://127.0.0.1:8080 web-1   (a token in HOLDFAST_TOKEN, or in the file that
// HOLDFAST_TOKEN_FILE names, replaces the id; the file is read again when the token runs out)
package main

import (
	"context"
	"encoding/json"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

type envelope struct {
	Version string          `json:"jsonrpc"`
	ID      string          `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *failure        `json:"error,omitempty"`
}

type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

var tokenFile = os.Getenv("HOLDFAST_TOKEN_FILE")

func newestToken() (string, error) {
	if tokenFile == "" {
		return os.Getenv("HOLDFAST_TOKEN"), nil
	}
	token, err := os.ReadFile(tokenFile)
	return strings.TrimSpace(string(token)), err
}

func answer(method string, params json.RawMessage) (json.RawMessage, *failure) {
	switch {
	case method == "ping":
		return json.RawMessage(`"pong"`), nil
	case method == "echo" && params != nil:
		return params, nil
	case method == "echo":
		return json.RawMessage("null"), nil
	}
	return nil, &failure{-32601, "no such method: " + method}
}

// serve answers calls until the connection ends; wait is what the gateway asked for, or negative.
func serve(ctx context.Context, url, id string) (wait time.Duration, err error) {
	wait = -1
	token, err := newestToken()
	if err != nil {
		return wait, err
	}
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	} else {
		url += "?agent=" + id
	}
	options := &websocket.DialOptions{Subprotocols: []string{"holdfast.v1.json"}, HTTPHeader: header}
	ws, response, err := websocket.Dial(ctx, url, options)
	if err != nil {
		if s := response; s != nil && s.StatusCode/100 == 4 && s.StatusCode != 408 && s.StatusCode != 429 {
			log.Fatal("refused: ", s.Status)
		}
		return wait, err
	}
	defer ws.CloseNow()
	ws.SetReadLimit(1 << 24)
	for {
		var in envelope
		if err := wsjson.Read(ctx, ws, &in); err != nil {
			return wait, err
		}
		switch {
		case in.ID != "" && in.Method != "": // a call; each on its own goroutine, so a slow one delays no other
			receipt, _ := json.Marshal(map[string]string{"id": in.ID})
			_ = wsjson.Write(ctx, ws, envelope{Version: "2.0", Method: "receipt", Params: receipt})
			go func() {
				result, failed := answer(in.Method, in.Params)
				_ = wsjson.Write(ctx, ws, envelope{Version: "2.0", ID: in.ID, Result: result, Error: failed})
			}()
		case in.Method == "token_expiring" && tokenFile != "": // the answer, with an id and no method, is passed over
			if token, err := newestToken(); err == nil {
				params, _ := json.Marshal(map[string]string{"token": token})
				_ = wsjson.Write(ctx, ws, envelope{Version: "2.0", ID: "refresh", Method: "refresh", Params: params})
			}
		case in.Method == "goaway": // the close frame follows at once
			var goaway struct {
				ReconnectAfterMs int64 `json:"reconnect_after_ms"`
			}
			if json.Unmarshal(in.Params, &goaway) == nil {
				wait = time.Duration(goaway.ReconnectAfterMs) * time.Millisecond
			}
		}
	}
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: go run . ws://127.0.0.1:8080 web-1")
	}
	url, id := strings.TrimSuffix(os.Args[1], "/")+"/v1/agent", ""
	if len(os.Args) > 2 {
		id = os.Args[2]
	}
	for ceiling := time.Second; ; {
		began := time.Now()
		wait, err := serve(context.Background(), url, id)
		if code := websocket.CloseStatus(err); code >= 4500 {
			log.Fatal("not coming back: ", err)
		}
		log.Print(err)
		if ceiling = min(2*ceiling, time.Minute); time.Since(began) > time.Minute {
			ceiling = time.Second
		}
		if wait < 0 {
			wait = rand.N(ceiling)
		}
		time.Sleep(wait)
	}
}
