//! How the libraries use Redis, as seen on the wire: written down because causality builds on it.
//!
//! In and out: nothing, this is text. Always holds: each flow was recorded from the real library (`tests/redis/`, where `.events` is what is
//! made of it); which process or thread issues a command was seen with `strace -f` on the same programs, in asynq's case in its source. BullMQ 5.81, RQ 1.16, dramatiq 1.17 and huey 2.5 (these by redis-py 5.3 in RESP2) were
//! run as well and gave the same events.
//!
//! A job's id is in each of its messages, so [`Event::Sent`], [`Event::Delivered`], [`Event::Claimed`] and [`Event::Done`] name it by one
//! key. What differs is who does the work, and how its beginning and its end are told:
//!
//! | library | fetches | works | begin of the work | end of the work |
//! |---|---|---|---|---|
//! | RQ 3.0 | main process | a child, forked for each job | `Claimed`, by the child | `Done`, by the child |
//! | Celery 5.7 prefork | main process | a child of the pool, told over a pipe | nothing on Redis | `Done`, by the child, if results are stored |
//! | Celery 5.7 threads | main thread | a thread of the pool | nothing on Redis | `Done`, by that thread, if results are stored |
//! | Celery 5.7 solo | main thread | the same thread, at once | `Delivered` | `Done` or with late acks `SettledKey`; the next `Fetching` |
//! | Sidekiq 6.4 | a processor's thread | the same thread | `Delivered` | the next `Fetching`; `Done` only when it failed |
//! | dramatiq 2.2 | a thread for each queue | a worker's thread | nothing on Redis | `SettledKey`, by the worker's thread |
//! | huey 3.5 | a worker's thread | the same thread | `Delivered` | `Done`, unless the result is `None`; the next `Fetching` |
//! | BullMQ 6.7 | the event loop | the event loop; sandboxed: a child or thread, told over a socket pair | `Delivered` | `Done`, by the event loop |
//! | asynq 0.26 | the processor's goroutine | a goroutine's goroutine | nothing on Redis | `Done`, by the goroutine between them |
//!
//! # RQ
//!
//! Sent: `MULTI; HSET rq:job:ID status queued; HSET rq:job:ID … description "module.function('arg')" …; RPUSH rq:queue:NAME ID; EXEC`. The
//! message is the id alone; the name is what stands before the description's bracket, if that is a name. `enqueue_in`: `ZADD
//! rq:scheduled:NAME` (delayed); `depends_on`: `ZADD rq:deferred:NAME` (delayed).
//!
//! The main process waits in `BLMOVE rq:queue:NAME rq:queue:NAME:intermediate` (older ones, and with several queues: `BLPOP`, `LPOP`), reads
//! `HGETALL rq:job:ID`, writes `rq:execution:…` and `rq:wip:…`, forks, and waits for the child. The child opens a connection of its own and
//! writes `HSET rq:job:ID status started` (`Claimed`), later `status finished` or `failed` (`Done`). A retry at once: the child's `RPUSH` of
//! the same id; one with an interval: its `ZADD rq:scheduled:NAME`. A job that waited for another: the other's child removes it from
//! `rq:deferred` and `rq:ready` and pushes it (`Moved`).
//!
//! With `--with-scheduler` a child of the main process looks into `rq:scheduled:NAME` each second (`ZRANGEBYSCORE`) and pushes what is due
//! (`Moved`). A `SimpleWorker` does all of it in the main process.
//!
//! # Celery (kombu's Redis transport)
//!
//! Sent: `LPUSH QUEUE JSON`, priorities as `QUEUE\x06\x16N`. `countdown` and `eta` do not change where: the worker takes the message and waits
//! itself (`is_delayed`; `Delivered` comes long before the work). A retry is sent by whoever worked, same id, `retries` + 1; a chain's next
//! task likewise, with its `root_id`; of a chord the last member's worker sends the body.
//!
//! Two connections of the main process: on one `BRPOP QUEUE QUEUE\x06\x163 … 1`, again and again; on the other `MULTI; ZADD unacked_index; HSET
//! unacked TAG [message, exchange, key]; EXEC`, and to acknowledge `ZREM unacked_index; HDEL unacked TAG` (`SettledKey`: the tag is one of
//! the message's keys). Without `task_acks_late` that comes when the child took the job, so before the work. To give it back: `HGET unacked
//! TAG` first, then the same and `LPUSH` or `RPUSH` with `redelivered` set (`Requeue`, `Moved`): after `Reject(requeue=True)`, at shut-down,
//! and by any worker for one that was killed, once the visibility time-out is over. A task that is rejected for good looks like an ack.
//!
//! The result: `MULTI; SETEX celery-task-meta-ID ttl {"status": …}; PUBLISH …` by the child or thread that worked (`Done`; `RETRY` is
//! nothing: the retry was sent before, which ended the attempt; `STARTED` with `task_track_started` is `Claimed`). With `ignore_result` nothing is written: only the pool's pipe tells.
//! Task events (`/0.celeryev/…`), remote control (`…pidbox`) and results give no message.
//!
//! # Sidekiq
//!
//! Sent: `SADD queues NAME; LPUSH queue:NAME JSON` (several in bulk). `perform_in`: `ZADD schedule TIME JSON`. A processor is a thread with a
//! connection of the pool: `BRPOP queue:A queue:B … 2`, the job, `BRPOP` again; nothing tells the end of a job that succeeded but that.
//! A failure: the thread's `ZADD retry TIME JSON` (`Done` and `Sent`, delayed) or `ZADD dead` (`Done`); with `retry: false` nothing, and the
//! processor is replaced by a new thread. The poller's thread takes what is due with a script and pushes it (`Moved`). The heartbeat's
//! thread writes `stat:…` and the process' hash. Sidekiq 7 speaks RESP3.
//!
//! # dramatiq
//!
//! One script for everything: `EVALSHA sha 1 NAMESPACE COMMAND now QUEUE worker …`. `enqueue … redis_message_id JSON` is sent, `fetch` answers an
//! array of JSON, `ack`, `nack` and `requeue` name messages by `redis_message_id`, which is one of their keys. `fetch` is issued by one
//! thread for each queue, which prefetches; `ack` and `nack` (failed for good) by the thread that worked, on any connection of the pool. A
//! delayed message goes to `QUEUE.DQ`: its thread takes it at once, waits, and enqueues it to `QUEUE` (`Moved`: it is older than a new one).
//! A retry: the worker's thread enqueues the same `message_id` with `options.retries` to `QUEUE.DQ`, then acknowledges the attempt. Each worker
//! process has its threads.
//!
//! # huey
//!
//! Sent: `LPUSH huey.redis.NAME pickle`. A worker is a thread: `BRPOP huey.redis.NAME 1`, the task, `HSET huey.results.NAME ID pickle` (`Done`; for
//! a result of `None` nothing is written). A task that is scheduled goes to the list as well: the worker that takes it puts it into
//! `huey.schedule.NAME` (`Moved`), from where the scheduler's thread takes it with a script and pushes it (`Moved`). A retry: after the
//! result, which is an error, the worker's `ZADD huey.schedule.NAME` (`Sent`, delayed) or `LPUSH`.
//!
//! # BullMQ
//!
//! Scripts, told by their keys. A job's id is counted by the script that adds it: [`Event::Placed`] tells it with the answer,
//! and a worker may have the job before. Until then name, time in ms and arguments are the key. A worker of any concurrency has one
//! connection for scripts and one that waits in `BZPOPMIN …:marker`; a script that ends a job (`moveToFinished`, `moveToDelayed`) answers with the
//! next one. So there is no `Fetching`: with several jobs in one event loop it would not say whose work has ended. Delays, priorities,
//! back-offs and parents of flows are moved by the scripts themselves. A retry is `Done`, failed, and `Sent` of the same job.
//!
//! A sandboxed processor is a child process (or with `useWorkerThreads` a thread) that never speaks to Redis: the event loop writes one JSON
//! line for each job, with its id and name, to a UNIX socket pair, and reads the result there.
//!
//! # asynq
//!
//! Scripts, told by their keys. The processor's goroutine dequeues (`Fetching` is its own, it does not work) and starts a
//! goroutine for each task; that one starts another for the handler, waits for it, and writes `done`, `retry` or `archive` (`Done`).
//! Commands take any connection of go-redis' pool; goroutines any thread. A script that Redis does not have yet is answered `NOSCRIPT` and
//! sent again as a text: `Sent` or `Done` come twice then. What is due is moved by a script that names no task.

#[cfg(doc)]
use crate::queue::Event;
