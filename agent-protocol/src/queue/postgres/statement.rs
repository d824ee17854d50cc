//! What a statement is to a queue.
//!
//! In: the text of a query. Out: [`Statement`]s, one for each that the server will answer. Always holds: of the text only names, the id
//! that a row is chosen by, and numbers of parameters are kept. Refuses: to guess: a row is settled only where its state is said in words
//! that are known, or where it is deleted.
//!
//! Tables become queues by `FOR UPDATE … SKIP LOCKED`, in a `SELECT`, or in the sub-select or common table expression of an `UPDATE` or
//! `DELETE` that returns the row. procrastinate (3.10) and pgmq hide theirs in functions, which are known by name.

use super::reading::Reading;
use super::token::{Token, Tokens};
use super::words::Outcome;

/// Most statements of one query string that are looked at.
const STATEMENTS_MAX: usize = 16;

/// Where a value is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    #[default]
    Nowhere,
    /// A parameter, from 1.
    Param(u16),
    Text(String),
}

/// What a statement does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Other,
    /// `INSERT INTO table`.
    Insert,
    /// Takes rows with `SKIP LOCKED`.
    Fetch,
    /// `UPDATE` or `DELETE` of a row by its id.
    Settle,
    Begin,
    Commit,
    Rollback,
    /// `procrastinate_defer_jobs_v1` and its like: returns ids of jobs.
    Defer,
    /// `procrastinate_fetch_job_v2`.
    FetchJob,
    /// `procrastinate_finish_job_v1(id, status, …)`.
    FinishJob,
    /// `procrastinate_retry_job_v2(id, …)`.
    RetryJob,
    /// `pgmq.send(queue, …)` and `send_batch`.
    Send,
    /// `pgmq.read(queue, …)`, `read_with_poll`, `pop`.
    Read,
    /// `pgmq.delete(queue, id)`, `archive`.
    Remove,
}

/// A statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) kind: Kind,
    /// What the server's answer begins with: `SELECT`, `INSERT`, …; empty for others.
    pub(super) verb: &'static str,
    /// The table, folded as the server does it, without `public.`.
    pub(super) table: String,
    /// By which column a row is settled.
    pub(super) column: String,
    /// The row's id; of functions, the first two arguments.
    pub(super) sources: [Source; 2],
    /// Parameters whose text may say what became of the row; bit 0 is `$1`.
    pub(super) set_params: u64,
    /// What its own words say of that.
    pub(super) outcome: Option<Outcome>,
    /// Rows that are inserted, as far as they are listed.
    pub(super) rows: u32,
}

