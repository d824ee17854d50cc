// kafkajs: a group's consumer, one message at a time of each partition; one that failed is tried again by the library. What it fetches at once is
// less than the agent captures of a read, so that each delivery is seen.
import { attempt, modules, port, run } from './calls.mjs';

const { Kafka, logLevel } = modules('kafkajs');
const kafka = new Kafka({ brokers: [`127.0.0.1:${port}`], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 100 } });

let producer;
await run(async body => {
  if (!producer) {
    const made = kafka.producer();
    producer = made.connect().then(() => made);
  }
  await (await producer).send({ topic: 'mails', messages: [{ key: body.split(' ')[1], value: body }] });
}, async () => {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: 'mails', numPartitions: 4 }] }).catch(() => {});
  await admin.disconnect();
  const consumer = kafka.consumer({ groupId: 'mailers', maxWaitTimeInMs: 200, maxBytesPerPartition: 1024 });
  const joined = new Promise(resolve => consumer.on(consumer.events.GROUP_JOIN, resolve));
  await consumer.connect();
  await consumer.subscribe({ topics: ['mails'], fromBeginning: true });
  const failed = new Set();
  await consumer.run({
    partitionsConsumedConcurrently: 4,
    eachMessage: async ({ partition, message }) => {
      const place = `${partition} ${message.offset}`;
      if (await attempt(message.value.toString(), failed.has(place))) return;
      failed.add(place);
      throw new Error('tried again');
    },
  });
  await joined;
});
