//! The runtimes that are measured: what each must reach, what it reaches today, and how it is started.
//!
//! In: nothing. Out: [`ALL`], one row for each. Always holds: a floor is what was reached when it was written down, so that
//! falling below it is a regression; a target is what issue 4 asks for.

use anyhow::Result;
use suture_tests::victims::Victim;
use suture_tests::victims::compiled::{self, Java, JavaShapes};
use suture_tests::victims::nginx::{Behind, PhpFpm, nginx};
use suture_tests::victims::python::{EventLoop, Worker, event_loop, gunicorn, http_server};
use suture_tests::victims::scripts::{NodeShapes, node_shapes, webrick};
use suture_tests::victims::servers::{Apache, Tokio, apache, axum, haproxy, puma};

use crate::shape::Shape::{
    self, Background, Fail, Fanout, Handover, Lazy, Lock, Own, Pool, Select, Seq, Timer,
};
use crate::stage::Stage;

/// How many calls are to have their true parent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Percent.
    Percent(f64),
    /// As many as have evidence; the others are roots.
    Evidence,
}

/// What starting gave.
pub enum Started {
    /// Programs at work.
    Stage(Stage),
    /// This machine lacks something that `xtask` does not install.
    Skipped(String),
}

/// A runtime.
pub struct Runtime {
    /// Its name as an argument.
    pub name: &'static str,
    /// What is wanted.
    pub target: Target,
    /// The shapes it has, with the percentage of right calls below which a run fails.
    pub floors: &'static [(Shape, f64)],
    /// The same where it is another with one request in flight.
    pub lone_floors: &'static [(Shape, f64)],
    /// In flight at most: what it can hold, or so many that it answers all of them.
    pub most: usize,
    /// Starts it, in front of the leaf.
    pub start: fn(&Victim) -> Result<Started>,
}

impl Runtime {
    /// The floor of a shape with so many requests in flight.
    pub fn floor(&self, shape: Shape, concurrency: usize) -> f64 {
        let lone = if concurrency == 1 {
            self.lone_floors
        } else {
            &[]
        };
        let mut all = lone.iter().chain(self.floors);
        all.find(|(own, _)| *own == shape)
            .map_or(0.0, |(_, floor)| *floor)
    }
}

