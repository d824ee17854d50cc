//! Writes kernel records as the BPF programs do, and feeds them to a tracer.
//!
//! In: what programs do on sockets, call by call. Out: spans. Always holds: one clock, which every call moves by 10 µs;
//! positions of the two ends of a connection agree. Refuses: nothing.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "support of tests, each using a part of it"
)]

pub mod calls;
pub mod chain;
pub mod redis;
pub mod talk;
pub mod ticks;

use agent_common::abi::{
    ConnRecord, ExchangeIds, ProcessKey, RecordHead, SegmentRecord, SocketKey, StateRecord,
    TaskRecord, TickRecord, direction, evidence, kind, op, protocol, role, segment_flag, words_of,
};
use agent_trace::counters::Counter;
use agent_trace::frame::{Frame, ProcessFacts};
use agent_trace::span::{Span, Value};
use agent_trace::tracer::{Command, Tracer, TracerConfig};

/// CLOCK_REALTIME - CLOCK_MONOTONIC in all tests, ns.
pub const EPOCH: u64 = 1_700_000_000_000_000_000;
/// Time between two calls, ns.
pub const STEP: u64 = 10_000;
pub const MS: u64 = 1_000_000;

/// Plain records of the ABI: no padding, no pointers (asserted in agent-common).
pub trait Record: Copy {}
impl Record for ConnRecord {}
impl Record for SegmentRecord {}
impl Record for StateRecord {}
impl Record for TaskRecord {}
impl Record for TickRecord {}

pub fn bytes_of<R: Record>(record: &R, payload: &[u8]) -> Vec<u8> {
    // SAFETY: `record` is a valid reference to a `repr(C)` struct without padding, so all its bytes are initialised.
    let fixed = unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(record).cast::<u8>(), size_of::<R>())
    };
    [fixed, payload].concat()
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub struct End {
    pub process: ProcessKey,
    pub socket: SocketKey,
    pub tid: u32,
    pub role: u8,
    pub protocol: u8,
    pub local: ([u8; 16], u16),
    pub remote: ([u8; 16], u16),
    pub family: u16,
    pub tx: u32,
    pub rx: u32,
    /// Bytes captured of each segment.
    pub capture: usize,
}

pub fn process(n: u32) -> ProcessKey {
    ProcessKey {
        start_ns: u64::from(n) * 1000,
        tgid: n,
        zero: 0,
    }
}

pub fn v4(last: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last]
}

/// Both ends of connection `n`: a client in process `client`, a server in process `server`.
pub fn pair(n: u8, client: u32, server: u32) -> (End, End) {
    let client_place = (v4(1), 40_000 + u16::from(n));
    let server_place = (v4(2), 8080);
    let (a, b) = (
        1_000 + u32::from(n) * 100_000,
        5_000 + u32::from(n) * 100_000,
    );
    let end = |process_n: u32, side: u64, role: u8, local, remote, tx, rx| End {
        process: process(process_n),
        socket: SocketKey {
            sk: 0xffff_8880_0000_0000 + u64::from(n) * 16 + side,
            ino: u64::from(n) * 2 + side,
        },
        tid: process_n,
        role,
        protocol: protocol::HTTP1,
        local,
        remote,
        family: 2,
        tx,
        rx,
        capture: 4096,
    };
    (
        end(client, 0, role::CLIENT, client_place, server_place, a, b),
        end(server, 1, role::SERVER, server_place, client_place, b, a),
    )
}

/// Ids the kernel would make: trace `trace`, span `span`, and a parent when there is evidence.
pub fn ids(trace: u8, span: u8, parent: Option<(u8, u8)>) -> ExchangeIds {
    let (parent, evidence) = parent.unwrap_or((0, evidence::NONE));
    ExchangeIds {
        trace_id: words_of([trace; 16]),
        span_id: u64::from_ne_bytes([span; 8]),
        parent_span_id: u64::from_ne_bytes([parent; 8]),
        evidence,
        said: 0,
        zero: [0; 6],
    }
}

/// Everything the tracer is given, as frames that can be fed again.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Record(Vec<u8>),
    Process(ProcessFacts),
    Tick(u64),
}

pub struct World {
    pub now: u64,
    pub steps: Vec<Step>,
}

impl Default for World {
    fn default() -> Self {
        let mut world = Self {
            now: 1_000_000_000,
            steps: Vec::new(),
        };
        world.tick();
        world
    }
}

impl World {
    pub fn tick(&mut self) {
        self.steps.push(Step::Tick(self.now));
    }

    /// Time passes, with a tick every 50 ms as the daemon gives them.
    pub fn wait(&mut self, ms: u64) {
        let end = self.now + ms * MS;
        while self.now < end {
            self.now = (self.now + 50 * MS).min(end);
            self.tick();
        }
    }

