"""procrastinate: jobs of functions, in threads of a worker on an event loop, and of coroutines on it. Worker: procrastinate_jobs.py N."""

import asyncio
import sys

import aiohttp
import psycopg
from procrastinate import App, PsycopgConnector, RetryStrategy, SyncPsycopgConnector

from calls import LEAF, REDIS_PORT, both, call

AT = f"host=127.0.0.1 port={REDIS_PORT} user=postgres dbname=postgres"
IS_WORKER = __name__ == "__main__"
app = App(connector=PsycopgConnector(conninfo=AT) if IS_WORKER else SyncPsycopgConnector(conninfo=AT, min_size=4, max_size=16))


@app.task(name="work")
def work(ident):
    both(ident)


@app.task(name="retry", retry=RetryStrategy(max_attempts=2, wait=0), pass_context=True)
def retry(context, ident):
    number = context.job.attempts
    call(ident, number)
    if number == 0:
        raise ValueError("tried again")


session = None


async def get(ident, step):
    async with session.get(f"{LEAF}/leaf/{ident}/{step}") as answer:
        await answer.read()


@app.task(name="loop")
async def loop(ident):
    global session
    if session is None:
        session = aiohttp.ClientSession()
    await get(ident, 0)
    await asyncio.sleep(0.02)
    await asyncio.gather(get(ident, 1))


is_open = False


def put(kind, ident):
    global is_open
    if not is_open:
        app.open()
        is_open = True
    app.tasks[kind].defer(ident=ident)


async def main():
    async with app.open_async():
        # Two workers at once.
        async with await psycopg.AsyncConnection.connect(AT) as connection:
            await connection.execute("select pg_advisory_lock(7)")
            if not await app.check_connection_async():
                await app.schema_manager.apply_schema_async()
            await connection.execute("select pg_advisory_unlock(7)")
        print("ready", flush=True)
        await app.run_worker_async(concurrency=int(sys.argv[1]), install_signal_handlers=False, fetch_job_polling_interval=0.2)


if IS_WORKER:
    asyncio.run(main())
