// client.js http|fetch PORT SECONDS PATIENCE STALL CONNECTIONS: asks 127.0.0.1:PORT over kept connections until SECONDS are over, and
// says how that went as one line of JSON. A request that takes PATIENCE seconds is a failure, one that takes STALL a stall.
'use strict';
const http = require('http');

const [way, port, seconds, patience, stall, connections] = process.argv.slice(2).map((word, at) => (at ? Number(word) : word));
const BIG = 3 << 20;
const SMALL = 17;
const told = { requests: 0, failures: 0, stalls: 0, longest: 0 };
const agent = new http.Agent({ keepAlive: true, maxSockets: connections });

function over(path) {
  return new Promise((resolve, reject) => {
    const asked = http.get({ host: '127.0.0.1', port, path, agent }, (answer) => {
      let size = 0;
      answer.on('data', (piece) => { size += piece.length; });
      answer.on('end', () => resolve(answer.statusCode === 200 ? size : -1));
      answer.on('error', reject);
    });
    asked.on('error', reject);
    asked.setTimeout(patience * 1000, () => asked.destroy(new Error('no bytes came')));
  });
}

async function fetched(path) {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(patience * 1000) });
  const size = (await answer.arrayBuffer()).byteLength;
  return answer.status === 200 ? size : -1;
}

async function loop(end) {
  const one = way === 'http' ? over : fetched;
  for (let number = 0; Date.now() < end; number += 1) {
    const isBig = number % 4 === 0;
    const begun = Date.now();
    let size = -1;
    try {
      size = await one(isBig ? '/big.bin' : '/small.txt');
    } catch (error) {
      console.error(`${way} ${number}: ${error}`);
    }
    const took = (Date.now() - begun) / 1000;
    told.requests += 1;
    told.failures += size === (isBig ? BIG : SMALL) ? 0 : 1;
    told.stalls += took >= stall ? 1 : 0;
    told.longest = Math.max(told.longest, took);
  }
}

const end = Date.now() + seconds * 1000;
Promise.all(Array.from({ length: connections }, () => loop(end))).then(() => {
  console.log(JSON.stringify(told));
  process.exit(0);
});
