"""psycopg 3 (and 2): puts, takes in three ways, settles, rolls back."""
import sys
D = 'host=127.0.0.1 port=15432 user=postgres dbname=shop'
if sys.argv[1] == 'psycopg2':
    import psycopg2 as m
    conn = m.connect(D)
else:
    import psycopg as m
    conn = m.connect(D)
J = (lambda x: x)
c = conn.cursor()
c.execute("INSERT INTO jobs (queue, payload) VALUES (%s, %s) RETURNING id", ('a', '{"n": 1}')); one = c.fetchone()[0]; conn.commit()
c.execute("INSERT INTO jobs (payload) VALUES (%s), (%s) RETURNING id", ('{"n": 2}', '{"n": 3}')); c.fetchall(); conn.commit()
c.execute("INSERT INTO mails (body) VALUES (%s) RETURNING id", ('hello',)); conn.commit()
c.execute("INSERT INTO jobs (payload) VALUES (%s)", ('{"n": 4}',)); conn.commit()
# 1: in a transaction that is kept open while the work is done; it fails once
for end in (conn.rollback, conn.commit):
    c.execute("SELECT id, payload FROM jobs WHERE status = %s ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED", ('queued',)); i = c.fetchone()[0]
    c.execute("UPDATE jobs SET status = %s, finished_at = now() WHERE id = %s", ('done', i)); end()
# 2: marked first
c.execute("UPDATE jobs SET status = 'running' WHERE id = (SELECT id FROM jobs WHERE status = 'queued' ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id, payload"); i = c.fetchone()[0]; conn.commit()
c.execute("UPDATE jobs SET status = %s WHERE id = %s", ('failed', i)); conn.commit()
# 3: deleted as it is taken
c.execute("DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE status = 'queued' ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 2) RETURNING *"); c.fetchall(); conn.commit()
c.execute("SELECT id, body FROM mails WHERE NOT done FOR UPDATE SKIP LOCKED LIMIT 1"); i = c.fetchone()[0]
c.execute("DELETE FROM mails WHERE id = %s", (i,)); conn.commit()
c.execute("SELECT id FROM jobs WHERE status = 'queued' FOR UPDATE SKIP LOCKED"); assert not c.fetchall(); conn.commit()
try: c.execute("INSERT INTO jobs (queue) VALUES (NULL)")
except Exception as e: conn.rollback()
c.execute("DELETE FROM jobs"); conn.commit(); conn.close()
