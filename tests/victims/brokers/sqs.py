"""boto3: N threads of each worker take one message at a time. What failed is not deleted, so that it comes again when its visibility time-out is
over; `killed` kills its worker the first time; `pair` and `same` are put by one call with twins. Worker: sqs.py N."""

import os
import signal
import sys
import threading
import time

import boto3
from botocore.config import Config

from calls import REDIS_PORT, attempt, call

# A client has a pool of connections, which its threads share.
client = boto3.client(
    "sqs",
    endpoint_url=f"http://127.0.0.1:{REDIS_PORT}",
    region_name="elasticmq",
    aws_access_key_id="not",
    aws_secret_access_key="secret",
    config=Config(max_pool_connections=64),
)
URL = client.get_queue_url(QueueName="mails")["QueueUrl"]


def put(kind, ident):
    if kind == "pair":
        entries = [{"Id": str(nth), "MessageBody": f"half {ident}-{nth}"} for nth in range(2)]
        client.send_message_batch(QueueUrl=URL, Entries=entries)
    else:
        client.send_message(QueueUrl=URL, MessageBody="same" if kind == "same" else f"{kind} {ident}")


def work(message):
    if message["Body"] == "same":
        return True
    kind, ident = message["Body"].split()
    again = int(message["Attributes"]["ApproximateReceiveCount"]) > 1
    if kind == "killed" and not again:
        call(ident, 0)
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt(message["Body"].encode(), again) or again


def takes():
    while True:
        answer = client.receive_message(QueueUrl=URL, WaitTimeSeconds=2, AttributeNames=["ApproximateReceiveCount"])
        for message in answer.get("Messages", []):
            if work(message):
                try:
                    client.delete_message(QueueUrl=URL, ReceiptHandle=message["ReceiptHandle"])
                except client.exceptions.ReceiptHandleIsInvalid:
                    print("too late", message["MessageId"], flush=True)


def main():
    for _ in range(int(sys.argv[1])):
        threading.Thread(target=takes, daemon=True).start()
    print("ready", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
