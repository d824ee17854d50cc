"""The event-loop victims: one thread serves all requests and keeps its connections to the one it calls.

Usage: asyncio_app.py aiohttp|uvicorn|uvicorn-uvloop PORT. LEAF_URL names the server that /work calls.
"""

import asyncio
import os
import sys
import zlib

LEAF = os.environ.get("LEAF_URL", "")


async def pause(ident):
    """Half of the requests give way before they call: that is what mixes requests on a loop."""
    if zlib.crc32(ident.encode()) % 2 == 0:
        await asyncio.sleep(0.002)


def serve_aiohttp(port):
    from aiohttp import ClientSession, web

    async def session_of(app):
        async with ClientSession() as app["session"]:
            yield

    async def work(request):
        ident = request.match_info["ident"]
        await pause(ident)
        async with request.app["session"].get(f"{LEAF}/leaf/{ident}/0") as answer:
            body = await answer.read()
        return web.Response(body=b"worked " + body, content_type="text/plain")

    app = web.Application()
    app.cleanup_ctx.append(session_of)
    app.router.add_get("/work/{ident}", work)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, backlog=511)


def serve_uvicorn(port, loop):
    from contextlib import asynccontextmanager

    import httpx
    import uvicorn
    from fastapi import FastAPI, Response

    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient(timeout=60, trust_env=False) as app.state.client:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/work/{ident}")
    async def work(ident: str):
        await pause(ident)
        answer = await app.state.client.get(f"{LEAF}/leaf/{ident}/0")
        return Response(b"worked " + answer.content, media_type="text/plain")

    uvicorn.run(app, host="127.0.0.1", port=port, loop=loop, access_log=False)


name, port = sys.argv[1], int(sys.argv[2])
if name == "aiohttp":
    serve_aiohttp(port)
elif name in ("uvicorn", "uvicorn-uvloop"):
    serve_uvicorn(port, "uvloop" if name == "uvicorn-uvloop" else "asyncio")
else:
    sys.exit(f"{name}: unknown; allowed are aiohttp, uvicorn, uvicorn-uvloop")
