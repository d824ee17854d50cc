// amqplib: confirmed puts; N messages at once, acked or given back when they are worked on.
import { attempt, count, modules, port, run } from './calls.mjs';

const connection = await modules('amqplib').connect(`amqp://guest:guest@127.0.0.1:${port}`);
const channel = await connection.createConfirmChannel();
await channel.assertQueue('mails');

await run(async body => {
  channel.sendToQueue('mails', Buffer.from(body), { correlationId: body.split(' ')[1] });
  await channel.waitForConfirms();
}, async () => {
  await channel.prefetch(count);
  await channel.consume('mails', async message => {
    if (await attempt(message.content.toString(), message.fields.redelivered)) channel.ack(message);
    else channel.nack(message);
  });
});
