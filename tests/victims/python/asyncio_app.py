"""The event-loop victims: one thread serves all requests and keeps its connections to the one it calls.

Usage: asyncio_app.py aiohttp|uvicorn|uvicorn-uvloop PORT. LEAF_URL names the server that /work calls.
"""

import asyncio
import sys
import zlib

from shapes import LEAF, by_urllib, leaf, refused, some_ms

kept = set()


async def work_in(shape, ident, fetch, pooled):
    """As shapes.work does, on a loop."""
    if shape == "seq":
        for step in range(3):
            await fetch(leaf(ident, step))
    elif shape == "fanout":
        await asyncio.gather(*(fetch(leaf(ident, step)) for step in range(4)))
    elif shape == "timer":
        await fetch(leaf(ident, 0))
        await asyncio.sleep(some_ms(ident))
        await fetch(leaf(ident, 1))
    elif shape == "pool":
        tasks = [asyncio.create_task(pooled(leaf(ident, step))) for step in range(3)]
        for task in tasks:
            await task
    elif shape == "fail":
        for url in (leaf(ident, 0, "?fail=500"), leaf(ident, 1, "?fail=close"), refused(ident)):
            try:
                await fetch(url)
            except Exception:  # noqa: BLE001: each client has its own, and the failure is what was asked for
                pass
    elif shape == "handover":
        for step in range(2):
            await asyncio.to_thread(by_urllib, leaf(ident, step))
    elif shape == "background":

        async def later():
            await asyncio.sleep(some_ms(ident))
            await fetch(leaf(ident, 0))

        task = asyncio.create_task(later())
        kept.add(task)
        task.add_done_callback(kept.discard)
    else:
        raise ValueError(shape)


async def pause(ident):
    """Half of the requests give way before they call: that is what mixes requests on a loop."""
    if zlib.crc32(ident.encode()) % 2 == 0:
        await asyncio.sleep(0.002)


def serve_aiohttp(port):
    from aiohttp import ClientSession, TCPConnector, web

    async def session_of(app):
        async with ClientSession() as app["session"]:
            async with ClientSession(connector=TCPConnector(limit=2)) as app["two"]:
                yield

    async def read(session, url):
        async with session.get(url) as answer:
            return await answer.read()

    async def work(request):
        ident = request.match_info["ident"]
        await pause(ident)
        body = await read(request.app["session"], f"{LEAF}/leaf/{ident}/0")
        return web.Response(body=b"worked " + body, content_type="text/plain")

    async def shaped(request):
        app = request.app
        await work_in(
            request.match_info["shape"],
            request.match_info["ident"],
            lambda url: read(app["session"], url),
            lambda url: read(app["two"], url),
        )
        return web.Response(body=b"worked", content_type="text/plain")

    app = web.Application()
    app.cleanup_ctx.append(session_of)
    app.router.add_get("/work/{ident}", work)
    app.router.add_get("/work/{shape}/{ident}", shaped)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, backlog=511)


def serve_uvicorn(port, loop):
    from contextlib import asynccontextmanager

    import httpx
    import uvicorn
    from fastapi import BackgroundTasks, FastAPI, Response

    @asynccontextmanager
    async def lifespan(app):
        two = httpx.Limits(max_connections=2, max_keepalive_connections=2)
        async with httpx.AsyncClient(timeout=60, trust_env=False) as app.state.client:
            async with httpx.AsyncClient(timeout=60, trust_env=False, limits=two) as app.state.two:
                yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/work/{ident}")
    async def work(ident: str):
        await pause(ident)
        answer = await app.state.client.get(f"{LEAF}/leaf/{ident}/0")
        return Response(b"worked " + answer.content, media_type="text/plain")

    @app.get("/work/{shape}/{ident}")
    async def shaped(shape: str, ident: str, tasks: BackgroundTasks):
        if shape == "background":
            tasks.add_task(app.state.client.get, leaf(ident, 0))
        else:
            await work_in(shape, ident, app.state.client.get, app.state.two.get)
        return Response(b"worked", media_type="text/plain", background=tasks)

    uvicorn.run(app, host="127.0.0.1", port=port, loop=loop, access_log=False)


name, port = sys.argv[1], int(sys.argv[2])
if name == "aiohttp":
    serve_aiohttp(port)
elif name in ("uvicorn", "uvicorn-uvloop"):
    serve_uvicorn(port, "uvloop" if name == "uvicorn-uvloop" else "asyncio")
else:
    sys.exit(f"{name}: unknown; allowed are aiohttp, uvicorn, uvicorn-uvloop")
