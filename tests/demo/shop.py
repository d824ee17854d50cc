"""The demo's shop: Flask, with requests to two other services and the stock in Redis."""
import redis
import requests
from flask import Flask, abort, request

app = Flask(__name__)
stock = redis.Redis(host="127.0.0.1", port=18704)
http = requests.Session()


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