/// No bound below what a measurement asks for.
const ANY: usize = usize::MAX;
const ALL_RIGHT: Target = Target::Percent(100.0);
const NEARLY: Target = Target::Percent(99.9);
/// One thread serves one request.
const BY_THREAD: &[(Shape, f64)] = &[(Seq, 100.0), (Timer, 100.0), (Pool, 100.0), (Fail, 100.0)];
/// The same where now and then it cannot be told which thread that is.
const NEARLY_BY_THREAD: &[(Shape, f64)] = &[(Seq, 99.0), (Timer, 99.0), (Pool, 99.0), (Fail, 99.0)];
/// The same where that can seldom be told.
const BY_MOVED: &[(Shape, f64)] = &[(Seq, 0.0), (Timer, 0.0), (Pool, 0.0), (Fail, 0.0)];
/// The calls are made by other threads.
const BY_OTHERS: &[(Shape, f64)] = &[(Fanout, 0.0), (Handover, 0.0), (Background, 0.0)];
const BY_PROXY: &[(Shape, f64)] = &[(Seq, 100.0), (Fail, 100.0)];
const BY_LOOP: &[(Shape, f64)] = &[
    (Seq, 0.0),
    (Fanout, 0.0),
    (Timer, 0.0),
    (Pool, 0.0),
    (Fail, 0.0),
    (Background, 0.0),
];
/// What Node.js reaches: async functions, whatever else is open.
const BY_ASYNC_FUNCTION: &[(Shape, f64)] = &[
    (Seq, 99.9),
    (Fanout, 99.9),
    (Timer, 99.9),
    (Pool, 99.9),
    (Fail, 99.9),
    (Background, 0.0),
];
/// undici's pools queue what they have no connection for, and write it in a turn of somebody else's.
const BY_ASYNC_FUNCTION_IN_A_POOL: &[(Shape, f64)] = &[
    (Seq, 99.9),
    (Fanout, 99.9),
    (Timer, 99.9),
    (Pool, 0.0),
    (Fail, 99.9),
    (Background, 0.0),
];
/// What Node.js reaches with one request in flight: then its turns count. A connection of the request before that closes late is not known to be harmless.
const BY_LONE_TURN: &[(Shape, f64)] = &[
    (Seq, 99.0),
    (Fanout, 99.0),
    (Timer, 99.0),
    (Pool, 95.0),
    (Fail, 90.0),
];
const BY_GOROUTINE: &[(Shape, f64)] = &[
    (Seq, 100.0),
    (Fanout, 100.0),
    (Timer, 100.0),
    (Pool, 100.0),
    (Fail, 100.0),
    (Background, 100.0),
];
/// The first tasks of a type that are made under a request are nobody's; what one task does for all stays nobody's, and what one does after the answer.
const BY_TASK: &[(Shape, f64)] = &[
    (Seq, 99.5),
    (Fanout, 98.0),
    (Timer, 99.5),
    (Pool, 99.5),
    (Fail, 99.5),
    (Background, 0.0),
    (Select, 99.5),
    (Lock, 99.5),
    (Own, 5.0),
    (Handover, 0.0),
    (Lazy, 0.0),
];
/// What differs between releases of Go: where goroutines are made, and where they hand work on.
const BY_GO_RELEASE: &[(Shape, f64)] = &[(Fanout, 100.0), (Fail, 100.0)];
const BY_LOOP_AND_THREADS: &[(Shape, f64)] = &[
    (Seq, 99.9),
    (Fanout, 99.9),
    (Timer, 99.9),
    (Pool, 99.9),
    (Fail, 99.9),
    (Handover, 99.9),
    (Background, 99.9),
];

const fn runtime(
    name: &'static str,
    target: Target,
    floors: &'static [(Shape, f64)],
    start: fn(&Victim) -> Result<Started>,
) -> Runtime {
    Runtime {
        name,
        target,
        floors,
        lone_floors: &[],
        most: ANY,
        start,
    }
}

/// Node.js with a library.
const fn node(
    name: &'static str,
    floors: &'static [(Shape, f64)],
    start: fn(&Victim) -> Result<Started>,
) -> Runtime {
    Runtime {
        lone_floors: BY_LONE_TURN,
        ..runtime(name, NEARLY, floors, start)
    }
}

fn work(caller: Victim) -> Result<Started> {
    Ok(Started::Stage(Stage::work(caller)))
}

fn proxy(caller: Victim) -> Result<Started> {
    Ok(Started::Stage(Stage::proxy(caller)))
}

/// Another release of Go, or another way to build with it.
const fn go_release(name: &'static str, start: fn(&Victim) -> Result<Started>) -> Runtime {
    Runtime {
        most: 64,
        ..runtime(name, ALL_RIGHT, BY_GO_RELEASE, start)
    }
}

fn go_built(how: &str, leaf: &Victim) -> Result<Started> {
    match compiled::go_built(how, leaf)? {
        Some(caller) => work(caller),
        None => Ok(Started::Skipped(format!(
            "the victim was not built with {how}: tests/victims/setup.sh said why"
        ))),
    }
}

fn php_fpm(leaf: &Victim) -> Result<Started> {
    let fpm = PhpFpm::start(Some(leaf))?;
    let front = nginx(1, &Behind::FastCgi(&fpm))?;
    Ok(Started::Stage(Stage {
        fpm: Some(fpm),
        ..Stage::work(front)
    }))
}

/// A virtual thread for each request, by the Java `release` with `options`. Until the kernel has seen the first one read a request nothing is
/// told of how threads wait with epoll, so that one is sent ahead.
fn java_virtual(release: u32, options: &[&str], collects: bool, leaf: &Victim) -> Result<Started> {
    let java = Java::Release(release);
    let caller = compiled::java_shapes_by(java, JavaShapes::Virtual, options, collects, leaf)?;
    Ok(Started::Stage(Stage {
        is_asked_ahead: true,
        ..Stage::work(caller)
    }))
}

