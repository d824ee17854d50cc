// nats.js without JetStream: a queue group, one message after the other.
import { attempt, modules, port, run } from './calls.mjs';

const connection = await modules('@nats-io/transport-node').connect({ servers: `127.0.0.1:${port}` });

await run(async body => {
  connection.publish(`mails.${body.split(' ')[1]}`, body);
  await connection.flush();
}, async () => {
  const subscription = connection.subscribe('mails.*', { queue: 'mailers' });
  (async () => {
    for await (const message of subscription) await attempt(message.string(), false);
  })();
  await connection.flush();
});
