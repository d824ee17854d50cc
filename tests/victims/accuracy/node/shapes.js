// What /work/SHAPE/ID calls of the leaf in Node: every call is GET /leaf/ID/N, so that its path says whose it is.
// Usage: node shapes.js http|express|fastify|cluster|worker PORT. LEAF_URL names the leaf, MODULES the folder of packages.
'use strict';
const http = require('node:http');
const path = require('node:path');
const { Worker, isMainThread, parentPort } = require('node:worker_threads');

const leafUrl = process.env.LEAF_URL || '';
const modules = process.env.MODULES || '';
const load = (name) => require(path.join(modules, name));

const leaf = (id, step, query = '') => `${leafUrl}/leaf/${id}/${step}${query}`;
// An address of this host that belongs to the one request, and port 2, where nobody listens.
const refused = (id) => {
  const low = parseInt(id.slice(-4), 16);
  return `http://127.1.${low >> 8}.${low & 255}:2/leaf/${id}/2`;
};
const pause = (id) => new Promise((done) => setTimeout(done, 1 + (parseInt(id.slice(-2), 16) % 8)));

// The ordinary clients: url -> promise of the body; each with a second one that has two connections only.
function byHttp() {
  const over = (agent) => (url) => new Promise((done, failed) => {
    http.get(url, { agent }, (answer) => {
      let body = '';
      answer.on('data', (part) => { body += part; });
      answer.on('end', () => done(body));
    }).on('error', failed);
  });
  return [over(http.globalAgent), over(new http.Agent({ keepAlive: true, maxSockets: 2 }))];
}

function byAxios() {
  const axios = load('axios');
  const over = (httpAgent) => {
    const client = axios.create({ httpAgent, proxy: false, validateStatus: null });
    return (url) => client.get(url);
  };
  return [over(http.globalAgent), over(new http.Agent({ keepAlive: true, maxSockets: 2 }))];
}

function byUndici() {
  const undici = load('undici');
  const two = new undici.Agent({ connections: 2 });
  return [
    (url) => fetch(url).then((answer) => answer.text()),
    (url) => undici.request(url, { dispatcher: two }).then((answer) => answer.body.text()),
  ];
}

let threads = [];
const waiting = new Map();
function onThread(url) {
  if (threads.length === 0) {
    threads = [0, 1].map(() => new Worker(__filename));
    for (const thread of threads) {
      thread.unref();
      thread.on('message', (key) => { waiting.get(key)(); waiting.delete(key); });
    }
  }
  return new Promise((done) => {
    waiting.set(url, done);
    threads[waiting.size % 2].postMessage(url);
  });
}

async function work(shape, id, [get, pooled]) {
  switch (shape) {
    case 'seq':
      for (let step = 0; step < 3; step += 1) await get(leaf(id, step));
      break;
    case 'fanout':
      await Promise.all([0, 1, 2, 3].map((step) => get(leaf(id, step))));
      break;
    case 'timer':
      await get(leaf(id, 0));
      await pause(id);
      await get(leaf(id, 1));
      break;
    case 'pool':
      await Promise.all([0, 1, 2].map((step) => pooled(leaf(id, step))));
      break;
    case 'fail':
      for (const url of [leaf(id, 0, '?fail=500'), leaf(id, 1, '?fail=close'), refused(id)]) {
        await get(url).catch(() => {});
      }
      break;
    case 'handover':
      for (let step = 0; step < 2; step += 1) await onThread(leaf(id, step));
      break;
    case 'background':
      setTimeout(() => get(leaf(id, 0)), 1 + (parseInt(id.slice(-2), 16) % 8));
      break;
    default: throw new Error(shape);
  }
  return 'worked';
}

function main(framework, port) {
  if (framework === 'express') {
    const clients = byAxios();
    const app = load('express')();
    app.get('/work/:shape/:id', async (req, res) => {
      res.type('text/plain').send(await work(req.params.shape, req.params.id, clients));
    });
    app.listen(port, '127.0.0.1', 511);
    return;
  }
  if (framework === 'fastify') {
    const clients = byUndici();
    const app = load('fastify')();
    app.get('/work/:shape/:id', async (req) => work(req.params.shape, req.params.id, clients));
    app.listen({ port, host: '127.0.0.1', backlog: 511 });
    return;
  }
  const cluster = require('node:cluster');
  if (framework === 'cluster' && cluster.isPrimary) {
    for (let count = 0; count < 2; count += 1) cluster.fork();
    return;
  }
  const clients = byHttp();
  http.createServer((req, res) => {
    const [, , shape, id] = req.url.split('/');
    work(shape, id, clients).then((body) => res.end(body), (error) => {
      res.statusCode = 500;
      res.end(String(error));
    });
  }).listen(port, '127.0.0.1', 511);
}

if (isMainThread) {
  main(process.argv[2], Number(process.argv[3]));
} else {
  const [get] = byHttp();
  parentPort.on('message', (url) => get(url).catch(() => {}).then(() => parentPort.postMessage(url)));
}
