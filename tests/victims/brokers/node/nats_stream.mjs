// nats.js with JetStream: N loops of each worker ask for one message at a time; one that failed is given back.
import { attempt, count, modules, port, run } from './calls.mjs';

const { jetstream, jetstreamManager } = modules('@nats-io/jetstream');
const connection = await modules('@nats-io/transport-node').connect({ servers: `127.0.0.1:${port}` });
const stream = jetstream(connection);

await run(body => stream.publish(`mails.${body.split(' ')[1]}`, body), async () => {
  const manager = await jetstreamManager(connection);
  await manager.streams.add({ name: 'MAILS', subjects: ['mails.>'] });
  await manager.consumers.add('MAILS', { durable_name: 'mailers', ack_policy: 'explicit' });
  const consumer = await stream.consumers.get('MAILS', 'mailers');
  for (let nth = 0; nth < count; nth++) {
    (async () => {
      for (;;) {
        const message = await consumer.next({ expires: 2000 });
        if (!message) continue;
        if (await attempt(message.string(), message.info.deliveryCount > 1)) message.ack();
        else message.nak();
      }
    })();
  }
});
