"""A server on asyncio alone, for every CPython since 3.8: what it calls in each of the ways Contexts are made.

Usage: contexts_app.py streams|protocol PORT. With streams, one task serves a connection (as in aiohttp); with protocol, one serves a
request (as in uvicorn). LEAF_URL names the server that GET /work/SHAPE/ID calls as /leaf/ID/N. A task of the application itself calls
/leaf/TICKS/N all the time if TICKS is set: it belongs to no request. LOOP=uvloop takes that loop.
"""

import asyncio
import contextvars
import decimal
import os
import sys
import threading
import urllib.request
from urllib.parse import urlsplit

LEAF = os.environ.get("LEAF_URL", "")
HOST = urlsplit(LEAF)
number = contextvars.ContextVar("number")
free, kept = [], set()


async def fetch(path):
    """Over a kept connection, which the next request of anybody uses again."""
    if free:
        reader, writer = free.pop()
    else:
        reader, writer = await asyncio.open_connection(HOST.hostname, HOST.port)
    writer.write(b"GET %s HTTP/1.1\r\nHost: leaf\r\n\r\n" % path.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(length[0].split(b":")[1]))
    free.append((reader, writer))


def block(path):
    with urllib.request.urlopen(LEAF + path, timeout=60) as answer:
        answer.read()


def keep(task):
    kept.add(task)
    task.add_done_callback(kept.discard)
    return task


def in_thread(path):
    """A thread without a Context gets one of its own, at an address that another one had, when it first sets a variable."""
    decimal.getcontext().prec = 10
    number.set(1)
    block(path)


async def later(path):
    await asyncio.sleep(0.005)
    await fetch(path)


async def call(shape, ident):
    loop = asyncio.get_running_loop()
    path = "/leaf/%s/%%d" % ident
    number.set(ident)
    await asyncio.sleep(0.001)
    if shape == "own":
        for step in range(2):
            await fetch(path % step)
    elif shape == "gather":
        await asyncio.gather(*(fetch(path % step) for step in range(3)))
    elif shape == "timer":
        done = loop.create_future()
        loop.call_later(0.003, lambda: keep(loop.create_task(fetch(path % 0))).add_done_callback(done.set_result))
        await done
    elif shape == "pool":
        context = contextvars.copy_context()
        await loop.run_in_executor(None, context.run, block, path % 0)
    elif shape == "after":
        keep(loop.create_task(later(path % 0)))
    elif shape == "empty":
        await contextvars.Context().run(loop.create_task, fetch(path % 0))
    elif shape == "copied":
        await contextvars.copy_context().copy().run(loop.create_task, fetch(path % 0))
    elif shape == "bare":
        await loop.run_in_executor(None, in_thread, path % 0)
    else:
        raise ValueError(shape)


async def respond(target, writer):
    _, _, shape, ident = target.split("/")
    await call(shape, ident)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Protocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.head = transport, b""

    def data_received(self, data):
        self.head += data
        if self.head.endswith(b"\r\n\r\n"):
            target = self.head.split()[1].decode()
            self.head = b""
            keep(asyncio.get_running_loop().create_task(respond(target, self.transport)))


async def serve_streams(reader, writer):
    # CPython 3.9 holds the task of a connection by weak references only, and collects one that waits (seen on 3.9.18).
    keep(asyncio.current_task())
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await respond(head.split()[1].decode(), writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def tick(ident):
    loop = asyncio.get_running_loop()
    step = 0
    while True:
        await asyncio.sleep(0.01)
        await fetch("/leaf/%s/%d" % (ident, step))
        await loop.create_task(fetch("/leaf/%s/%d" % (ident, step + 1)))
        threading.Thread(target=in_thread, args=("/leaf/%s/%d" % (ident, step + 2),)).start()
        step += 3


async def main(kind, port):
    loop = asyncio.get_running_loop()
    if "TICKS" in os.environ:
        keep(loop.create_task(tick(os.environ["TICKS"])))
    if kind == "streams":
        server = await asyncio.start_server(serve_streams, "127.0.0.1", port, backlog=511)
    else:
        server = await loop.create_server(Protocol, "127.0.0.1", port, backlog=511)
    await server.serve_forever()


if os.environ.get("LOOP") == "uvloop":
    import uvloop

    uvloop.install()
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