/// All of them.
pub const ALL: &[Runtime] = &[
    runtime("http.server", ALL_RIGHT, BY_THREAD, |leaf| {
        work(http_server(Some(leaf))?)
    }),
    runtime("gunicorn-sync", ALL_RIGHT, BY_THREAD, |leaf| {
        work(gunicorn(Worker::Sync, "requests", Some(leaf))?)
    }),
    runtime("gunicorn-gthread", ALL_RIGHT, BY_THREAD, |leaf| {
        work(gunicorn(Worker::Gthread, "requests", Some(leaf))?)
    }),
    runtime("python-executor", Target::Evidence, BY_OTHERS, |leaf| {
        work(http_server(Some(leaf))?)
    }),
    runtime("webrick", ALL_RIGHT, BY_THREAD, |leaf| {
        work(webrick(Some(leaf))?)
    }),
    runtime("ruby-pool", Target::Evidence, BY_OTHERS, |leaf| {
        work(webrick(Some(leaf))?)
    }),
    runtime(
        "php-fpm",
        ALL_RIGHT,
        &[
            (Seq, 100.0),
            (Fanout, 100.0),
            (Timer, 100.0),
            (Pool, 100.0),
            (Fail, 100.0),
            (Background, 0.0),
        ],
        php_fpm,
    ),
    runtime("nginx", ALL_RIGHT, BY_PROXY, |leaf| {
        proxy(nginx(1, &Behind::Proxy(leaf))?)
    }),
    runtime("nginx-keepalive", ALL_RIGHT, BY_PROXY, |leaf| {
        proxy(nginx(2, &Behind::ProxyKeepAlive(leaf))?)
    }),
    runtime("haproxy", ALL_RIGHT, BY_PROXY, |leaf| {
        proxy(haproxy(leaf, None)?)
    }),
    runtime("haproxy-pool", ALL_RIGHT, BY_PROXY, |leaf| {
        proxy(haproxy(leaf, Some(4))?)
    }),
    runtime("apache-prefork", ALL_RIGHT, BY_PROXY, |leaf| {
        proxy(apache(Apache::PreforkProxy, leaf)?)
    }),
    runtime("apache-event", ALL_RIGHT, BY_PROXY, |leaf| {
        proxy(apache(Apache::EventProxy, leaf)?)
    }),
    runtime(
        "apache-prefork-php",
        ALL_RIGHT,
        &[
            (Seq, 100.0),
            (Fanout, 100.0),
            (Timer, 100.0),
            (Pool, 100.0),
            (Fail, 100.0),
        ],
        |leaf| work(apache(Apache::PreforkPhp, leaf)?),
    ),
    // Its reactor reads some of the requests on kept connections, then hands them to a thread.
    runtime(
        "puma",
        Target::Evidence,
        &[(Seq, 90.0), (Timer, 90.0), (Pool, 90.0), (Fail, 90.0)],
        |leaf| work(puma(leaf)?),
    ),
    runtime("java-httpserver", ALL_RIGHT, BY_THREAD, |leaf| {
        work(compiled::java_shapes(JavaShapes::Fixed, leaf)?)
    }),
    runtime("java-virtual", ALL_RIGHT, BY_THREAD, |leaf| {
        java_virtual(25, &["-XX:+UseSerialGC"], false, leaf)
    }),
    runtime("java-virtual-zgc", ALL_RIGHT, BY_THREAD, |leaf| {
        java_virtual(25, &["-XX:+UseZGC", "-Xmx64m"], true, leaf)
    }),
    // Calls that are made while garbage is collected are roots.
    runtime("java-virtual-21", ALL_RIGHT, NEARLY_BY_THREAD, |leaf| {
        java_virtual(21, &["-XX:+UseG1GC"], false, leaf)
    }),
    runtime(
        "java-virtual-21-serial",
        Target::Evidence,
        BY_MOVED,
        |leaf| java_virtual(21, &["-XX:+UseSerialGC", "-Xmx64m"], true, leaf),
    ),
    runtime(
        "java-virtual-21-parallel",
        Target::Evidence,
        BY_MOVED,
        |leaf| java_virtual(21, &["-XX:+UseParallelGC", "-Xmx64m"], true, leaf),
    ),
    runtime("java-virtual-21-g1", Target::Evidence, BY_MOVED, |leaf| {
        java_virtual(21, &["-XX:+UseG1GC", "-Xmx64m"], true, leaf)
    }),
    runtime("java-executor", Target::Evidence, BY_OTHERS, |leaf| {
        work(compiled::java_shapes(JavaShapes::Fixed, leaf)?)
    }),
    runtime(
        "java-completable",
        Target::Evidence,
        &[(Seq, 0.0), (Fanout, 0.0), (Handover, 0.0)],
        |leaf| work(compiled::java_shapes(JavaShapes::Futures, leaf)?),
    ),
    runtime("go", ALL_RIGHT, BY_GOROUTINE, |leaf| {
        work(compiled::go(Some(leaf))?)
    }),
    go_release("go-1.18", |leaf| go_built("go1.18.10", leaf)),
    go_release("go-1.20", |leaf| go_built("go1.20.14", leaf)),
    go_release("go-1.21", |leaf| go_built("go1.21.13", leaf)),
    go_release("go-1.22", |leaf| go_built("go1.22.12", leaf)),
    go_release("go-1.23", |leaf| go_built("go1.23.12", leaf)),
    go_release("go-1.24", |leaf| go_built("go1.24.13", leaf)),
    go_release("go-1.25", |leaf| go_built("go1.25.7", leaf)),
    go_release("go-stripped", |leaf| go_built("stripped", leaf)),
    go_release("go-pie", |leaf| go_built("pie", leaf)),
    go_release("go-cgo-pie", |leaf| go_built("cgo-pie", leaf)),
    runtime("axum-reqwest", Target::Evidence, BY_TASK, |leaf| {
        work(axum(Tokio::Threads, leaf)?)
    }),
    runtime("axum-current", Target::Evidence, BY_TASK, |leaf| {
        work(axum(Tokio::Current, leaf)?)
    }),
    runtime("axum-stripped", Target::Evidence, BY_LOOP, |leaf| {
        work(axum(Tokio::Stripped, leaf)?)
    }),
    node("node-http", BY_ASYNC_FUNCTION, |leaf| {
        work(node_shapes(NodeShapes::Http, leaf)?)
    }),
    node("node-express-axios", BY_ASYNC_FUNCTION, |leaf| {
        work(node_shapes(NodeShapes::Express, leaf)?)
    }),
    node("node-fastify-undici", BY_ASYNC_FUNCTION_IN_A_POOL, |leaf| {
        work(node_shapes(NodeShapes::Fastify, leaf)?)
    }),
    node("node-cluster", BY_ASYNC_FUNCTION, |leaf| {
        work(node_shapes(NodeShapes::Cluster, leaf)?)
    }),
    runtime("node-worker", NEARLY, &[(Handover, 0.0)], |leaf| {
        work(node_shapes(NodeShapes::Http, leaf)?)
    }),
    runtime("aiohttp", NEARLY, BY_LOOP_AND_THREADS, |leaf| {
        work(event_loop(EventLoop::Aiohttp, Some(leaf))?)
    }),
    runtime("uvicorn", NEARLY, BY_LOOP_AND_THREADS, |leaf| {
        work(event_loop(EventLoop::Uvicorn, Some(leaf))?)
    }),
    runtime("uvicorn-uvloop", NEARLY, BY_LOOP_AND_THREADS, |leaf| {
        work(event_loop(EventLoop::UvicornUvloop, Some(leaf))?)
    }),
];
