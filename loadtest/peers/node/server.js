// An echo server as one writes it with ws: node server.js ADDRESS PORT
// Compression is off (its default), as it is for every other server in the comparison.
'use strict';

const { WebSocketServer } = require('ws');

const [host, port] = process.argv.slice(2);
const server = new WebSocketServer({ host, port: Number(port), backlog: 4096, perMessageDeflate: false });

server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  // A client that resets TCP has left, which is no fault.
  socket.on('error', () => socket.terminate());
});
