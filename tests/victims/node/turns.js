// Ways in which a Node program comes from a request to a call: /SHAPE/ID calls the leaf with GET /leaf/ID/N, so that the path of each
// call says whose it is. Usage: node turns.js PORT. LEAF_URL names the leaf.
'use strict';
const http = require('node:http');
const fs = require('node:fs/promises');
const { EventEmitter, once } = require('node:events');
const port = Number(process.argv[2]);
const leafUrl = process.env.LEAF_URL || '';
const byName = leafUrl.replace('127.0.0.1', 'localhost');

const leaf = (id, step) => `${leafUrl}/leaf/${id}/${step}`;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const some = (ms) => 1 + Math.floor(Math.random() * ms);
const kept = new http.Agent({ keepAlive: true });
const few = new http.Agent({ keepAlive: true, maxSockets: 2 });
const fewOnce = new http.Agent({ keepAlive: false, maxSockets: 2 });

const get = (url, agent) => new Promise((done, failed) => {
  http.get(url, { agent }, (answer) => { answer.resume(); answer.on('end', done); }).on('error', failed);
});
const fetched = (url, options) => fetch(url, options).then((answer) => answer.text());

// Ways to hand over: who waits goes on in the turn of whoever was before it.
let last = Promise.resolve();
async function locked(work) {
  const before = last;
  let release;
  last = new Promise((done) => { release = done; });
  await before;
  try { return await work(); } finally { release(); }
}
let token = null;
function shared(id) {
  if (token === null) {
    token = fetched(leaf(id, 'token'));
    token.then(() => setTimeout(() => { token = null; }, 20));
  }
  return token;
}
// Who waits for an event goes on in the turn of whoever tells it.
const told = new EventEmitter();
const event = () => Promise.race([once(told, 'event'), sleep(400)]);
const queue = [];
let running = 0;
async function limited(work) {
  if (running >= 2) await new Promise((done) => queue.push(done));
  running += 1;
  try { return await work(); } finally { running -= 1; if (queue.length > 0) queue.shift()(); }
}

// One loop, which the first request starts, works for all that wait meanwhile.
const jobs = [];
let serving = false;
async function serve() {
  while (jobs.length > 0) {
    const job = jobs.shift();
    await fetched(leaf(job.id, 0));
    job.done();
  }
  serving = false;
}
const hire = (id, done) => { jobs.push({ id, done }); if (!serving) { serving = true; serve(); } };
// Work that is gathered in a turn and sent off in the next.
let gathered = [];
function gather(id, done) {
  if (gathered.length === 0) {
    setImmediate(() => { const all = gathered; gathered = []; for (const one of all) one.go(); });
  }
  gathered.push({ go: done });
}
// Objects that live for a while, so that the collector has to move them.
const kept_objects = [];
const litter = () => { kept_objects.push(new Array(2000).fill({})); if (kept_objects.length > 500) kept_objects.splice(0, 400); };

const shapes = {
  get: (id) => get(leaf(id, 0), false),
  kept: (id) => get(leaf(id, 0), kept),
  queued: (id) => get(leaf(id, 0), few),
  queued_once: (id) => get(leaf(id, 0), fewOnce),
  named: (id) => get(`${byName}/leaf/${id}/0`, false),
  callbacks: (id) => new Promise((done) => {
    let step = 0;
    const next = () => http.get(leaf(id, step), { agent: kept }, (answer) => {
      answer.resume();
      answer.on('end', () => { step += 1; if (step < 3) next(); else done(); });
    });
    next();
  }),
  fetch: (id) => fetched(leaf(id, 0)),
  post: (id) => fetched(leaf(id, 0), { method: 'POST', body: JSON.stringify({ id }) }),
  sequence: async (id) => { for (let step = 0; step < 3; step += 1) await fetched(leaf(id, step)); },
  at_once: (id) => Promise.all([0, 1, 2].map((step) => fetched(leaf(id, step)))),
  slept: async (id) => { await sleep(some(20)); await fetched(leaf(id, 0)); await sleep(1); await get(leaf(id, 1), false); },
  slept_alike: async (id) => { await sleep(5); await get(leaf(id, 0), kept); },
  timer: (id) => new Promise((done) => {
    setTimeout(() => http.get(leaf(id, 0), (answer) => { answer.resume(); answer.on('end', done); }), some(10));
  }),
  timer_async: (id) => new Promise((done) => {
    setTimeout(async () => { await null; await fetched(leaf(id, 0)); done(); }, some(10));
  }),
  timer_fetch: (id) => new Promise((done) => {
    setTimeout(async () => { await fetched(leaf(id, 0)); done(); }, some(10));
  }),
  immediate: async (id) => { await new Promise((done) => setImmediate(done)); await fetched(leaf(id, 0)); },
  file: async (id) => { await fs.readFile(__filename); await fetched(leaf(id, 0)); },
  locked: (id) => locked(() => fetched(leaf(id, 0))),
  shared: async (id) => { await shared(id); await fetched(leaf(id, 0)); },
  // Its answer comes long after its call: nothing shows in time whose call it was.
  waits: async (id) => { await event(); await fetched(leaf(id, 0)); await sleep(500); },
  tells: async (id) => { told.emit('event'); await fetched(leaf(id, 0)); await sleep(20); await fetched(leaf(id, 1)); },
  // Work of no request, which waits for the same lock.
  ticks: async (id) => {
    let step = 0;
    const ticking = setInterval(async () => {
      step += 1;
      if (step === 100) clearInterval(ticking);
      await locked(() => fetched(leaf(id, step)));
    }, 7);
  },
  // A request's id, handed on as services do for their logs.
  handed_on: async (id, req) => {
    const headers = { 'x-request-id': req.headers['x-request-id'] };
    await fetched(leaf(id, 0), { headers });
    await sleep(some(10));
    await locked(() => fetched(leaf(id, 1), { headers }));
  },
  served: (id) => new Promise((done) => hire(id, done)),
  // Answers by itself.
  served_back: (id, req, res) => new Promise(() => hire(id, () => res.end('worked'))),
  gathered: async (id) => { await new Promise((done) => gather(id, done)); await fetched(leaf(id, 0)); },
  littered: async (id) => {
    for (let step = 0; step < 4; step += 1) {
      litter();
      await sleep(some(20));
      litter();
      await fetched(leaf(id, step));
    }
  },
  thrown: async (id) => {
    const fails = async () => { await sleep(some(5)); throw new Error('as meant'); };
    try { await fails(); } catch { await fetched(leaf(id, 0)); }
  },
  limited: (id) => Promise.all([0, 1].map((step) => limited(() => fetched(leaf(id, step))))),
};

http.createServer((req, res) => {
  const [, shape, id] = req.url.split('/');
  if (shape === 'after') {
    res.end('answered');
    get(leaf(id, 0), false);
    return;
  }
  if (shapes[shape] === undefined) {
    res.end('none');
    return;
  }
  shapes[shape](id, req, res).then(() => res.end('worked'), (error) => {
    res.statusCode = 500;
    res.end(String(error));
  });
}).listen(port, '127.0.0.1', 1024);
