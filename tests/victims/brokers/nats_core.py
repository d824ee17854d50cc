"""nats-py without JetStream: a queue group, one message after the other on each worker's event loop. Worker: nats_core.py N."""

import asyncio

import aiohttp
import nats

from calls import LEAF, REDIS_PORT

connection = None


async def connected():
    global connection
    if connection is None:
        connection = asyncio.ensure_future(nats.connect(f"nats://127.0.0.1:{REDIS_PORT}"))
    return await connection


async def put(kind, ident):
    await (await connected()).publish(f"mails.{ident}", f"{kind} {ident}".encode())


async def attempt(session, body, again):
    kind, ident = body.decode().split()
    async with session.get(f"{LEAF}/leaf/{ident}/{int(again)}") as answer:
        await answer.read()
    return again or kind != "again"


async def main():
    async with aiohttp.ClientSession() as session:

        async def on(message):
            await attempt(session, message.data, False)

        await (await connected()).subscribe("mails.*", queue="mailers", cb=on)
        await (await connected()).flush()
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
