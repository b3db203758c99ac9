"""A holdfast agent in Python: python agent.py ws://127.0.0.1:8080 web-1   (a token in HOLDFAST_TOKEN, or in the
file that HOLDFAST_TOKEN_FILE names, replaces the id; the file is read again when the token runs out)"""
import asyncio, contextlib, json, os, random, sys
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

TOKEN_FILE = os.environ.get("HOLDFAST_TOKEN_FILE")

def newest_token():
    if TOKEN_FILE:
        with open(TOKEN_FILE) as file:
            return file.read().strip()
    return os.environ.get("HOLDFAST_TOKEN")

METHODS = {"ping": lambda params: "pong", "echo": lambda params: params}

async def answer(ws, call):
    reply = {"jsonrpc": "2.0", "id": call["id"]}
    try:
        if call["method"] not in METHODS:
            reply["error"] = {"code": -32601, "message": "no such method: " + call["method"]}
        else:
            reply["result"] = METHODS[call["method"]](call.get("params"))
        text = json.dumps(reply)
    except Exception as error:
        text = json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": {"code": 1, "message": str(error)}})
    with contextlib.suppress(ConnectionClosed):  # nobody waits for the reply any more
        await ws.send(text)

async def serve(url, headers):
    async with connect(url, subprotocols=["holdfast.v1.json"], additional_headers=headers,
                       max_size=1 << 24, ping_interval=60) as ws:
        running = set()
        async for message in ws:  # ends when the gateway closes with 1000 or 1001; other codes raise ConnectionClosed
            envelope = json.loads(message)
            if "id" in envelope and "method" in envelope:  # a call; each is a task, so a slow one delays no other
                await ws.send(json.dumps({"jsonrpc": "2.0", "method": "receipt", "params": {"id": envelope["id"]}}))
                task = asyncio.create_task(answer(ws, envelope))
                running.add(task)
                task.add_done_callback(running.discard)
            elif envelope.get("method") == "token_expiring" and TOKEN_FILE:  # the answer, with an id and no method, is passed over
                with contextlib.suppress(OSError):  # without a newer one the connection ends with the token
                    params = {"token": newest_token()}
                    await ws.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "refresh", "params": params}))
            elif envelope.get("method") == "goaway":  # the close frame follows at once
                return envelope["params"]["reconnect_after_ms"] / 1000

async def main(url, agent):
    ceiling, url = 1, url.rstrip("/") + "/v1/agent"
    while True:
        began, wait = asyncio.get_running_loop().time(), None
        try:
            token = newest_token()
            headers = {"Authorization": "Bearer " + token} if token else {}
            wait = await serve(url + ("" if token else "?agent=" + agent), headers)
        except ConnectionClosed as error:
            if error.rcvd and error.rcvd.code >= 4500:
                sys.exit(f"not coming back: {error}")
        except InvalidStatus as error:
            if 400 <= error.response.status_code < 500 and error.response.status_code not in (408, 429):
                sys.exit(f"refused: {error}")
        except (OSError, TimeoutError, ValueError, InvalidHandshake) as error:
            print(error, file=sys.stderr)
        ceiling = 1 if asyncio.get_running_loop().time() - began > 60 else min(2 * ceiling, 60)
        await asyncio.sleep(random.uniform(0, ceiling) if wait is None else wait)

if len(sys.argv) < 2:
    sys.exit(__doc__)
try:
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
except KeyboardInterrupt:
    pass
