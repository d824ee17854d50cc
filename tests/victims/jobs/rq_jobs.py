"""RQ: a worker forks for each job."""

from redis import Redis
from rq import Queue, Retry, get_current_job

from calls import REDIS_PORT, both, call

queue = Queue(connection=Redis(port=REDIS_PORT))


def work(ident):
    both(ident)


def step(ident, number):
    call(ident, number)


def retry(ident):
    job = get_current_job()
    number = 1 - (job.retries_left or 0)
    call(ident, number)
    if number == 0:
        raise ValueError("tried again")


def put(kind, ident):
    if kind == "chain":
        first = queue.enqueue(step, ident, 0)
        queue.enqueue(step, ident, 1, depends_on=first)
    elif kind == "retry":
        queue.enqueue(retry, ident, retry=Retry(max=1))
    else:
        queue.enqueue(work, ident)