/// The statements of a query. What is beyond the bound is one that says nothing.
pub(super) fn statements(sql: &[u8]) -> Vec<Statement> {
    let mut all = Vec::new();
    let mut reading = Reading::default();
    for token in Tokens::new(sql) {
        if token == Token::Mark(b';') && reading.depth == 0 {
            let read = std::mem::take(&mut reading);
            if read.tokens > 0 && all.len() < STATEMENTS_MAX {
                all.push(read.finish());
            }
        } else if all.len() < STATEMENTS_MAX {
            reading.take(token);
        }
    }
    if reading.tokens > 0 {
        all.push(reading.finish());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Source, statements};

    /// A statement in short.
    fn short(sql: &str) -> Vec<String> {
        let mut all = Vec::new();
        for one in statements(sql.as_bytes()) {
            let mut words = vec![format!("{:?} {}", one.kind, one.verb)];
            words.push(one.table);
            words.push(one.column);
            for source in one.sources {
                match source {
                    Source::Nowhere => {}
                    Source::Param(number) => words.push(format!("${number}")),
                    Source::Text(text) => words.push(format!("'{text}'")),
                }
            }
            words.extend((one.set_params > 0).then(|| format!("set {:b}", one.set_params)));
            words.extend(one.outcome.map(|outcome| format!("{outcome:?}")));
            words.extend((one.rows > 0).then(|| format!("{} rows", one.rows)));
            words.retain(|word| !word.is_empty());
            all.push(words.join(" ").trim_end().to_owned());
        }
        all
    }

    #[test]
    fn statements_are_what_queues_do() {
        for (sql, expected) in [
            (
                "INSERT INTO jobs (a, b) VALUES ($1, now()), ($2, f(3)) RETURNING id",
                "Insert INSERT jobs 2 rows",
            ),
            (
                "insert into public.\"Jobs\"(a) select 1",
                "Insert INSERT Jobs",
            ),
            (
                "INSERT INTO app.jobs DEFAULT VALUES ON CONFLICT DO NOTHING",
                "Insert INSERT app.jobs",
            ),
            (
                "INSERT INTO t AS x (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2",
                "Insert INSERT t 1 rows",
            ),
            (
                "SELECT id, a FROM jobs WHERE status = 'new' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
                "Fetch SELECT jobs",
            ),
            (
                "SELECT \"q_task\".\"id\" FROM \"q_task\" WHERE NOT \"q_task\".\"done\" LIMIT 1 FOR UPDATE OF \"q_task\" SKIP LOCKED",
                "Fetch SELECT q_task",
            ),
            (
                "DELETE FROM jobs WHERE id = (SELECT id FROM jobs ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING *",
                "Fetch DELETE jobs",
            ),
            (
                "UPDATE jobs SET status = 'done' WHERE id IN (SELECT id FROM jobs FOR NO KEY UPDATE SKIP LOCKED) RETURNING id",
                "Fetch UPDATE jobs Done",
            ),
            (
                "WITH c AS (SELECT * FROM a.jobs j JOIN x ON true FOR UPDATE OF j SKIP LOCKED) UPDATE a.jobs SET s = $1 FROM c WHERE a.jobs.id = c.id RETURNING a.jobs.*",
                "Fetch UPDATE a.jobs set 1",
            ),
            ("SELECT 'FOR UPDATE SKIP LOCKED' FROM jobs", "Other SELECT"),
            ("SELECT * FROM jobs FOR UPDATE NOWAIT", "Other SELECT"),
            (
                "DELETE FROM jobs WHERE id = $1",
                "Settle DELETE jobs id $1 Done",
            ),
            (
                "DELETE FROM \"jobs\" WHERE \"jobs\".\"id\" IN (7)",
                "Settle DELETE jobs id '7' Done",
            ),
            ("DELETE FROM jobs WHERE id IN (7, 8)", "Other DELETE"),
            ("DELETE FROM jobs WHERE created < now()", "Other DELETE"),
            ("DELETE FROM jobs WHERE id = 7 OR id = 8", "Other DELETE"),
            (
                "DELETE FROM jobs WHERE id IN (SELECT job_id FROM x WHERE y_id = 3)",
                "Other DELETE",
            ),
            (
                "UPDATE jobs SET status = 'done', at = now() WHERE queue = 'a' AND id = 12",
                "Settle UPDATE jobs id '12' Done",
            ),
            (
                "UPDATE jobs SET status = $1, error = $2 WHERE id = $3",
                "Settle UPDATE jobs id $3 set 11",
            ),
            (
                "UPDATE jobs SET status = 'failed', finished_at = now() WHERE id = $1",
                "Settle UPDATE jobs id $1 Failed",
            ),
            (
                "UPDATE jobs SET status = 'queued', finished_at = NULL WHERE id = $1",
                "Settle UPDATE jobs id $1 Waits",
            ),
            (
                "UPDATE jobs SET finished_at = now() WHERE job_id = 'x'",
                "Settle UPDATE jobs job_id 'x' Done",
            ),
            (
                "UPDATE jobs SET processed = true WHERE uuid = $1::uuid",
                "Settle UPDATE jobs uuid $1 Done",
            ),
            (
                "UPDATE jobs SET heartbeat = now(), error = NULL WHERE id = 12",
                "Other UPDATE",
            ),
            (
                "SELECT unnest(procrastinate_defer_jobs_v1($1::procrastinate_job_to_defer_v1[])) AS id",
                "Defer SELECT $1",
            ),
            (
                "SELECT id, status FROM procrastinate_fetch_job_v2($1::varchar[], $2)",
                "FetchJob SELECT $1 $2",
            ),
            (
                "SELECT procrastinate_finish_job_v1($1, $2, $3)",
                "FinishJob SELECT $1 $2",
            ),
            (
                "SELECT procrastinate_finish_job_v1(12, 'failed', false);",
                "FinishJob SELECT '12' 'failed'",
            ),
            (
                "SELECT procrastinate_retry_job_v2($1, $2, $3, $4, $5)",
                "RetryJob SELECT $1 $2",
            ),
            (
                "select * from pgmq.send(queue_name => $1::text, msg => $2)",
                "Send SELECT $1 $2",
            ),
            (
                "select * from pgmq.read('q', 30, 1)",
                "Read SELECT 'q' '30'",
            ),
            ("select pgmq.archive($1, $2)", "Remove SELECT $1 $2"),
            ("select send($1)", "Other SELECT"),
            (
                "DECLARE c CURSOR FOR SELECT id FROM jobs FOR UPDATE SKIP LOCKED",
                "Other",
            ),
            ("EXPLAIN ANALYZE DELETE FROM jobs WHERE id = 1", "Other"),
            (
                "COPY (DELETE FROM jobs WHERE id = 1 RETURNING *) TO STDOUT",
                "Other",
            ),
            ("(SELECT id FROM jobs FOR UPDATE SKIP LOCKED)", "Other"),
            ("ROLLBACK TO SAVEPOINT a", "Other"),
            ("", ""),
            (
                "BEGIN; INSERT INTO t VALUES (1); ;COMMIT",
                "Begin|Insert INSERT t 1 rows|Commit",
            ),
            ("abort", "Rollback"),
            ("COPY t FROM STDIN", "Other"),
            (
                "SELECT ((((((((((((((((((((1))))))))))))))))))))",
                "Other SELECT",
            ),
            ("))))((((;;;)", "Other"),
        ] {
            assert_eq!(short(sql).join("|"), expected, "{sql}");
        }
    }
}
