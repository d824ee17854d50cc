"""A shop under gunicorn that charges cards at a bank (LEAF_URL) which often fails; `requests` as its client.

/pay/HOW/TIMES/ID?customer=N: urllib3's Retry makes the attempts. /loop/…: a loop does. /next/…: a first payment fails, and another one
of the same size is made. /gone/ID: a port where nobody listens. All customers pay the same amount.
"""

import os

import requests
from flask import Flask, request
from urllib3.util import Retry

app = Flask(__name__)
BANK = os.environ["LEAF_URL"]
GONE = os.environ["GONE_URL"]
AMOUNT = b'{"amount":100}'

session = requests.Session()
retry = Retry(total=6, connect=2, backoff_factor=0.01, status_forcelist=[503], allowed_methods=None)
session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry, pool_maxsize=32))


def post(client, how, times, ident, body=AMOUNT):
    headers = {"X-Customer": request.args.get("customer", "0")}
    return client.post(f"{BANK}/fail/{how}/{times}/{ident}", data=body, headers=headers, timeout=0.5)


@app.get("/pay/<how>/<int:times>/<ident>")
def pay(how, times, ident):
    return str(post(session, how, times, ident).status_code)


@app.get("/loop/<how>/<int:times>/<ident>")
def loop(how, times, ident):
    for _ in range(times + 1):
        try:
            answer = post(requests, how, times, ident)
        except requests.RequestException:
            continue
        if answer.status_code == 200:
            return "paid"
    return "not paid"


@app.get("/next/<how>/<int:times>/<ident>")
def other(how, times, ident):
    statuses = [post(requests, how, times, ident, body).status_code for body in (AMOUNT, b'{"amount":200}')]
    return str(statuses)


@app.get("/gone/<ident>")
def gone(ident):
    try:
        session.get(f"{GONE}/{ident}", timeout=1)
    except requests.RequestException as error:
        return type(error).__name__
    return "there"
