"""Celery's own scheduler: a job each second, all of the same arguments."""

import os

from celery_jobs import app

app.conf.beat_schedule = {
    "each second": {"task": "celery_jobs.work", "schedule": 1.0, "args": [os.environ["BEAT_IDENT"]]},
}
