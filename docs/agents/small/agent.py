"""The smallest agent: python agent.py ws://127.0.0.1:8080 web-1   (a token in HOLDFAST_TOKEN replaces the id)"""
import asyncio, json, os, sys
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

METHODS = {"ping": lambda params: "pong", "echo": lambda params: params}

async def main(url, agent, token):
    url += "/v1/agent" if token else f"/v1/agent?agent={agent}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async for ws in connect(url, additional_headers=headers):  # comes back by itself, with back-off
        try:
            async for message in ws:
                call = json.loads(message)
                if "id" not in call:  # welcome, cancel, goaway
                    continue
                reply = {"jsonrpc": "2.0", "id": call["id"]}
                if call["method"] in METHODS:
                    reply["result"] = METHODS[call["method"]](call.get("params"))
                else:
                    reply["error"] = {"code": -32601, "message": "no such method"}
                await ws.send(json.dumps(reply))
        except ConnectionClosed as end:
            if end.rcvd and end.rcvd.code >= 4500:  # replaced or refused: coming back would not help
                raise

asyncio.run(main(sys.argv[1], sys.argv[-1], os.environ.get("HOLDFAST_TOKEN")))
