"""The demo's shop: Flask, with requests to other services, the stock in Redis, and a job for each sign-up."""
import redis
import requests
from flask import Flask, abort, request
from jobs import welcome_mail
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

app = Flask(__name__)
stock = redis.Redis(host="127.0.0.1", port=18704)
http = requests.Session()
cards = requests.Session()
cards.mount("http://", HTTPAdapter(max_retries=Retry(total=1, allowed_methods=None)))


def ask(url):
    answer = http.get(url, timeout=5)
    if answer.status_code == 404:
        abort(404)
    answer.raise_for_status()
    return answer.json()


@app.get("/health")
def health():
    return "ok"


@app.get("/orders/<int:product>")
def order(product):
    found = ask(f"http://127.0.0.1:18702/products/{product}")
    price = ask(f"http://127.0.0.1:18703/price/{product}")
    left = 1000 + stock.decr(f"stock:{product}")
    return {"product": found["name"], "price": price["cents"], "left": left}


@app.get("/search")
def search():
    found = ask("http://127.0.0.1:18702/products?q=" + request.args.get("q", ""))
    return {"found": [{**product, **ask(f"http://127.0.0.1:18703/price/{product['id']}")} for product in found]}


@app.post("/signup/<tenant>")
def signup(tenant):
    # The bug: the job may run before the tenant exists.
    welcome_mail.delay(tenant)
    http.put(f"http://127.0.0.1:18705/tenants/{tenant}", timeout=5).raise_for_status()
    return {"tenant": tenant}, 201


@app.post("/checkout/<order>")
def checkout(order):
    # The bug: the card processor charges at once, answers late, and is asked again.
    headers = {"Idempotency-Key": order}
    answer = cards.post("http://127.0.0.1:18706/charges", json={"cents": 199}, headers=headers, timeout=0.2)
    return {"order": order, **answer.json()}


@app.post("/webhooks/card")
def card_webhook():
    return "", 204
