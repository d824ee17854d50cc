"""nats-py with JetStream: N tasks of each worker fetch one message at a time; one that failed is given back. Worker: nats_stream.py N."""

import asyncio
import sys

import aiohttp
import nats

from nats_core import attempt, connected


async def put(kind, ident):
    await (await connected()).jetstream().publish(f"mails.{ident}", f"{kind} {ident}".encode())


async def fetches(session, pulled):
    while True:
        try:
            (message,) = await pulled.fetch(1, timeout=2)
        except nats.errors.TimeoutError:
            continue
        if await attempt(session, message.data, message.metadata.num_delivered > 1):
            await message.ack()
        else:
            await message.nak()


async def main():
    async with aiohttp.ClientSession() as session:
        stream = (await connected()).jetstream()
        await stream.add_stream(name="MAILS", subjects=["mails.>"])
        pulled = [await stream.pull_subscribe("mails.>", durable="mailers") for _ in range(int(sys.argv[1]))]
        print("ready", flush=True)
        await asyncio.gather(*(fetches(session, each) for each in pulled))


if __name__ == "__main__":
    asyncio.run(main())
