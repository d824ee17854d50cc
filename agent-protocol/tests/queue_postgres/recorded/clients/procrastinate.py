import asyncio, sys, procrastinate
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo='host=127.0.0.1 port=15432 user=postgres dbname=shop', min_size=1, max_size=2))
n = 0
@app.task(queue='mail', name='welcome')
async def welcome(to): pass
@app.task(queue='mail', name='flaky', retry=1)
async def flaky(to):
    global n; n += 1
    if n == 1: raise ValueError('once')
@app.task(queue='mail', name='broken')
async def broken(to): raise ValueError('always')
async def main():
    async with app.open_async():
        if sys.argv[1] == 'schema': await app.schema_manager.apply_schema_async(); return
        await welcome.defer_async(to='a@b'); await welcome.batch_defer_async({'to': 'x'}, {'to': 'y'}); await flaky.defer_async(to='c@d'); await broken.defer_async(to='e@f')
        await app.run_worker_async(wait=False, listen_notify=False)
        await app.run_worker_async(wait=False, listen_notify=False)
asyncio.run(main())
