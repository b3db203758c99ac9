// A holdfast agent in Go: go run . ws://127.0.0.1:8080 web-1   (a token in HOLDFAST_TOKEN replaces the id)
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
func serve(ctx context.Context, url string, header http.Header) (wait time.Duration, err error) {
	wait = -1
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
	url, header := strings.TrimSuffix(os.Args[1], "/")+"/v1/agent", http.Header{}
	if token := os.Getenv("HOLDFAST_TOKEN"); token != "" {
		header.Set("Authorization", "Bearer "+token)
	} else if len(os.Args) > 2 {
		url += "?agent=" + os.Args[2]
	}
	for ceiling := time.Second; ; {
		began := time.Now()
		wait, err := serve(context.Background(), url, header)
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
