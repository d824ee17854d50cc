// What the shops and workers on Node share: `shop PORT` serves `/put/KIND/ID`; a message is `KIND ID`, and work on it calls `/leaf/ID/N`.
import http from 'node:http';
import { createRequire } from 'node:module';

export const port = Number(process.env.BROKER_PORT);
export const count = Number(process.argv[3]);
export const modules = createRequire(`${process.env.MODULES}/`);

const call = (ident, step) => new Promise((resolve, reject) => {
  http.get(`${process.env.LEAF_URL}/leaf/${ident}/${step}`, answer => {
    answer.resume();
    answer.on('end', resolve);
  }).on('error', reject);
});

// Returns whether it is done: `again` fails once.
export async function attempt(body, again) {
  const [kind, ident] = body.split(' ');
  await call(ident, again ? 1 : 0);
  return again || kind !== 'again';
}

export async function run(put, work) {
  if (process.argv[2] !== 'shop') {
    await work();
    console.log('ready');
    return;
  }
  http.createServer(async (request, response) => {
    const [, , kind, ident] = request.url.split('/');
    await put(`${kind} ${ident}`);
    response.end('put');
  }).listen(count, '127.0.0.1');
}
