const { Client } = require('pg');
(async () => {
  const c = new Client({ host: '127.0.0.1', port: 15432, user: 'postgres', database: 'shop' }); await c.connect();
  await c.query("INSERT INTO jobs (queue, payload) VALUES ($1, $2) RETURNING id", ['mail', '{"n": 1}']);
  await c.query({ name: 'put', text: "INSERT INTO jobs (payload) VALUES ($1) RETURNING id", values: ['{"n": 2}'] });
  await c.query({ name: 'put', text: "INSERT INTO jobs (payload) VALUES ($1) RETURNING id", values: ['{"n": 3}'] });
  for (let n = 0; n < 3; n++) {
    await c.query('BEGIN');
    const r = await c.query({ name: 'take', text: "SELECT id, payload FROM jobs WHERE status = 'queued' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED" });
    await c.query("DELETE FROM jobs WHERE id = $1", [r.rows[0].id]);
    await c.query(n == 1 ? 'ROLLBACK' : 'COMMIT');
  }
  await c.query("BEGIN; INSERT INTO jobs (queue) VALUES ('a') RETURNING id; DELETE FROM jobs; COMMIT");
  await c.end();
})();