    pub fn head(&mut self, kind: u16, size: usize, payload: usize) -> RecordHead {
        self.now += STEP;
        RecordHead {
            kind,
            payload: payload as u16,
            size: (size + payload) as u32,
            ktime_ns: self.now,
        }
    }

    pub fn conn_record(&mut self, end: &End) -> ConnRecord {
        ConnRecord {
            head: self.head(kind::CONN, size_of::<ConnRecord>(), 0),
            process: end.process,
            socket: end.socket,
            local_addr: words_of(end.local.0),
            remote_addr: words_of(end.remote.0),
            local_port: end.local.1,
            remote_port: end.remote.1,
            family: end.family,
            by_connect: 0,
            netns: 1,
            tid: end.tid,
            comm: *b"victim\0\0\0\0\0\0\0\0\0\0",
            exchange: ExchangeIds::default(),
        }
    }

    pub fn conn(&mut self, end: &End) {
        let record = self.conn_record(end);
        self.steps.push(Step::Record(bytes_of(&record, &[])));
    }

    pub fn connect(&mut self, end: &End, ids: ExchangeIds) {
        let record = ConnRecord {
            by_connect: 1,
            exchange: ids,
            ..self.conn_record(end)
        };
        self.steps.push(Step::Record(bytes_of(&record, &[])));
    }

    pub fn segment(
        &mut self,
        end: &mut End,
        way: u8,
        bytes: &[u8],
        ids: Option<ExchangeIds>,
    ) -> (SegmentRecord, Vec<u8>) {
        let payload = bytes[..bytes.len().min(end.capture)].to_vec();
        let pos = if way == direction::RX {
            &mut end.rx
        } else {
            &mut end.tx
        };
        let at = *pos;
        *pos = pos.wrapping_add(bytes.len() as u32);
        let mut tail = [0; 8];
        let kept = bytes.len().min(8);
        tail[8 - kept..].copy_from_slice(&bytes[bytes.len() - kept..]);
        let enter = self.now + STEP / 2;
        let head = self.head(kind::SEGMENT, size_of::<SegmentRecord>(), payload.len());
        let cut = payload.len() < bytes.len();
        let record = SegmentRecord {
            head,
            process: end.process,
            socket: end.socket,
            enter_ktime_ns: if way == direction::TX {
                enter
            } else {
                head.ktime_ns
            },
            pos: at,
            len: bytes.len() as u32,
            tid: end.tid,
            error: 0,
            direction: way,
            op: if way == direction::RX {
                op::READ
            } else {
                op::WRITE
            },
            flags: (if ids.is_some() {
                segment_flag::EXCHANGE
            } else {
                0
            }) | (if cut { segment_flag::TAIL } else { 0 })
                | (if end.family == 1 {
                    segment_flag::COUNTED
                } else {
                    0
                }),
            role: end.role,
            protocol: end.protocol,
            injected: 0,
            ending: 0,
            zero: [0; 2],
            tail: if cut { tail } else { [0; 8] },
            exchange: ids.unwrap_or_default(),
        };
        (record, payload)
    }

    pub fn push(&mut self, (record, payload): &(SegmentRecord, Vec<u8>)) {
        self.steps.push(Step::Record(bytes_of(record, payload)));
    }

    pub fn read(&mut self, end: &mut End, bytes: &[u8], ids: Option<ExchangeIds>) {
        let segment = self.segment(end, direction::RX, bytes, ids);
        self.push(&segment);
    }

    pub fn write(&mut self, end: &mut End, bytes: &[u8], ids: Option<ExchangeIds>) {
        let segment = self.segment(end, direction::TX, bytes, ids);
        self.push(&segment);
    }

    /// The bytes move, but their record is lost in a full ring.
    pub fn lose(&mut self, end: &mut End, way: u8, bytes: &[u8]) {
        self.segment(end, way, bytes, None);
    }

    /// A read that found the end of the stream.
    pub fn eof(&mut self, end: &mut End) {
        let (mut record, payload) = self.segment(end, direction::RX, b"", None);
        record.flags |= segment_flag::EOF;
        self.push(&(record, payload));
    }

    pub fn error(&mut self, end: &mut End, way: u8, errno: u16) {
        let (mut record, payload) = self.segment(end, way, b"", None);
        record.flags |= segment_flag::ERROR;
        record.error = errno;
        self.push(&(record, payload));
    }

    pub fn state(&mut self, end: &End, old: u8, new: u8, error: u16) {
        self.state_shut(end, old, new, error, 0);
    }

    /// The same of a socket whose program has shut that down.
    pub fn state_shut(&mut self, end: &End, old: u8, new: u8, error: u16, shutdown: u8) {
        let head = self.head(kind::STATE, size_of::<StateRecord>(), 0);
        let record = StateRecord {
            head,
            socket: end.socket,
            old_state: old,
            new_state: new,
            error,
            rx_bytes: 0,
            tx_bytes: 0,
            shutdown,
            zero: [0; 3],
        };
        self.steps.push(Step::Record(bytes_of(&record, &[])));
    }

