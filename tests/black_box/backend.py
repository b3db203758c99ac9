"""A backend in Python: python backend.py CONTROL LINK KEY AGENT METHOD...   Calls each method of the agent, over HTTP and over a link, and
prints a JSON list: what came back over HTTP, and over the link."""
import asyncio, json, sys, urllib.error, urllib.request
from websockets.asyncio.client import connect

control, link, key, agent, *methods = sys.argv[1:]
AUTHORIZATION = {"Authorization": "Bearer " + key}

def over_http(method):
    body = json.dumps({"method": method, "timeout": "60s"}).encode()
    request = urllib.request.Request(f"http://{control}/v1/agents/{agent}/calls", data=body, headers=AUTHORIZATION)
    try:
        with urllib.request.urlopen(request) as answer:
            return {"status": answer.status, "result": json.load(answer)["result"]}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "problem": json.load(error)["type"].removeprefix("/problems/")}

async def over_link():
    found = []
    async with connect(f"ws://{link}/v1/link", subprotocols=["holdfast.v1.json"], additional_headers=AUTHORIZATION) as ws:
        await ws.recv()  # the welcome
        for number, method in enumerate(methods, 1):
            call = {"jsonrpc": "2.0", "id": number, "method": method, "meta": {"agent": agent, "timeout_ms": 60000}}
            await ws.send(json.dumps(call))
            answer = json.loads(await ws.recv())
            assert answer["id"] == number, answer
            found.append(answer["result"]["result"] if "result" in answer else answer["error"]["code"])
    return found

print(json.dumps([[over_http(method) for method in methods], asyncio.run(over_link())]))
