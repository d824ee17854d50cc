//! The live loop: from the kernel's ring to the pipeline, on a thread of its own.
//!
//! In: a [`Kernel`]. Out: frames into a [`Pipeline`] and, while recording, into a file; answers to the tracer's
//! commands. Always holds: a tick is given only after every record made before it was read; processes are looked up
//! as soon as their first record is read, because short-lived ones vanish. Refuses: to read without end: after
//! `BATCH` records the tracer's commands are answered.

use std::{
    collections::HashMap,
    mem::offset_of,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use agent_common::{
    abi::{ProcessKey, RecordHead, StateRecord, TaskRecord, kind, runtime},
    limits::{RING_BYTES, RING_LOADED_RECORDS, RING_POLL_LOADED_MS, RING_POLL_MS},
};
use agent_trace::{
    frame::{Frame, ProcessFacts},
    tracer::Command,
};

use super::{Output, Pipeline, recording::Recorder};
use crate::{
    capture::Kernel,
    enrich::{
        classes::RuntimeClasses,
        host::HostFacts,
        prefork,
        proc_root::ProcRoot,
        runtime::Finding,
        scope::ExeGlobs,
        serving::{listens, needs},
        table::{ProcessTable, TableCounts},
    },
};

/// Records between two looks at what the tracer asks for.
const BATCH: usize = 256;
/// Records read before a tick is given even though more wait: bounds how late ticks come under full load.
const MOST_PER_TICK: usize = 32_768;
/// How much later than the end's beginning a record is that shows that all made before it were read, ns: two processors' records may change
/// places, and a writer may be held up between its clock and the ring.
const LAST_NS: u64 = 50_000_000;
/// Records a full ring can hold: each takes its own bytes and a header of 8 (kernel/bpf/ringbuf.c), the smallest is a
/// `StateRecord`.
const RECORDS_IN_RING: usize = RING_BYTES as usize / (size_of::<StateRecord>() + 8);
/// ns between two readings of the kernel's counters.
const COUNTERS_EVERY_NS: u64 = 1_000_000_000;
/// ns between two sweeps of the kernel's maps.
const SWEEP_EVERY_NS: u64 = 30_000_000_000;
/// Age without a byte at which a unix connection's entry goes, ns.
const UNIX_IDLE_NS: u64 = 600_000_000_000;
/// Processes described or classified at once.
const PROCESSES_MAX: usize = 32_768;

/// What the loop counts, for the summary and the metrics.
#[derive(Clone, Debug, Default)]
pub struct LiveCounts {
    /// Records read from the ring.
    pub records: u64,
    /// Bytes of records read from the ring.
    pub record_bytes: u64,
    /// The kernel's counters, absolute, in the order of `Counter::ALL`.
    pub kernel: Vec<u64>,
    /// The tracer's counters, absolute.
    pub tracer: Vec<(&'static str, &'static str, u64)>,
    /// Processes described.
    pub processes: TableCounts,
    /// Processes seen to use io_uring, by tgid, with their service's name.
    pub io_uring: Vec<(u32, String)>,
    /// Map memory, bytes.
    pub map_bytes: u64,
    /// Times that a process' units are not read because a probe was refused.
    pub probes_refused: u64,
}

/// Counters as other threads see them.
pub type SharedCounts = Arc<Mutex<LiveCounts>>;

/// What the loop works with.
pub struct Live<O> {
    /// The kernel side.
    pub kernel: Kernel,
    /// Where frames go.
    pub pipeline: Pipeline<O>,
    /// A recording in progress.
    pub recorder: Option<Recorder>,
    /// `--exe`: processes that exec such a program come into the scope.
    pub exes: ExeGlobs,
    /// Runtime classes, with the processes that ran before the agent.
    pub runtimes: RuntimeClasses,
    /// Set to end the loop.
    pub stop: Arc<AtomicBool>,
    /// Where counts are left.
    pub counts: SharedCounts,
    /// Records of the last look at the ring.
    pub read_last: usize,
}

/// Clocks: CLOCK_MONOTONIC, and CLOCK_REALTIME minus it, ns.
pub(crate) fn clocks() -> (u64, u64) {
    let read = |clock| {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: a valid pointer to a timespec; both clocks exist on every Linux.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let ktime_ns = read(libc::CLOCK_MONOTONIC);
    (ktime_ns, read(libc::CLOCK_REALTIME).wrapping_sub(ktime_ns))
}

/// Something a record said about a process, that the loop itself acts on.
enum Task {
    Exec(ProcessKey, String),
    Listen(ProcessKey),
    Exit(ProcessKey),
    IoUring(ProcessKey, String),
}

/// When a record was made, CLOCK_MONOTONIC ns.
fn ktime_of(record: &[u8]) -> Option<u64> {
    let word = record
        .get(offset_of!(RecordHead, ktime_ns)..)?
        .first_chunk()?;
    Some(u64::from_ne_bytes(*word))
}

/// The task record in `bytes`, if it is one.
fn task_of(bytes: &[u8]) -> Option<Task> {
    let what = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    if !matches!(
        what,
        kind::EXEC | kind::EXIT | kind::IO_URING | kind::LISTEN
    ) || bytes.len() < size_of::<TaskRecord>()
    {
        return None;
    }
    let word = |at: usize| {
        let word = bytes.get(at..at + 8)?;
        Some(u64::from_ne_bytes(word.try_into().ok()?))
    };
    let process = size_of::<RecordHead>();
    let key = ProcessKey {
        start_ns: word(process)?,
        tgid: word(process + 8)? as u32,
        zero: 0,
    };
    let comm = || {
        let padded = bytes
            .get(offset_of!(TaskRecord, comm)..)
            .unwrap_or_default();
        let name = padded.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    Some(match what {
        kind::EXEC => Task::Exec(key, comm()),
        kind::LISTEN => Task::Listen(key),
        kind::EXIT => Task::Exit(key),
        _ => Task::IoUring(key, comm()),
    })
}

impl<O: Output> Live<O> {
    /// Runs until `stop` is set, then reads what still waits and finishes the pipeline. Returns the output.
    ///
    /// # Errors
    /// The recording could not be written; tracing went on without it.
    pub fn run(mut self, host: HostFacts) -> (O, Option<super::recording::RecordingError>) {
        let mut table = ProcessTable::new(ProcRoot::live(), host, PROCESSES_MAX);
        let mut failure = None;
        let mut uring: HashMap<ProcessKey, String> = HashMap::new();
        let (mut next_counters, mut next_sweep) = (0, 0);
        self.tick(clocks(), &mut failure);
        loop {
            let is_last = self.stop.load(Ordering::Acquire);
            self.kernel.wait(if is_last {
                0
            } else if self.read_last >= RING_LOADED_RECORDS {
                RING_POLL_LOADED_MS
            } else {
                RING_POLL_MS
            });
            // Taken before reading: every record made before this time is in the ring already.
            let mut now = clocks();
            // At the end all that the ring can hold is read, not only one tick's share: it would be lost uncounted.
            let most = if is_last {
                RECORDS_IN_RING
            } else {
                MOST_PER_TICK
            };
            let left_at = self.read(most, now.0, &mut table, &mut uring, &mut failure);
            if let Some(ktime_ns) = left_at {
                // Records wait that were made before `now`: time is told only as far as they were read.
                now.0 = now.0.min(ktime_ns);
            }
            self.kernel.arm(self.kernel.asked());
            while let Some((key, finding)) = self.runtimes.poll(now.0) {
                self.set_runtime(key.tgid, &finding);
                self.arm_for_forked(key.tgid, finding.class());
            }
            self.tick(now, &mut failure);
            self.kernel.flush_log();
            if now.0 >= next_counters || is_last {
                next_counters = now.0 + COUNTERS_EVERY_NS;
                self.count(&table, &uring, &mut failure);
            }
            if now.0 >= next_sweep {
                next_sweep = now.0 + SWEEP_EVERY_NS;
                self.kernel.sweep(now.0, UNIX_IDLE_NS);
            }
            if is_last {
                break;
            }
        }
        self.pipeline.finish(clocks().0);
        self.count(&table, &uring, &mut failure);
        if let Some(recorder) = self.recorder.take()
            && let Err(error) = recorder.finish()
        {
            failure = failure.or(Some(error));
        }
        (self.pipeline.output, failure)
    }

    /// Reads what waits, up to a bound. Returns the time of the last record read when the bound ended it.
    fn read(
        &mut self,
        most: usize,
        now_ns: u64,
        table: &mut ProcessTable,
        uring: &mut HashMap<ProcessKey, String>,
        failure: &mut Option<super::recording::RecordingError>,
    ) -> Option<u64> {
        let mut read = 0;
        let mut bytes = 0;
        let mut last_ns = 0;
        while read < most {
            let mut tasks = Vec::new();
            let (pipeline, recorder) = (&mut self.pipeline, &mut self.recorder);
            let count = self.kernel.read(BATCH, |record| {
                bytes += record.len() as u64;
                last_ns = ktime_of(record).unwrap_or(last_ns);
                let frame = Frame::Kernel(record);
                record_frame(recorder, &frame, failure);
                tasks.extend(task_of(record));
                pipeline.on_frame(frame);
            });
            self.answer(now_ns, table, failure);
            for task in tasks {
                self.on_task(task, now_ns, table, uring, failure);
            }
            read += count;
            // What is made after the end has begun would never end where all processors are busy making it.
            let is_behind = self.stop.load(Ordering::Acquire) && last_ns > now_ns + LAST_NS;
            if count < BATCH || is_behind {
                break;
            }
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.records += read as u64;
        counts.record_bytes += bytes;
        drop(counts);
        self.read_last = read;
        (read >= most).then_some(last_ns)
    }

    /// Does what the tracer asks.
    fn answer(
        &mut self,
        now_ns: u64,
        table: &mut ProcessTable,
        failure: &mut Option<super::recording::RecordingError>,
    ) {
        while let Some(command) = self.pipeline.poll_command() {
            match command {
                Command::IgnoreConnection(socket) => self.kernel.ignore(socket),
                Command::FollowServer { address, port } => {
                    self.kernel.follow_server(address, port);
                }
                Command::FollowContexts(process) => self.kernel.follow_contexts(process.tgid),
                Command::LeaveTick(process) => self.kernel.leave_tick(process.tgid),
                Command::CountTick(span) => self.kernel.count_tick(u64::from_ne_bytes(span.0)),
                Command::EndTick(span) => self.kernel.end_tick(u64::from_ne_bytes(span.0)),
                Command::DescribeTick(key, comm) => {
                    // It has just become a program: what was known of it before (a child of systemd's connects to its log) is that of another.
                    self.describes(table.exec(key, &comm).clone(), failure);
                }
                Command::DescribeProcess(key, comm) => {
                    // A forked worker never calls execve: it has the class its parent had at the fork, which may
                    // have loaded more since (gunicorn with gevent).
                    if let Some(finding) = self.runtimes.first(key, now_ns) {
                        self.meets(key.tgid, &finding);
                    }
                    self.describes(table.describe(key, &comm).clone(), failure);
                }
            }
        }
    }

    /// Passes on what a process is.
    fn describes(
        &mut self,
        facts: ProcessFacts,
        failure: &mut Option<super::recording::RecordingError>,
    ) {
        let frame = Frame::Process(facts);
        record_frame(&mut self.recorder, &frame, failure);
        self.pipeline.on_frame(frame);
    }

    /// A process is traced that did not begin to listen itself, and its runtime is known now.
    fn meets(&mut self, tgid: u32, finding: &Finding) {
        self.set_runtime(tgid, finding);
        self.arm_for_forked(tgid, finding.class());
        self.read_pipes_of(tgid);
    }

    /// Reads the pipes of a program that hands jobs to its children, from now on.
    fn read_pipes_of(&mut self, tgid: u32) {
        let family = prefork::family(&ProcRoot::live(), tgid);
        if !family.is_empty() {
            self.kernel.read_pipes(&family);
        }
    }

    fn on_task(
        &mut self,
        task: Task,
        now_ns: u64,
        table: &mut ProcessTable,
        uring: &mut HashMap<ProcessKey, String>,
        failure: &mut Option<super::recording::RecordingError>,
    ) {
        match task {
            Task::Exec(key, comm) => {
                // Not classified yet if it is not traced: most programs never serve. The kernel has forgotten the old class (NATIVE trusts
                // least); the new one is looked up when the process listens, or with its first traced record.
                self.forget(key);
                if !self.exes.is_empty()
                    && ProcRoot::live()
                        .exe(key.tgid)
                        .is_ok_and(|exe| self.exes.matches(&exe))
                {
                    self.kernel.add_to_scope(key.tgid);
                    // What it forked before this was read; later children are in the scope with it.
                    for child in ProcRoot::live().descendants(key.tgid) {
                        self.kernel.add_to_scope(child);
                    }
                }
                // Only a process that was described before needs another description.
                if table.knows(key) {
                    // It is traced already: the tracer does not ask for it again.
                    let finding = self.runtimes.look(key, now_ns);
                    self.meets(key.tgid, &finding);
                    self.describes(table.exec(key, &comm).clone(), failure);
                }
            }
            Task::Exit(key) => {
                table.exit(key);
                self.forget(key);
                uring.remove(&key);
            }
            Task::Listen(key) => {
                let finding = self.runtimes.look(key, now_ns);
                self.set_runtime(key.tgid, &finding);
                // Before its first request, so that what the first request calls has its parent, too.
                self.arm_for(key.tgid, finding.class());
            }
            Task::IoUring(key, comm) => {
                let name = table.describe(key, &comm).service_name.clone();
                tracing::warn!(
                    tgid = key.tgid,
                    service = name,
                    "process uses io_uring: what it reads and writes that way is not seen"
                );
                uring.insert(key, name);
            }
        }
    }

    /// Tells the programs a process' runtime; what an older program's units worked for is not this one's.
    fn set_runtime(&mut self, tgid: u32, finding: &Finding) {
        while let Some(tgid) = self.runtimes.void() {
            self.kernel.forget_units(tgid);
        }
        self.kernel.set_runtime(tgid, finding);
    }

    /// A process ended, or is another program now.
    fn forget(&mut self, key: ProcessKey) {
        if self.runtimes.exit(key) {
            self.kernel.forget_units(key.tgid);
        }
    }

    /// Attaches the hooks without which it cannot be told whose calls this process makes.
    fn arm_for(&mut self, tgid: u32, class: u8) {
        let groups = needs(&ProcRoot::live(), tgid, class);
        if !self.kernel.is_armed(groups) {
            self.kernel.arm(groups);
        }
    }

    /// The same for a process that did not begin to listen itself.
    fn arm_for_forked(&mut self, tgid: u32, class: u8) {
        match class {
            // A proxy's new worker, after it read its configuration again.
            runtime::TURN_PROXY => self.arm_for(tgid, class),
            // A worker that loaded asyncio after the fork; not one that only calls others.
            runtime::CPYTHON if listens(&ProcRoot::live(), tgid) => self.arm_for(tgid, class),
            _ => {}
        }
    }

    fn tick(&mut self, now: (u64, u64), failure: &mut Option<super::recording::RecordingError>) {
        let frame = Frame::Tick {
            ktime_ns: now.0,
            epoch_offset_ns: now.1,
        };
        record_frame(&mut self.recorder, &frame, failure);
        self.pipeline.on_frame(frame);
    }

    /// Leaves the counts where other threads find them.
    fn count(
        &mut self,
        table: &ProcessTable,
        uring: &HashMap<ProcessKey, String>,
        failure: &mut Option<super::recording::RecordingError>,
    ) {
        let kernel = self.kernel.counters();
        let frame = Frame::KernelCounters(kernel.clone());
        record_frame(&mut self.recorder, &frame, failure);
        self.pipeline.on_frame(frame);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.kernel = kernel;
        counts.tracer = self
            .pipeline
            .tracer()
            .counters()
            .iter()
            .map(|(counter, value)| (counter.name(), counter.meaning(), value))
            .collect();
        counts.processes = table.counts();
        counts.io_uring = uring
            .iter()
            .map(|(key, name)| (key.tgid, name.clone()))
            .collect();
        counts.map_bytes = self.kernel.map_bytes;
        counts.probes_refused = self.kernel.probes_refused;
    }
}

/// Writes a frame into the recording. The first failure ends the recording, not the tracing.
fn record_frame(
    recorder: &mut Option<Recorder>,
    frame: &Frame<'_>,
    failure: &mut Option<super::recording::RecordingError>,
) {
    if let Some(writer) = recorder
        && let Err(error) = writer.write(frame)
    {
        tracing::error!("{error}; the recording ends here, tracing goes on");
        *failure = Some(error);
        *recorder = None;
    }
}
