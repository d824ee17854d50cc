import asyncio, asyncpg
async def main():
    c = await asyncpg.connect('postgresql://postgres@127.0.0.1:15432/shop')
    for n in (1, 2): await c.fetchval("INSERT INTO jobs (queue, payload) VALUES ($1, $2) RETURNING id", 'mail', '{"n": %d}' % n)
    await c.fetchval("INSERT INTO mails (body) VALUES ($1) RETURNING id", 'hello')
    for n in (1, 2):
        async with c.transaction():
            r = await c.fetchrow("SELECT id, queue FROM jobs WHERE status = $1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED", 'queued')
            await c.execute("UPDATE jobs SET status = $1 WHERE id = $2", 'done', r['id'])
    r = await c.fetchrow("SELECT id FROM mails WHERE NOT done LIMIT 1 FOR UPDATE SKIP LOCKED")
    await c.execute("UPDATE mails SET done = true WHERE id = $1", r['id'])
    m = await c.fetchval("SELECT pgmq.send($1, $2)", 'mail', '{"n": 1}')
    r = await c.fetchrow("SELECT * FROM pgmq.read($1, $2, $3)", 'mail', 30, 1)
    await c.fetchval("SELECT pgmq.archive($1, $2::bigint)", 'mail', r['msg_id'])
    await c.execute("DELETE FROM jobs"); await c.execute("DELETE FROM mails"); await c.close()
asyncio.run(main())
