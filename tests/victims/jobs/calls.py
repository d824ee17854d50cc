"""What jobs do: calls whose paths say which job made them."""

import os
import time
import urllib.request

LEAF = os.environ.get("LEAF_URL", "")
REDIS_PORT = int(os.environ["REDIS_PORT"])


def call(ident, step):
    with urllib.request.urlopen(f"{LEAF}/leaf/{ident}/{step}", timeout=60) as answer:
        answer.read()


def both(ident):
    call(ident, 0)
    time.sleep(0.02)
    call(ident, 1)


def attempt(body, again):
    """Works on a message `KIND ID`; returns whether it is done: `again` fails once."""
    kind, ident = body.decode().split()
    call(ident, int(again))
    return again or kind != "again"
