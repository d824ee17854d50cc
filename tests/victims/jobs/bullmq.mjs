// BullMQ: `shop PORT` puts a job of KIND for each `/put/KIND/ID`; `worker N` works on N of them at once, on one event loop.
import http from 'node:http';
import { createRequire } from 'node:module';

const { Queue, Worker } = createRequire(`${process.env.MODULES}/`)('bullmq');
const connection = { host: '127.0.0.1', port: Number(process.env.REDIS_PORT) };
const leaf = process.env.LEAF_URL;

const call = (ident, step) => new Promise((resolve, reject) => {
  http.get(`${leaf}/leaf/${ident}/${step}`, answer => {
    answer.resume();
    answer.on('end', resolve);
  }).on('error', reject);
});

if (process.argv[2] === 'shop') {
  const queue = new Queue('shop', { connection });
  http.createServer(async (request, response) => {
    const [, , kind, ident] = request.url.split('/');
    await queue.add(kind, { ident }, kind === 'retry' ? { attempts: 2 } : {});
    response.end('put');
  }).listen(Number(process.argv[3]), '127.0.0.1');
} else {
  const worker = new Worker('shop', async job => {
    if (job.name === 'retry') {
      await call(job.data.ident, job.attemptsMade);
      if (job.attemptsMade === 0) throw new Error('tried again');
      return;
    }
    await call(job.data.ident, 0);
    await call(job.data.ident, 1);
  }, { connection, concurrency: Number(process.argv[3]) });
  worker.on('error', () => {});
  worker.waitUntilReady().then(() => console.log('ready'));
}
