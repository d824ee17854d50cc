"""The Flask victim: an ordinary application under gunicorn, with `requests` (or urllib) as its client."""

import os
import time

import requests
from flask import Flask, Response, request

import shapes

app = Flask(__name__)
LEAF = os.environ.get("LEAF_URL", "")
CLIENT = os.environ.get("HTTP_CLIENT", "requests")


def fetch(url):
    if CLIENT == "urllib":
        return shapes.by_urllib(url)
    return requests.get(url, timeout=60).content


# One pool for all threads, smaller than their number: who finds no connection free waits.
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=2, pool_block=True))


@app.get("/work/<shape>/<ident>")
def shaped(shape, ident):
    shapes.work(shape, ident, fetch, lambda url: session.get(url, timeout=60).content)
    return Response(b"worked", mimetype="text/plain")


@app.get("/work/<ident>")
def work(ident):
    body = fetch(f"{LEAF}/leaf/{ident}/0")
    return Response(b"worked " + body, mimetype="text/plain")


@app.get("/leaf/<ident>/<int:step>")
def leaf(ident, step):
    return f"leaf {ident} {step}"


@app.get("/static/<name>")
def static_file(name):
    return "static " + name


@app.get("/status/<int:code>")
def status(code):
    return Response(b"" if code in (204, 304) else b"status", status=code)


@app.post("/echo")
def echo():
    return str(len(request.get_data()))


@app.get("/slow")
def slow():
    time.sleep(float(request.args.get("ms", "300")) / 1000)
    return "slow"


@app.get("/slow/<ident>")
def slow_named(ident):
    return slow()


@app.get("/chunked")
def chunked():
    def parts():
        for part in range(5):
            yield f"part {part}\n"

    return Response(parts(), mimetype="text/plain")