    pub fn task(&mut self, what: u16, key: ProcessKey) {
        let head = self.head(what, size_of::<TaskRecord>(), 0);
        let record = TaskRecord {
            head,
            process: key,
            tid: key.tgid,
            other: 0,
            comm: *b"other\0\0\0\0\0\0\0\0\0\0\0",
        };
        self.steps.push(Step::Record(bytes_of(&record, &[])));
    }

    /// A whole exchange seen from both ends; the kernel joins them.
    pub fn exchange(
        &mut self,
        client: &mut End,
        server: &mut End,
        request: &[u8],
        response: &[u8],
        n: u8,
    ) {
        self.write(client, request, Some(ids(n, n, None)));
        self.read(
            server,
            request,
            Some(ids(n, n + 1, Some((n, evidence::SOCKET)))),
        );
        self.write(server, response, None);
        self.read(client, response, None);
    }

    pub fn run(&self) -> Outcome {
        self.run_with(TracerConfig::default())
    }

    pub fn run_with(&self, config: TracerConfig) -> Outcome {
        run(&self.steps, config)
    }
}

pub struct Outcome {
    pub spans: Vec<Span>,
    pub commands: Vec<Command>,
    pub tracer: Tracer,
}

/// Feeds the steps, then three seconds of ticks, then ends.
pub fn run(steps: &[Step], config: TracerConfig) -> Outcome {
    let mut tracer = Tracer::new(config);
    let mut spans = Vec::new();
    let mut commands = Vec::new();
    let mut now = 0;
    let mut feed = |tracer: &mut Tracer, step: &Step| {
        match step {
            Step::Record(bytes) => tracer.on_frame(Frame::Kernel(bytes)),
            Step::Process(facts) => tracer.on_frame(Frame::Process(facts.clone())),
            Step::Tick(ktime_ns) => {
                now = *ktime_ns;
                tracer.on_frame(Frame::Tick {
                    ktime_ns: *ktime_ns,
                    epoch_offset_ns: EPOCH,
                });
            }
        }
        while let Some(span) = tracer.poll_span() {
            spans.push(span);
        }
        while let Some(command) = tracer.poll_command() {
            commands.push(command);
        }
        now
    };
    let mut last = 0;
    for step in steps {
        last = last.max(feed(&mut tracer, step));
        if let Step::Record(bytes) = step {
            last = last.max(u64::from_ne_bytes(bytes[8..16].try_into().unwrap()));
        }
    }
    for n in 1..=60 {
        feed(&mut tracer, &Step::Tick(last + n * 50 * MS));
    }
    tracer.finish(last + 61 * 50 * MS);
    while let Some(span) = tracer.poll_span() {
        spans.push(span);
    }
    Outcome {
        spans,
        commands,
        tracer,
    }
}

impl Outcome {
    pub fn count(&self, counter: Counter) -> u64 {
        self.tracer.counters().get(counter)
    }

    /// The span the kernel gave this id.
    pub fn span(&self, n: u8) -> &Span {
        self.spans
            .iter()
            .find(|span| span.span_id.0 == [n; 8])
            .unwrap_or_else(|| panic!("no span {n}: {:#?}", self.lines()))
    }

    /// One line per span: kind, name, status code, error, trace, span, parent, evidence.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.spans.iter().map(line).collect();
        lines.sort();
        lines
    }

    /// All counters that are not zero, as `name=value`.
    pub fn counted(&self) -> Vec<String> {
        self.tracer
            .counters()
            .iter()
            .filter(|&(_, value)| value > 0)
            .map(|(counter, value)| format!("{}={value}", counter.name()))
            .collect()
    }
}

pub fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes
        .iter()
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

pub fn text(span: &Span, key: &str) -> String {
    match attribute(span, key) {
        Some(Value::Str(text)) => text.to_string(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Bool(yes)) => yes.to_string(),
        Some(Value::List(list)) => list.join("|"),
        None => "-".to_owned(),
    }
}

/// An id as its first byte in hex when all its bytes are the same, else `~`.
fn short(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        format!("{:02x}", bytes[0])
    } else {
        "~".to_owned()
    }
}

pub fn line(span: &Span) -> String {
    format!(
        "{:?} {} {} {} t{} s{} p{} {}",
        span.kind,
        span.name,
        text(span, "http.response.status_code"),
        text(span, "error.type"),
        short(&span.trace_id.0),
        short(&span.span_id.0),
        span.parent_span_id
            .map_or("-".to_owned(), |id| short(&id.0)),
        text(span, "suture.parent.evidence"),
    )
}
