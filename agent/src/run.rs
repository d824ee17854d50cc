//! The verbs `run`, `record` and `replay`, put together from the parts.
//!
//! In: settings. Out: an exit code. Always holds: what can be known to be wrong is found before anything is attached;
//! `ready` is said only when the processes that run already are classified and every hook is on; after SIGINT or
//! SIGTERM what was seen is delivered within ten seconds, and nothing stays attached.

use std::{
    path::Path,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use agent_common::abi::Runtime;
use anyhow::Context;

use crate::{
    attach::{self, Options},
    capture::Kernel,
    config::Config,
    doctor,
    enrich::{
        classes::RuntimeClasses,
        host::HostFacts,
        prefork,
        proc_root::ProcRoot,
        runtime::Finding,
        scope::{ExeGlobs, processes_in_scope},
        serving::{is_cluster_worker, listens, needs, uses_io_uring},
        units::Follows,
    },
    export::{Exports, summary},
    headers,
    pipeline::{
        Pipeline,
        live::{Live, SharedCounts, clocks},
        recording::Recorder,
        replay::replay,
    },
    rows,
    sink::{DroppedText, Sink},
};

/// Time in which the agent ends (DESIGN §10), less what threads take to notice: what it holds is delivered in what reading the last records and
/// detaching leave of it.
const ENDING: Duration = Duration::from_secs(8);
/// Time that delivering has in any case.
const FLUSH_MIN: Duration = Duration::from_secs(2);
/// Processes whose runtime class is kept.
const RUNTIMES_MAX: usize = 32_768;

/// What is known of the processes that run already.
struct Running {
    runtimes: RuntimeClasses,
    /// Those the programs can be told before anything is attached, by tgid.
    plain: Vec<(u32, Runtime)>,
    /// Those that need uprobes first, by tgid.
    probed: Vec<(u32, Finding)>,
    /// Processes that use io_uring, by tgid.
    uring: Vec<u32>,
    /// Groups of hooks without which it cannot be told how one of them serves (`abi::demand`).
    needs: u64,
    /// Processes that hand jobs to each other over pipes.
    piped: Vec<u32>,
}

/// Processes that run already: their runtime classes, and which use io_uring. Only those of `scope`, if that is not every process: what
/// others need must not cost the host anything.
fn classify(
    root: &ProcRoot,
    scope: Option<&[u32]>,
    follows: Follows,
    ktime_ns: u64,
) -> anyhow::Result<Running> {
    let own = std::process::id();
    let mut runtimes = RuntimeClasses::new(root.clone(), RUNTIMES_MAX).following(follows);
    let (mut plain, mut probed) = (Vec::new(), Vec::new());
    let (mut uring, mut groups, mut piped) = (Vec::new(), 0, Vec::new());
    let tgids = root
        .tgids()
        .context("cannot list processes in /proc; mount it (`mount -t proc proc /proc`)")?;
    let followed = |tgid: &u32| *tgid != own && scope.is_none_or(|scope| scope.contains(tgid));
    for tgid in tgids.into_iter().filter(followed) {
        // A process that ends meanwhile is no failure.
        let Ok(key) = root.approximate_key(tgid) else {
            continue;
        };
        let finding = runtimes.look(key, ktime_ns);
        piped.extend(prefork::family(root, tgid));
        let missing = needs(root, tgid, finding.class()) & !groups;
        if missing != 0 && listens(root, tgid) {
            groups |= missing;
        }
        if finding.probes.is_empty() {
            plain.push((tgid, finding.runtime));
        } else if listens(root, tgid) || is_cluster_worker(root, tgid) {
            probed.push((tgid, finding));
        } else {
            // Its files are not probed before it serves: it is looked at anew when it listens or is first traced.
            runtimes.exit(key);
        }
        if uses_io_uring(root, tgid) {
            uring.push(tgid);
        }
    }
    Ok(Running {
        runtimes,
        plain,
        probed,
        uring,
        needs: groups,
        piped,
    })
}

/// Processes that were forked, or became another program, after they were looked at and before the hooks that would tell were
/// attached, which takes a second: a server that was just starting its workers.
fn overtake(
    root: &ProcRoot,
    is_narrowed: bool,
    runtimes: &mut RuntimeClasses,
    kernel: &mut Kernel,
) {
    let own = std::process::id();
    // That /proc can be listed was seen a moment ago.
    let tgids = root.tgids().unwrap_or_default();
    for tgid in tgids.into_iter().filter(|tgid| *tgid != own) {
        if is_narrowed && !kernel.is_in_scope(tgid) {
            continue;
        }
        let Ok(key) = root.approximate_key(tgid) else {
            continue;
        };
        let Some(finding) = runtimes.changed(key, clocks().0) else {
            continue;
        };
        let serves = listens(root, tgid);
        if !serves && !finding.probes.is_empty() {
            runtimes.exit(key);
            continue;
        }
        kernel.set_runtime(tgid, &finding);
        let groups = needs(root, tgid, finding.class());
        if serves && !kernel.is_armed(groups) {
            kernel.arm(groups);
        }
    }
}

/// Attaches and traces until a signal comes. `recording` is the file of `suture record`.
///
/// # Errors
/// One sentence; nothing stays attached.
pub fn run(config: &Config, recording: Option<&Path>) -> anyhow::Result<()> {
    doctor::preflight()?;
    let _lock = doctor::instance_lock()?;
    let (counts, dropped) = (SharedCounts::default(), DroppedText::default());
    let exports = Exports::start(
        config,
        rows::provider(Arc::clone(&counts), Arc::clone(&dropped)),
    )?;
    let sink = Sink::new(config, exports.traces(), true, dropped)
        .context("cannot start the thread that writes to stdout")?;
    let recorder = recording.map(Recorder::create).transpose()?;
    let root = ProcRoot::live();
    let exes = ExeGlobs::new(&config.scope.exes)?;
    let is_narrowed = !config.scope.pids.is_empty() || !exes.is_empty();
    let processes = is_narrowed
        .then(|| processes_in_scope(&root, &exes, &config.scope.pids))
        .transpose()
        .context("cannot list processes in /proc")?;
    let follows = Follows {
        node_turns: config.capture.node_turns,
        tokio_tasks: config.capture.tokio_tasks,
    };
    let mut running = classify(&root, processes.as_deref(), follows, clocks().0)?;
    let header = headers::decide(config.propagation.header)?;
    let mut attached = attach::attach(&Options {
        head_bytes: config.capture.head_bytes,
        message_bytes: if config.capture.queues {
            config.capture.message_bytes
        } else {
            0
        },
        processes,
        ports: config.scope.ports.clone(),
        runtimes: running.plain,
        bpf_log: config.bpf_log,
        way: config.capture.hooks,
        carriers: config.carriers(header),
    })?;
    attached.arm(running.needs)?;
    for missing in &attached.missing {
        tracing::warn!(
            "{} is off ({}): {} cannot be seen",
            missing.hook.program,
            missing.reason,
            missing.hook.loss
        );
    }
    for tgid in running.uring {
        tracing::warn!(
            tgid,
            "process uses io_uring: what it reads and writes that way is not seen"
        );
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut kernel = Kernel::new(attached)?;
    for (tgid, finding) in &running.probed {
        kernel.set_runtime(*tgid, finding);
    }
    overtake(&root, is_narrowed, &mut running.runtimes, &mut kernel);
    if !running.piped.is_empty() {
        kernel.read_pipes(&running.piped);
    }
    let live = Live {
        kernel,
        pipeline: Pipeline::new(config.tracer(), sink),
        recorder,
        exes,
        runtimes: running.runtimes,
        stop: Arc::clone(&stop),
        counts: Arc::clone(&counts),
        read_last: 0,
    };
    let capture = std::thread::Builder::new()
        .name("capture".to_owned())
        .spawn(move || live.run(HostFacts::live()))
        .context("cannot start the capture thread")?;
    give_back();
    announce(config, recording);
    wait_for_signal(&capture)?;
    let begun = Instant::now();
    stop.store(true, Ordering::Release);
    let ended = capture.join();
    let left = ENDING.saturating_sub(begun.elapsed());
    let rows = exports.shutdown(left.max(FLUSH_MIN));
    let (_, failure) = ended.map_err(|_| {
        anyhow::anyhow!("the capture thread ended unexpectedly; everything is detached; please report the message above")
    })?;
    eprint!("{}", summary(&rows));
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    for (tgid, service) in &counts.io_uring {
        eprintln!(
            "suture: process {tgid} ({service}) used io_uring; what it did that way was not seen"
        );
    }
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Gives the heap that loading needed (the object, the kernel's BTF) back to the system: 15 MiB, seen on 6.18.
fn give_back() {
    // SAFETY: no preconditions; it only returns free pages of this process' heap.
    unsafe { libc::malloc_trim(0) };
}

/// Says that everything is attached.
fn announce(config: &Config, recording: Option<&Path>) {
    let to = match (recording, config.export.traces()) {
        (Some(path), _) => format!("recording to {}", path.display()),
        (None, Some(target)) => format!("sending to {}", target.uri),
        (None, None) => {
            "showing traces here; set OTEL_EXPORTER_OTLP_ENDPOINT to send them to a backend"
                .to_owned()
        }
    };
    eprintln!("suture: ready, {to}");
}

/// Waits for SIGINT or SIGTERM, or for the capture thread to end by itself (it never should).
fn wait_for_signal<T>(capture: &std::thread::JoinHandle<T>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut look = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = look.tick() => if capture.is_finished() { return Ok(()) },
            }
        }
    })
}

/// Replays a recording.
///
/// # Errors
/// The file cannot be read; what came before the damage was shown.
pub fn replay_file(config: &Config, path: &Path) -> anyhow::Result<()> {
    let sink = Sink::new(config, None, false, DroppedText::default())
        .context("cannot start the thread that writes to stdout")?;
    replay(path, config.tracer(), sink)?;
    Ok(())
}
