"""huey: each worker is a thread that fetches and works."""

from huey import RedisHuey

from calls import REDIS_PORT, both, call

huey = RedisHuey("shop", host="127.0.0.1", port=REDIS_PORT)


@huey.task()
def work(ident):
    both(ident)


@huey.task(retries=1, context=True)
def retry(ident, task=None):
    number = 1 - task.retries
    call(ident, number)
    if number == 0:
        raise ValueError("tried again")


def put(kind, ident):
    {"work": work, "retry": retry}[kind](ident)
