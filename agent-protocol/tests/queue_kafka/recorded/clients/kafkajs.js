const { Kafka, CompressionTypes, logLevel } = require('kafkajs'); const topic = process.argv[2];
(async () => {
  const k = new Kafka({ brokers: ['127.0.0.1:19092'], logLevel: logLevel.ERROR });
  const H = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1' };
  const a = k.admin(); await a.connect(); await a.createTopics({ topics: [{ topic, numPartitions: 1 }] }); await a.disconnect();
  const p = k.producer(); await p.connect();
  await p.send({ topic, messages: [{ key: 'k1', value: 'hello-1', headers: H }, { value: 'hello-2', headers: { x: 'y' } }, { key: 'k3', value: null }] });
  await p.send({ topic, compression: CompressionTypes.GZIP, messages: [{ key: 'c', value: 'packed-' + 'x'.repeat(200), headers: H }] });
  await p.send({ topic, acks: 0, messages: [{ value: 'no-answer' }] });
  await p.disconnect();
  const c = k.consumer({ groupId: 'g-' + topic }); await c.connect(); await c.subscribe({ topic, fromBeginning: true });
  let n = 0; await new Promise(r => { c.run({ autoCommit: true, autoCommitThreshold: 1, eachMessage: async () => { if (++n == 5) setTimeout(r, 300); } }); setTimeout(r, 8000); });
  await c.disconnect(); console.log(n);
})();
