"""The demo's jobs: Celery with Redis as the broker."""
import requests
from celery import Celery

app = Celery("jobs", broker="redis://127.0.0.1:18704/1")
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@app.task(bind=True, max_retries=5)
def welcome_mail(self, tenant):
    """As a rule the first attempt comes before the tenant exists."""
    found = requests.get(f"http://127.0.0.1:18705/tenants/{tenant}", timeout=5)
    if found.status_code == 404:
        raise self.retry(countdown=0.2)
    requests.post("http://127.0.0.1:18706/mails", json={"to": tenant}, timeout=5).raise_for_status()
