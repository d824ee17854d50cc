//! The axum victim: axum as server, reqwest as client, tokio's runtime with many threads. Usage: axum-victim PORT.
//!
//! In: /work/SHAPE/ID. Out: the shape's calls of the leaf (`LEAF_URL`), each GET /leaf/ID/N, so that its path says whose it is.
//! Always holds: a call that fails is as good as one that does not; some shapes ask for it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::Router;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

struct Victim {
    leaf: String,
    client: reqwest::Client,
    two: Semaphore,
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
        _ => return (StatusCode::NOT_FOUND, "no such shape"),
    }
    (StatusCode::OK, "worked")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).unwrap_or_default().parse()?;
    let victim = Victim {
        leaf: std::env::var("LEAF_URL").unwrap_or_default(),
        client: reqwest::Client::builder().no_proxy().build()?,
        two: Semaphore::new(2),
    };
    let app = Router::new()
        .route("/work/{shape}/{id}", get(work))
        .with_state(Arc::new(victim));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, app).await?)
}
