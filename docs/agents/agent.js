// A holdfast agent in Node: node agent.js ws://127.0.0.1:8080 web-1   (a token in HOLDFAST_TOKEN, or in the file that
// HOLDFAST_TOKEN_FILE names, replaces the id; the file is read again when the token runs out)
const fs = require('fs');
const WebSocket = require('ws');

const methods = { ping: () => 'pong', echo: (params) => params };
const [url, id] = process.argv.slice(2);
const file = process.env.HOLDFAST_TOKEN_FILE;
let token = process.env.HOLDFAST_TOKEN;
const newestToken = () => {
  try {
    if (file) token = fs.readFileSync(file, 'utf8').trim();
  } catch (error) {
    console.error(error.message); // the one before may do
  }
  return token;
};
let ceiling = 1;

function connect() {
  newestToken();
  const target = url.replace(/\/$/, '') + '/v1/agent' + (token ? '' : '?agent=' + id);
  const headers = token ? { Authorization: 'Bearer ' + token } : {};
  const ws = new WebSocket(target, 'holdfast.v1.json', { headers, maxPayload: 1 << 24, handshakeTimeout: 10000 });
  const began = Date.now();
  let silence, watchdog, wait;
  const send = (envelope) => ws.readyState === WebSocket.OPEN && ws.send(JSON.stringify({ jsonrpc: '2.0', ...envelope }));
  const heard = () => { // A dead connection says nothing, not even goodbye.
    clearTimeout(watchdog);
    if (silence) watchdog = setTimeout(() => ws.terminate(), silence);
  };
  const call = async ({ id, method, params }) => {
    send({ method: 'receipt', params: { id } });
    if (!Object.hasOwn(methods, method)) return send({ id, error: { code: -32601, message: 'no such method: ' + method } });
    try {
      send({ id, result: (await methods[method](params)) ?? null });
    } catch (error) {
      send({ id, error: { code: 1, message: String(error.message ?? error) } });
    }
  };
  ws.on('ping', heard);
  ws.on('message', (data) => {
    heard();
    let envelope;
    try { envelope = JSON.parse(data); } catch { return; }
    if (envelope.method && envelope.id !== undefined) call(envelope);
    else if (envelope.method === 'welcome') { silence = 2.5 * envelope.params.heartbeat_ms; heard(); }
    else if (envelope.method === 'token_expiring' && file) send({ id: 1, method: 'refresh', params: { token: newestToken() } });
    else if (envelope.method === 'goaway') wait = envelope.params.reconnect_after_ms / 1000;
  });
  ws.on('error', (error) => console.error(error.message)); // 'close' follows
  ws.on('unexpected-response', (request, { statusCode }) => {
    if (statusCode >= 400 && statusCode < 500 && ![408, 429].includes(statusCode)) stop('refused with ' + statusCode);
    request.destroy(new Error('the gateway answered ' + statusCode));
  });
  ws.on('close', (code, reason) => {
    clearTimeout(watchdog);
    if (code >= 4500) stop(`not coming back: ${code} ${reason}`);
    ceiling = Date.now() - began > 60000 ? 1 : Math.min(2 * ceiling, 60);
    setTimeout(connect, 1000 * (wait ?? Math.random() * ceiling));
  });
}

function stop(why) {
  console.error(why);
  process.exit(1);
}

if (!url) stop('usage: node agent.js ws://127.0.0.1:8080 web-1');
connect();
