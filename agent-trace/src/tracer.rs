//! The whole way from frames to spans.
//!
//! In: [`Frame`]s. Out: [`Span`]s, [`Command`]s for the capture side, counters. Always holds: the output is a function
//! of the frames alone; a span is handed out at the first tick that is `linger_ns` after its exchange was over, when every
//! record about its parents has come; everything is bounded. Refuses: nothing in silence.

mod clock;

use std::collections::VecDeque;

use agent_common::abi::{
    ConnRecord, ProcessKey, SegmentRecord, SocketKey, StateRecord, TaskRecord, protocol,
};
use agent_protocol::queue::kafka::Topics;
use agent_protocol::stream::Limits;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::attempts::Attempts;
pub use crate::config::{QueryPolicy, Sampler, SamplerError, TracerConfig, TracerLimits};
use crate::conn::{Conn, Scratch, TARGET};
use crate::connect::Connects;
use crate::counters::{Counter, Counters};
use crate::decode::{DecodeError, KernelEvent, decode};
use crate::done::Done;
use crate::frame::Frame;
use crate::graph::Graph;
use crate::keys::Keys;
use crate::links::links;
use crate::queue::{Work, on_pipe};
use crate::render::Renderer;
use crate::request_ids::RequestIds;
use crate::shared::Shared;
use crate::span::{Span, SpanId};
use crate::ticks::Ticks;

/// What the tracer asks of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing more is to be captured of this socket: it does not speak HTTP/1, or not any more.
    IgnoreConnection(SocketKey),
    /// This server has a queue: who reads its answers as a client has a context of what was read.
    FollowServer {
        /// Its address, IPv4-mapped, as clients name it.
        address: [u8; 16],
        /// Its port.
        port: u16,
    },
    /// Tell which of this process' contextvars Contexts is a copy of which: they settle jobs for each other.
    FollowContexts(ProcessKey),
    /// What this process calls is not a tick's any more.
    LeaveTick(ProcessKey),
    /// What systemd began as this tick it began for a timer.
    CountTick(SpanId),
    /// That tick is over.
    EndTick(SpanId),
    /// The same as the next, of a process that a scheduler began: what runs in it is not to be found out before it calls somebody.
    DescribeTick(ProcessKey, String),
    /// Find out what this process is and give a [`Frame::Process`]; the second field is its thread's name, empty
    /// when it is not known.
    DescribeProcess(ProcessKey, String),
}

/// See the module.
pub struct Tracer {
    shared: Shared,
    conns: FxHashMap<SocketKey, Conn>,
    scratch: Scratch,
    connects: Connects,
    renderer: Renderer,
    /// Processes a description was asked for.
    processes: FxHashMap<ProcessKey, u64>,
    /// No frame comes any more: nothing has to wait.
    finished: bool,
    next_sweep_ns: u64,
}

impl Tracer {
    /// A tracer that has seen nothing.
    #[must_use]
    pub fn new(config: TracerConfig) -> Self {
        let keys = Keys::new(
            config.secret,
            config.limits.keys,
            &config.correlation_keys,
            &config.keep_headers,
        );
        let request_ids = RequestIds::new(config.secret, config.limits.keys, &config.request_ids);
        let target = config.queues.then(|| TARGET.to_owned());
        let ids = request_ids.headers().iter().cloned();
        let headers = target.into_iter().chain(ids).chain(keys.headers());
        let parser_limits = Limits::new(config.limits.head_bytes, headers);
        Self {
            connects: Connects::default(),
            renderer: Renderer::new(&config),
            shared: Shared {
                parser_limits,
                counters: Counters::default(),
                graph: Graph::new(config.sampler, config.limits.exchanges),
                commands: VecDeque::new(),
                spare: Vec::new(),
                done: Done::default(),
                attempts: Attempts::new(config.limits.attempts),
                keys,
                request_ids,
                work: Work::new(config.limits.posts, config.limits.work, config.settles),
                ticks: Ticks::default(),
                topics: Topics::default(),
                servers: FxHashSet::default(),
                parked: VecDeque::new(),
                parked_bytes: 0,
                idle: VecDeque::new(),
                closing: VecDeque::new(),
                exited: FxHashMap::default(),
                now_ns: 0,
                epoch_offset_ns: 0,
                config,
            },
            conns: FxHashMap::default(),
            scratch: Scratch::default(),
            processes: FxHashMap::default(),
            finished: false,
            next_sweep_ns: 0,
        }
    }

