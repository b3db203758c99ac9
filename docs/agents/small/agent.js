// The smallest agent: node agent.js ws://127.0.0.1:8080 web-1   (a token in HOLDFAST_TOKEN replaces the id)
const WebSocket = require('ws');

const methods = { ping: () => 'pong', echo: (params) => params };
const [url, agent] = process.argv.slice(2);
const token = process.env.HOLDFAST_TOKEN;

function connect() {
  const ws = new WebSocket(url + '/v1/agent' + (token ? '' : '?agent=' + agent),
    { headers: token ? { Authorization: 'Bearer ' + token } : {} });
  ws.on('message', async (data) => {
    const { id, method, params } = JSON.parse(data);
    if (id === undefined) return; // welcome, cancel, goaway
    const answer = Object.hasOwn(methods, method)
      ? { result: (await methods[method](params)) ?? null }
      : { error: { code: -32601, message: 'no such method' } };
    ws.send(JSON.stringify({ jsonrpc: '2.0', id, ...answer }));
  });
  ws.on('error', console.error); // 'close' follows
  ws.on('close', () => setTimeout(connect, 60000 * Math.random()));
}
connect();
