"""Celery with Redis as broker and as result backend, or with the broker at BROKER_URL and no results."""

import os
import signal

from celery import Celery, chain

from calls import REDIS_PORT, both, call

if "BROKER_URL" in os.environ:
    app = Celery("celery_jobs", broker=os.environ["BROKER_URL"])
else:
    app = Celery("celery_jobs", broker=f"redis://127.0.0.1:{REDIS_PORT}/0", backend=f"redis://127.0.0.1:{REDIS_PORT}/1")
app.conf.broker_connection_retry_on_startup = True
if os.environ.get("IGNORE_RESULT"):
    app.conf.task_ignore_result = True
if os.environ.get("PREFETCH"):
    app.conf.worker_prefetch_multiplier = int(os.environ["PREFETCH"])


@app.task
def work(ident):
    both(ident)


@app.task
def step(ident, number):
    call(ident, number)


@app.task(bind=True, max_retries=2)
def retry(self, ident):
    call(ident, self.request.retries)
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def killed(self, ident):
    """The first child that works for it is killed meanwhile."""
    is_again = bool(self.request.delivery_info.get("redelivered"))
    call(ident, int(is_again))
    if not is_again:
        os.kill(os.getpid(), signal.SIGKILL)


def put(kind, ident):
    if kind == "chain":
        chain(step.si(ident, 0), step.si(ident, 1)).delay()
    else:
        app.tasks[f"celery_jobs.{kind}"].delay(ident)
