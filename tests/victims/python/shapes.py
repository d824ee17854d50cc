"""What /work/SHAPE/ID calls of the leaf in a blocking program: every call is GET /leaf/ID/N, so that its path says whose it is.

`fetch(url)` is the program's ordinary client, `pooled(url)` one with two connections that all threads share.
"""

import os
import queue
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlsplit

LEAF = os.environ.get("LEAF_URL", "")


def leaf(ident, step, query=""):
    return f"{LEAF}/leaf/{ident}/{step}{query}"


def refused(ident):
    """An address of this host that belongs to the one request, and port 2, where nobody listens."""
    low = int(ident[-4:], 16)
    return f"http://127.1.{low >> 8}.{low & 255}:2/leaf/{ident}/2"


def some_ms(ident):
    return (1 + int(ident[-2:], 16) % 8) / 1000


def by_urllib(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


class TwoConnections:
    """A pool of two kept connections, on http.client: who finds none free waits for one."""

    def __init__(self):
        self.free = queue.Queue()
        for _ in range(2):
            self.free.put(HTTPConnection(urlsplit(LEAF).netloc, timeout=60))

    def __call__(self, url):
        connection = self.free.get()
        try:
            connection.request("GET", urlsplit(url).path)
            connection.getresponse().read()
        finally:
            self.free.put(connection)


def tolerant(fetch, url):
    try:
        fetch(url)
    except Exception:  # noqa: BLE001: each client has its own, and the failure is what was asked for
        pass


executor = ThreadPoolExecutor(16)


def work(shape, ident, fetch, pooled):
    if shape == "seq":
        for step in range(3):
            fetch(leaf(ident, step))
    elif shape == "fanout":
        for call in [executor.submit(fetch, leaf(ident, step)) for step in range(4)]:
            call.result()
    elif shape == "timer":
        fetch(leaf(ident, 0))
        time.sleep(some_ms(ident))
        fetch(leaf(ident, 1))
    elif shape == "pool":
        for step in range(3):
            pooled(leaf(ident, step))
    elif shape == "fail":
        tolerant(fetch, leaf(ident, 0, "?fail=500"))
        tolerant(fetch, leaf(ident, 1, "?fail=close"))
        tolerant(fetch, refused(ident))
    elif shape == "handover":
        for step in range(2):
            executor.submit(fetch, leaf(ident, step)).result()
    elif shape == "background":

        def later():
            time.sleep(some_ms(ident))
            fetch(leaf(ident, 0))

        threading.Thread(target=later).start()
    else:
        raise ValueError(shape)
