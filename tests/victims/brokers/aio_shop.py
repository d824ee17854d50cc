"""aiohttp: `/put/KIND/ID` asks the module named in argv[2] for a message of this kind. Usage: aio_shop.py PORT MODULE; the module has `async put(kind, ident)`."""

import importlib
import sys

from aiohttp import web

jobs = importlib.import_module(sys.argv[2])


async def put(request):
    await jobs.put(request.match_info["kind"], request.match_info["ident"])
    return web.Response(text="put")


app = web.Application()
app.router.add_get("/put/{kind}/{ident}", put)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
