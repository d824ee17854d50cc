// The Node victim: http from the standard library (or express: FRAMEWORK=express), http.get as its client.
// Usage: node server.js PORT. LEAF_URL names the server that /work calls.
'use strict';
const http = require('node:http');
const port = Number(process.argv[2]);
const leafUrl = process.env.LEAF_URL || '';

function fetchLeaf(ident, done) {
  http.get(`${leafUrl}/leaf/${ident}/0`, (answer) => {
    let body = '';
    answer.on('data', (part) => { body += part; });
    answer.on('end', () => done(200, 'worked ' + body));
  }).on('error', (error) => done(502, String(error)));
}

function handle(req, res) {
  const url = new URL(req.url, 'http://x');
  const parts = url.pathname.slice(1).split('/');
  const answer = (status, body) => {
    res.statusCode = status;
    res.end(status === 204 || status === 304 ? undefined : body);
  };
  switch (parts[0]) {
    case 'work': return fetchLeaf(parts[1], answer);
    case 'slow': return setTimeout(() => answer(200, 'slow'), Number(url.searchParams.get('ms') || 300));
    case 'status': return answer(Number(parts[1]), 'status');
    case 'echo': {
      let size = 0;
      req.on('data', (part) => { size += part.length; });
      return req.on('end', () => answer(200, String(size)));
    }
    case 'chunked':
      for (let part = 0; part < 5; part += 1) res.write(`part ${part}\n`);
      return res.end();
    default: return answer(200, 'leaf ' + url.pathname);
  }
}

if (process.env.FRAMEWORK === 'express') {
  const express = require(process.env.EXPRESS || 'express');
  const app = express();
  app.use((req, res) => handle(req, res));
  app.listen(port, '127.0.0.1');
} else {
  http.createServer(handle).listen(port, '127.0.0.1', 511);
}
