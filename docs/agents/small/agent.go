// The smallest agent: go run ./small ws://127.0.0.1:8080 web-1   (a token in HOLDFAST_TOKEN replaces the id)
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

func main() {
	ctx, url, header := context.Background(), os.Args[1]+"/v1/agent", http.Header{}
	if token := os.Getenv("HOLDFAST_TOKEN"); token != "" {
		header.Set("Authorization", "Bearer "+token)
	} else {
		url += "?agent=" + os.Args[2]
	}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: header})
	for err == nil {
		ws.SetReadLimit(1 << 20)
		var call struct {
			ID, Method string
			Params     json.RawMessage
		}
		if err = wsjson.Read(ctx, ws, &call); err != nil || call.ID == "" { // welcome, cancel, goaway
			continue
		}
		reply := map[string]any{"jsonrpc": "2.0", "id": call.ID, "result": call.Params}
		if call.Method == "ping" {
			reply["result"] = "pong"
		} else if call.Method != "echo" {
			delete(reply, "result")
			reply["error"] = map[string]any{"code": -32601, "message": "no such method"}
		}
		err = wsjson.Write(ctx, ws, reply)
	}
	log.Fatal(err) // whatever runs it starts it again
}
