"""dramatiq: a thread fetches, others work."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

from calls import REDIS_PORT, both, call

broker = RedisBroker(host="127.0.0.1", port=REDIS_PORT)
broker.add_middleware(CurrentMessage())
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


def put(kind, ident):
    {"work": work, "retry": retry}[kind].send(ident)
