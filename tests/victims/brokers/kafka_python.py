"""kafka-python: a group's consumer, one message at a time; one that failed is read again from its offset. Worker: kafka_python.py N."""

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from calls import REDIS_PORT, attempt

AT = f"127.0.0.1:{REDIS_PORT}"
producer = None


def put(kind, ident):
    global producer
    if producer is None:
        producer = KafkaProducer(bootstrap_servers=AT)
    producer.send("mails", f"{kind} {ident}".encode(), key=ident.encode()).get(20)


def main():
    # Makes the topic.
    KafkaProducer(bootstrap_servers=AT).partitions_for("mails")
    consumer = KafkaConsumer(
        "mails", bootstrap_servers=AT, group_id="mailers", auto_offset_reset="earliest", enable_auto_commit=False
    )
    while not consumer.assignment():
        consumer.poll(200)
    print("ready", flush=True)
    failed = set()
    for message in consumer:
        place = (message.partition, message.offset)
        if attempt(message.value, place in failed):
            consumer.commit()
        else:
            failed.add(place)
            consumer.seek(TopicPartition("mails", message.partition), message.offset)


if __name__ == "__main__":
    main()
