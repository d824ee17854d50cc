"""confluent-kafka (librdkafka): a group's consumer, one message at a time; one that failed is read again. Worker: confluent.py N."""

import threading

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from calls import REDIS_PORT, attempt

AT = f"127.0.0.1:{REDIS_PORT}"
producer = None


def put(kind, ident):
    global producer
    if producer is None:
        producer = Producer({"bootstrap.servers": AT, "linger.ms": 0})
    done = threading.Event()
    producer.produce("mails", f"{kind} {ident}".encode(), key=ident, on_delivery=lambda error, message: done.set())
    while not done.is_set():
        producer.poll(0.01)


def main():
    admin = AdminClient({"bootstrap.servers": AT})
    for made in admin.create_topics([NewTopic("mails", 4)]).values():
        if (error := made.exception()) and "exists" not in str(error):
            raise error
    consumer = Consumer(
        {"bootstrap.servers": AT, "group.id": "mailers", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    consumer.subscribe(["mails"], on_assign=lambda *_: print("ready", flush=True))
    failed = set()
    while True:
        message = consumer.poll(1)
        if message is None or message.error():
            continue
        place = (message.partition(), message.offset())
        if attempt(message.value(), place in failed):
            consumer.commit(message, asynchronous=False)
        else:
            failed.add(place)
            consumer.seek(TopicPartition("mails", *place))


if __name__ == "__main__":
    main()
