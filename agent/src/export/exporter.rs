//! Takes finished spans and delivers them: the queue, the senders and their thread.
//!
//! In: spans from any thread. Out: OTLP requests. Always holds: offering a span never waits for the network; memory is
//! bounded whatever the backend does; every span ends as sent or as dropped with a reason. Refuses: targets whose TLS
//! files or headers cannot be used, at start-up.
//!
//! Runs on a thread of its own with a runtime of its own: compressing or a slow name look-up never delays capture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_trace::frame::{ProcessFacts, ResourceValue};
use agent_trace::span::Span;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::counters::{Drop, ExportCounters};
use super::log::Log;
use super::queue::{Batch, Next, Queue};
use super::retry::{Backoff, RetryPolicy, random};
use super::thread::ExportThread;
use super::transport::{Action, Failure, Transport};
use super::{CONCURRENT_REQUESTS, ExportError};
use crate::config::{self, Target};

/// While ending, waits between attempts are at most this long.
const CLOSING_WAIT_MAX: Duration = Duration::from_millis(500);

/// Offers spans for export. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct ExporterHandle {
    queue: Arc<Queue>,
}

impl ExporterHandle {
    /// Takes a span; never waits. `false` when it was dropped, which is counted.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "the span ends here: it is encoded at once"
    )]
    pub fn enqueue(&self, span: Span, facts: Arc<ProcessFacts>) -> bool {
        self.queue.push(&span, &facts)
    }

    /// The same for a span that is needed elsewhere too.
    pub fn enqueue_ref(&self, span: &Span, facts: &Arc<ProcessFacts>) -> bool {
        self.queue.push(span, facts)
    }

    /// Spans and bytes held now, queued and in flight.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        self.queue.held()
    }
}

/// What the senders share.
struct Shared {
    queue: Arc<Queue>,
    counters: Arc<ExportCounters>,
    closing: AtomicBool,
    closed: Notify,
    retry: RetryPolicy,
    give_up_after: Duration,
    log: Log,
}

/// Delivers spans to one backend.
pub struct TraceExporter {
    shared: Arc<Shared>,
    senders: Option<tokio::task::JoinHandle<()>>,
}

impl TraceExporter {
    /// Starts the senders on `thread`. `extra` are the attributes of `[resource]`.
    ///
    /// # Errors
    /// TLS files or headers that cannot be used.
    pub fn start(
        thread: &ExportThread,
        target: &Target,
        bounds: &config::Queue,
        extra: Vec<(String, ResourceValue)>,
        retry: RetryPolicy,
    ) -> Result<Self, ExportError> {
        let transport = thread.enter(|| Transport::new(target))?;
        let counters = Arc::new(ExportCounters::default());
        let shared = Arc::new(Shared {
            queue: Arc::new(Queue::new(bounds.clone(), extra, Arc::clone(&counters))),
            counters,
            closing: AtomicBool::new(false),
            closed: Notify::new(),
            retry,
            give_up_after: bounds.give_up_after,
            log: Log::new(target),
        });
        let senders = thread
            .handle()
            .spawn(send_all(Arc::clone(&shared), transport));
        Ok(Self {
            shared,
            senders: Some(senders),
        })
    }

    /// For the part that makes spans.
    #[must_use]
    pub fn handle(&self) -> ExporterHandle {
        ExporterHandle {
            queue: Arc::clone(&self.shared.queue),
        }
    }

    /// What became of the spans so far.
    #[must_use]
    pub fn counters(&self) -> Arc<ExportCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// Takes no more spans and delivers what is held, for at most `within`; what is left then is counted as dropped.
    /// Blocks the calling thread, which must not be the export thread.
    pub fn shutdown(mut self, thread: &ExportThread, within: Duration) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.queue.close();
        self.shared.closed.notify_waiters();
        if let Some(mut senders) = self.senders.take() {
            let (done, ended) = std::sync::mpsc::channel();
            thread.handle().spawn(async move {
                if tokio::time::timeout(within, &mut senders).await.is_err() {
                    senders.abort();
                    let _ = senders.await; // aborted: nothing to learn
                }
                let _ = done.send(()); // the receiver may have stopped waiting
            });
            let _ = ended.recv_timeout(within + Duration::from_millis(500)); // late: counted below all the same
        }
        let (left, _) = self.shared.queue.held();
        self.shared
            .counters
            .add_dropped(Drop::Shutdown, left as u64);
    }
}

/// Runs the senders until the queue is closed and empty. Dropping the future (abort) drops them all.
async fn send_all(shared: Arc<Shared>, transport: Transport) {
    let mut senders = JoinSet::new();
    for _ in 0..CONCURRENT_REQUESTS {
        senders.spawn(send_next(Arc::clone(&shared), transport.clone()));
    }
    while senders.join_next().await.is_some() {}
}

async fn send_next(shared: Arc<Shared>, transport: Transport) {
    loop {
        match shared.queue.next(Instant::now()) {
            Next::Batch(batch) => {
                let outcome = deliver(&shared, &transport, &batch).await;
                shared.queue.release(&batch);
                if let Err(reason) = outcome {
                    shared.counters.add_dropped(reason, batch.spans);
                }
            }
            Next::Wait(None) => shared.queue.ready().await,
            Next::Wait(Some(time)) => {
                let _ = tokio::time::timeout(time, shared.queue.ready()).await; // either way: look again
            }
            Next::End => {
                shared.queue.wake_next();
                return;
            }
        }
    }
}

/// Sends one batch until it is taken, refused, or its time is over.
async fn deliver(shared: &Shared, transport: &Transport, batch: &Batch) -> Result<(), Drop> {
    let started = Instant::now();
    let mut backoff = Backoff::new(shared.retry);
    loop {
        shared.counters.add_request();
        let failure = match transport.send(batch.body.clone()).await {
            Ok(accepted) => {
                let rejected = accepted.rejected.min(batch.spans);
                shared.counters.add_sent(batch.spans - rejected);
                shared.counters.add_dropped(Drop::Rejected, rejected);
                shared.log.accepted(&accepted);
                return Ok(());
            }
            Err(failure) => failure,
        };
        shared.log.failed(&failure, batch.spans);
        let wait = next_wait(shared, &failure, &mut backoff)?;
        if started.elapsed() + wait > shared.give_up_after {
            return Err(Drop::GaveUp);
        }
        shared.counters.add_retry();
        pause(shared, wait).await;
    }
}

/// How long to wait before trying again, or why not to.
fn next_wait(shared: &Shared, failure: &Failure, backoff: &mut Backoff) -> Result<Duration, Drop> {
    let closing = shared.closing.load(Ordering::Acquire);
    let asked = match failure.action {
        Action::Drop => return Err(Drop::Refused),
        // Nobody is there: while ending, one attempt per batch is enough.
        Action::RetryUnreachable if closing => return Err(Drop::Shutdown),
        Action::RetryUnreachable => None,
        Action::Retry(asked) => asked,
    };
    let wait = backoff.next(asked, random());
    Ok(if closing {
        wait.min(CLOSING_WAIT_MAX)
    } else {
        wait
    })
}

/// Waits; the beginning of the end cuts it short.
async fn pause(shared: &Shared, wait: Duration) {
    let closed = shared.closed.notified();
    if shared.closing.load(Ordering::Acquire) {
        tokio::time::sleep(wait).await;
    } else {
        let _ = tokio::time::timeout(wait, closed).await; // either way: try again
    }
}