    /// Takes one frame. Frames must come in the order they were made.
    pub fn on_frame(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Kernel(bytes) => self.on_record(bytes),
            Frame::Process(facts) => {
                let process = ProcessKey {
                    start_ns: facts.start_ns,
                    tgid: facts.tgid,
                    zero: 0,
                };
                self.renderer.assign(process, &facts.service_name);
                self.shared.is_described(&facts, process);
            }
            Frame::Tick {
                ktime_ns,
                epoch_offset_ns,
            } => self.on_tick(ktime_ns, epoch_offset_ns),
            // Absolute values of somebody else: they are exported as they are, nothing here depends on them.
            Frame::KernelCounters(_) => {}
        }
    }

    /// The next span that is finished. To be asked after each tick until there is none.
    pub fn poll_span(&mut self) -> Option<Span> {
        let Some((mut exchange, decision)) = self.next_due() else {
            self.sweep_if_due();
            return None;
        };
        self.shared.counters.one(Counter::SpansEmitted);
        let links = links(&exchange, decision, &mut self.shared);
        let mut span = self.renderer.span(
            &mut exchange,
            decision,
            &self.shared.config,
            &mut self.shared.counters,
        );
        links.put(&mut span);
        self.shared.take_back(exchange);
        Some(span)
    }

    /// The span is not needed any more: the next ones are written into its buffers, which saves most allocations.
    pub fn take_back(&mut self, span: Span) {
        self.renderer.take_back(span);
    }

    /// The next command.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.shared.commands.pop_front()
    }

    /// The counters, absolute.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// No frame comes any more: hands out all that waits; what is open becomes spans marked unfinished.
    pub fn finish(&mut self, ktime_ns: u64) {
        self.shared.now_ns = self.shared.now_ns.max(ktime_ns);
        self.close_conns(true);
        let mut open: Vec<_> = self.conns.drain().map(|(_, conn)| conn).collect();
        open.sort_unstable_by_key(|conn| conn.socket);
        for mut conn in open {
            let count = conn.abandon(&mut self.shared, &mut self.scratch);
            self.shared.counters.add(Counter::OpenAtFinish, count);
        }
        let count = self.shared.abandon_work(self.shared.now_ns);
        self.shared.counters.add(Counter::OpenAtFinish, count);
        self.connects.release(&mut self.shared, true);
        self.shared.release_waiting(true);
        let count = self.shared.abandon_ticks(self.shared.now_ns);
        self.shared.counters.add(Counter::OpenAtFinish, count);
        self.finished = true;
    }

    fn on_record(&mut self, bytes: &[u8]) {
        match decode(bytes) {
            Ok(KernelEvent::Conn(record)) => self.on_conn(&record),
            Ok(KernelEvent::Segment(record, payload)) => self.on_segment(&record, payload),
            Ok(KernelEvent::State(record)) => self.on_state(&record),
            Ok(KernelEvent::Exec(record)) => self.on_exec(&record),
            Ok(KernelEvent::Exit(record)) => {
                let at_ns = record.head.ktime_ns;
                self.shared.tick_exits(record.process, record.other, at_ns);
                if self.processes.contains_key(&record.process) {
                    self.shared
                        .exited
                        .insert(record.process, record.head.ktime_ns);
                    self.shared
                        .worker_exited(record.process, record.head.ktime_ns);
                } else {
                    self.renderer.forget(record.process);
                }
            }
            Ok(KernelEvent::Doubt(record)) => {
                let span = SpanId(record.span_id.to_ne_bytes());
                self.shared.graph.doubt(span, record.head.ktime_ns);
            }
            Ok(KernelEvent::Tick(record)) => {
                self.shared.on_tick_record(&record);
            }
            Ok(KernelEvent::Listen(record)) => {
                self.shared.serves(record.process, record.head.ktime_ns);
            }
            Ok(KernelEvent::IoUring(_)) => {}
            Err(DecodeError::Short { .. }) => self.shared.counters.one(Counter::RecordMalformed),
            Err(DecodeError::UnknownKind(_)) => {
                self.shared.counters.one(Counter::RecordUnknownKind)
            }
        }
    }

    fn on_conn(&mut self, record: &ConnRecord) {
        self.meet(record.process, record.head.ktime_ns, &record.comm);
        // A socket may connect again after it was closed by the kernel.
        if self
            .conns
            .get(&record.socket)
            .is_some_and(|conn| conn.closed_ktime_ns.is_some())
            && let Some(mut conn) = self.conns.remove(&record.socket)
        {
            conn.finish(&mut self.shared, &mut self.scratch);
        }
        if let Some(conn) = self.conn(record.socket, record.head.ktime_ns) {
            conn.describe(record);
        }
    }

    fn on_segment(&mut self, record: &SegmentRecord, payload: &[u8]) {
        self.meet(record.process, record.head.ktime_ns, &[]);
        let Self {
            shared,
            conns,
            scratch,
            ..
        } = self;
        if record.protocol == protocol::PIPE {
            on_pipe(record, payload, shared);
            return;
        }
        if let Some(conn) = conns.get_mut(&record.socket) {
            conn.on_segment(record, payload, shared, scratch);
            return;
        }
        shared.counters.one(Counter::ConnectionUnknown);
        if let Some(conn) = entry(conns, shared, record.socket, record.head.ktime_ns) {
            conn.on_segment(record, payload, shared, scratch);
        }
    }

    fn on_state(&mut self, record: &StateRecord) {
        let Self {
            shared,
            conns,
            connects,
            ..
        } = self;
        let Some(conn) = conns.get_mut(&record.socket) else {
            return;
        };
        connects.on_state(conn, record, shared);
        conn.on_state(record, shared);
    }

    fn on_exec(&mut self, record: &TaskRecord) {
        let at_ns = record.head.ktime_ns;
        self.shared.tick_execs(record.process, &record.comm, at_ns);
        // Another program in the same process is another service.
        if self.processes.contains_key(&record.process) {
            self.shared
                .commands
                .push_back(Command::DescribeProcess(record.process, text(&record.comm)));
        }
    }

    /// Asks for a description of a process that is met for the first time.
    fn meet(&mut self, process: ProcessKey, ktime_ns: u64, comm: &[u8]) {
        if let Some(seen) = self.processes.get_mut(&process) {
            *seen = ktime_ns;
            return;
        }
        if self.processes.len() >= self.shared.config.limits.processes {
            self.shared.counters.one(Counter::ProcessesFull);
            return;
        }
        self.processes.insert(process, ktime_ns);
        self.shared
            .commands
            .push_back(Command::DescribeProcess(process, text(comm)));
    }

    fn conn(&mut self, socket: SocketKey, ktime_ns: u64) -> Option<&mut Conn> {
        entry(&mut self.conns, &mut self.shared, socket, ktime_ns)
    }
}

/// The connection of a socket, made when there is room for it.
fn entry<'a>(
    conns: &'a mut FxHashMap<SocketKey, Conn>,
    shared: &mut Shared,
    socket: SocketKey,
    ktime_ns: u64,
) -> Option<&'a mut Conn> {
    if conns.len() >= shared.config.limits.connections && !conns.contains_key(&socket) {
        shared.counters.one(Counter::ConnectionsFull);
        return None;
    }
    Some(
        conns
            .entry(socket)
            .or_insert_with(|| Conn::new(socket, ktime_ns)),
    )
}

/// A thread's name as the kernel pads it.
pub(crate) fn text(comm: &[u8]) -> String {
    let end = comm
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(comm.len());
    String::from_utf8_lossy(comm.get(..end).unwrap_or_default()).into_owned()
}
