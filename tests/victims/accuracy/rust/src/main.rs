//! The axum victim: axum as server, reqwest as client, tokio's runtime with many threads, or with one. Usage: axum-victim PORT [current].
//!
//! In: /work/SHAPE/ID. Out: the shape's calls of the leaf (`LEAF_URL`), each GET /leaf/ID/N, so that its path says whose it is.
//! Always holds: a call that fails is as good as one that does not; some shapes ask for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::Router;
use tokio::sync::{mpsc, oneshot, Notify, Semaphore};
use tokio::task::JoinSet;

/// A call that another task makes, and who waits for it.
type Job = (String, oneshot::Sender<()>);

struct Victim {
    leaf: String,
    client: reqwest::Client,
    two: Semaphore,
    one: tokio::sync::Mutex<()>,
    /// Two tasks, each started by the first request that needs it, that make calls for all.
    actor: OnceLock<mpsc::Sender<Job>>,
    loader: OnceLock<()>,
    jobs: Mutex<VecDeque<Job>>,
    more: Notify,
}

impl Victim {
    fn leaf(&self, id: &str, step: usize, query: &str) -> String {
        format!("{}/leaf/{id}/{step}{query}", self.leaf)
    }

    async fn get(&self, url: String) {
        if let Ok(answer) = self.client.get(url).send().await {
            let _ = answer.bytes().await;
        }
    }

    /// reqwest has no limit of connections: two permits stand for two connections.
    async fn pooled(&self, url: String) {
        let _permit = self.two.acquire().await;
        self.get(url).await;
    }
}

impl Victim {
    /// A task that makes calls for whoever sends to it.
    fn actor(self: &Arc<Self>) -> mpsc::Sender<Job> {
        let victim = Arc::clone(self);
        let (give, mut take) = mpsc::channel::<Job>(64);
        tokio::spawn(async move {
            while let Some((url, done)) = take.recv().await {
                victim.get(url).await;
                let _ = done.send(());
            }
        });
        give
    }

    /// Over a channel.
    async fn by_actor(self: &Arc<Self>, actor: &mpsc::Sender<Job>, url: String) {
        let (done, is_done) = oneshot::channel();
        if actor.send((url, done)).await.is_ok() {
            let _ = is_done.await;
        }
    }

    /// Over a list behind a lock.
    async fn by_loader(self: &Arc<Self>, url: String) {
        let (done, is_done) = oneshot::channel();
        if let Ok(mut jobs) = self.jobs.lock() {
            jobs.push_back((url, done));
        }
        self.more.notify_one();
        let victim = Arc::clone(self);
        self.loader.get_or_init(|| {
            tokio::spawn(async move {
                loop {
                    let next = victim.jobs.lock().ok().and_then(|mut jobs| jobs.pop_front());
                    match next {
                        Some((url, done)) => {
                            victim.get(url).await;
                            let _ = done.send(());
                        }
                        None => victim.more.notified().await,
                    }
                }
            });
        });
        let _ = is_done.await;
    }
}

fn low(id: &str) -> u16 {
    u16::from_str_radix(id.get(id.len().saturating_sub(4)..).unwrap_or(""), 16).unwrap_or(0)
}

/// An address of this host that belongs to the one request, and port 2, where nobody listens.
fn refused(id: &str) -> String {
    let [high, low] = low(id).to_be_bytes();
    format!("http://127.1.{high}.{low}:2/leaf/{id}/2")
}

async fn pause(id: &str) {
    tokio::time::sleep(Duration::from_millis(1 + u64::from(low(id) & 0xff) % 8)).await;
}

async fn at_once(victim: &Arc<Victim>, id: &str, calls: usize, pooled: bool) {
    let mut all = JoinSet::new();
    for step in 0..calls {
        let (victim, url) = (Arc::clone(victim), victim.leaf(id, step, ""));
        all.spawn(async move {
            if pooled {
                victim.pooled(url).await
            } else {
                victim.get(url).await
            }
        });
    }
    while all.join_next().await.is_some() {}
}

async fn work(
    State(victim): State<Arc<Victim>>,
    Path((shape, id)): Path<(String, String)>,
) -> (StatusCode, &'static str) {
    match shape.as_str() {
        "seq" => {
            for step in 0..3 {
                victim.get(victim.leaf(&id, step, "")).await;
            }
        }
        "fanout" => at_once(&victim, &id, 4, false).await,
        "pool" => at_once(&victim, &id, 3, true).await,
        "timer" => {
            victim.get(victim.leaf(&id, 0, "")).await;
            pause(&id).await;
            victim.get(victim.leaf(&id, 1, "")).await;
        }
        "fail" => {
            victim.get(victim.leaf(&id, 0, "?fail=500")).await;
            victim.get(victim.leaf(&id, 1, "?fail=close")).await;
            victim.get(refused(&id)).await;
        }
        "background" => {
            tokio::spawn(async move {
                pause(&id).await;
                victim.get(victim.leaf(&id, 0, "")).await;
            });
        }
        "select" => {
            let leaf = |step| victim.get(victim.leaf(&id, step, ""));
            tokio::join!(leaf(0), leaf(1));
            tokio::select! {
                () = leaf(2) => {}
                () = tokio::time::sleep(Duration::from_secs(20)) => {}
            }
        }
        "lock" => {
            let _held = victim.one.lock().await;
            victim.get(victim.leaf(&id, 0, "")).await;
            victim.get(victim.leaf(&id, 1, "")).await;
        }
        "own" => {
            let actor = victim.actor();
            victim.by_actor(&actor, victim.leaf(&id, 0, "")).await;
            victim.by_actor(&actor, victim.leaf(&id, 1, "")).await;
        }
        "handover" => {
            let actor = victim.actor.get_or_init(|| victim.actor());
            victim.by_actor(actor, victim.leaf(&id, 0, "")).await;
            victim.by_actor(actor, victim.leaf(&id, 1, "")).await;
        }
        "lazy" => {
            victim.by_loader(victim.leaf(&id, 0, "")).await;
            victim.by_loader(victim.leaf(&id, 1, "")).await;
        }
        _ => return (StatusCode::NOT_FOUND, "no such shape"),
    }
    (StatusCode::OK, "worked")
}

async fn serve(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let victim = Victim {
        leaf: std::env::var("LEAF_URL").unwrap_or_default(),
        client: reqwest::Client::builder().no_proxy().build()?,
        two: Semaphore::new(2),
        one: tokio::sync::Mutex::new(()),
        actor: OnceLock::new(),
        loader: OnceLock::new(),
        jobs: Mutex::new(VecDeque::new()),
        more: Notify::new(),
    };
    let app = Router::new()
        .route("/work/{shape}/{id}", get(work))
        .with_state(Arc::new(victim));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, app).await?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().unwrap_or_default().parse()?;
    let mut runtime = match args.next().as_deref() {
        Some("current") => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(serve(port))
}
