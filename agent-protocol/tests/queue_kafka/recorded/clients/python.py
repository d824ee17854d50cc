import sys, time
which, topic = sys.argv[1], sys.argv[2]
TP=[('traceparent', b'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'), ('tracestate', b'a=1')]
B='127.0.0.1:19092'
if which == 'kafka-python':
    from kafka import KafkaProducer, KafkaConsumer
    p = KafkaProducer(bootstrap_servers=B, linger_ms=20)
    p.send(topic, key=b'k1', value=b'hello-1', headers=TP); p.send(topic, value=b'hello-2', headers=[('x', b'y')]); p.send(topic, key=b'k3', value=None); p.flush(); p.close()
    for c in ('gzip','snappy','lz4','zstd'):
        p = KafkaProducer(bootstrap_servers=B, compression_type=c, linger_ms=20)
        p.send(topic, key=b'c', value=b'packed-'+c.encode()+b'-'+b'x'*200, headers=TP); p.flush(); p.close()
    p = KafkaProducer(bootstrap_servers=B, acks=0, enable_idempotence=False); p.send(topic, value=b'no-answer'); p.flush(); p.close()
    c = KafkaConsumer(topic, bootstrap_servers=B, group_id='g-'+topic, auto_offset_reset='earliest', enable_auto_commit=False, consumer_timeout_ms=6000)
    n=0
    for m in c:
        n+=1
        if n==8: break
    c.commit(); c.close(); print(n)
if which == 'confluent':
    from confluent_kafka import Producer, Consumer
    p = Producer({'bootstrap.servers': B, 'linger.ms': 20})
    p.produce(topic, key=b'k1', value=b'hello-1', headers=TP); p.produce(topic, value=b'hello-2', headers=[('x', b'y')]); p.produce(topic, key=b'k3', value=None); p.flush(); 
    del p
    for c in ('gzip','snappy','lz4','zstd'):
        p = Producer({'bootstrap.servers': B, 'compression.type': c, 'linger.ms': 20})
        p.produce(topic, key=b'c', value=b'packed-'+c.encode()+b'-'+b'x'*200, headers=TP); p.flush(); del p
    p = Producer({'bootstrap.servers': B, 'acks': 0}); p.produce(topic, value=b'no-answer'); p.flush(); del p
    c = Consumer({'bootstrap.servers': B, 'group.id': 'g-'+topic, 'auto.offset.reset': 'earliest', 'enable.auto.commit': False})
    c.subscribe([topic]); n=0; t=time.time()
    while n<8 and time.time()-t<10:
        m = c.poll(0.5)
        if m and not m.error(): n+=1
    c.commit(asynchronous=False); c.close(); print(n)
if which == 'aiokafka':
    import asyncio
    from aiokafka import AIOKafkaProducer, AIOKafkaConsumer
    async def main():
        p = AIOKafkaProducer(bootstrap_servers=B, linger_ms=20); await p.start()
        f=[await p.send(topic, key=b'k1', value=b'hello-1', headers=TP), await p.send(topic, value=b'hello-2')]
        for x in f: await x
        await p.stop()
        c = AIOKafkaConsumer(topic, bootstrap_servers=B, group_id='g-'+topic, auto_offset_reset='earliest', enable_auto_commit=False); await c.start()
        n=0
        async for m in c:
            n+=1
            if n==2: break
        await c.commit(); await c.stop(); print(n)
    asyncio.run(main())
