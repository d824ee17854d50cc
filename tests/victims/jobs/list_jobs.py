"""redis-py alone: lists, streams and channels; run as a program, it is their workers (as many threads as argv[1] says for lists)."""

import os
import sys
import threading
import time

from redis import Redis, ResponseError

from calls import REDIS_PORT, both

redis = Redis(port=REDIS_PORT)


def put(kind, ident):
    body = "same" if kind == "equal" else f"job {ident}"
    if kind == "stream":
        redis.xadd("orders", {"body": body})
    elif kind == "batch":
        redis.xadd("parcels", {"body": body})
    elif kind == "channel":
        redis.publish("news", body)
    else:
        redis.lpush(f"shop:{kind}", body)


def listed(kind):
    own = Redis(port=REDIS_PORT)
    while True:
        taken = own.brpop(f"shop:{kind}", timeout=1)
        if taken is None:
            continue
        _, body = taken
        if kind == "equal":
            time.sleep(0.01)
        else:
            both(body.decode().split()[1])


def streamed(name):
    own = Redis(port=REDIS_PORT)
    while True:
        for _, messages in own.xreadgroup("packers", name, {"orders": ">"}, count=1, block=1000):
            for ident, fields in messages:
                both(fields[b"body"].decode().split()[1])
                own.xack("orders", "packers", ident)


def batched():
    own = Redis(port=REDIS_PORT)
    while True:
        time.sleep(1)  # So that several come together.
        for _, messages in own.xreadgroup("packers", "batches", {"parcels": ">"}, count=8, block=1000):
            for ident, fields in messages:
                both(fields[b"body"].decode().split()[1])
                own.xack("parcels", "packers", ident)


def heard():
    channel = Redis(port=REDIS_PORT).pubsub()
    channel.subscribe("news")
    for message in channel.listen():
        if message["type"] == "message":
            both(message["data"].decode().split()[1])


if __name__ == "__main__":
    for stream in ("orders", "parcels"):
        try:
            redis.xgroup_create(stream, "packers", mkstream=True)
        except ResponseError:
            pass  # Another worker did.
    count = int(sys.argv[1])
    for _ in range(count):
        threading.Thread(target=listed, args=("list",)).start()
        threading.Thread(target=listed, args=("equal",)).start()
    for nth in range(count):
        threading.Thread(target=streamed, args=(f"packer-{os.getpid()}-{nth}",)).start()
    threading.Thread(target=heard).start()
    threading.Thread(target=batched).start()
    time.sleep(0.5)
    print("ready", flush=True)
