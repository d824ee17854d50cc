"""dramatiq: a thread fetches, others work. With BETWEEN set these call as well when they are done with a job: `/leaf/ID/after`."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

from calls import REDIS_PORT, both, call

broker = RedisBroker(host="127.0.0.1", port=REDIS_PORT)
broker.add_middleware(CurrentMessage())


class Between(dramatiq.Middleware):
    def after_ack(self, broker, message):
        call(message.args[0], "after")


if os.environ.get("BETWEEN"):
    broker.add_middleware(Between())
dramatiq.set_broker(broker)


@dramatiq.actor
def work(ident):
    both(ident)


@dramatiq.actor(max_retries=1, min_backoff=50, max_backoff=60)
def retry(ident):
    number = CurrentMessage.get_current_message().options.get("retries", 0)
    call(ident, number)
    if number == 0:
        raise ValueError("tried again")


@dramatiq.actor
def chain(ident):
    call(ident, 0)
    chained.send(ident)


@dramatiq.actor
def chained(ident):
    call(ident, 1)


def put(kind, ident):
    {"work": work, "retry": retry, "chain": chain}[kind].send(ident)
