//! Masks secrets in records before they are written to a file.
//!
//! In: one raw record after the other. Out: the same records, no byte longer or shorter. Always holds: what is not
//! known to be harmless is masked; what a tracer decides by stays, so that a replay gives the spans of the live run
//! but for masked values (query values, user parts, headers kept by configuration). Refuses: to keep anything of bytes
//! whose place in a message is not known.
//!
//! It follows each direction as agent-trace's `conn` does: the same order of holes, turns and pieces, so that both are
//! in step, or out of step, at the same bytes.

mod body;
mod fastcgi;
mod first;
mod http1;
mod lines;
mod params;
mod text;
mod turns;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem::offset_of,
};

use agent_common::abi::{
    ConnRecord, DoubtRecord, RecordHead, SegmentRecord, SocketKey, StateRecord, TaskRecord,
    TickRecord, direction, kind, protocol, role, segment_flag,
};
use agent_protocol::http1::framing::{Start, response_start};
use agent_trace::{
    moves::moved_ktime,
    position::{Place, Position},
};

use self::{
    fastcgi::FastCgi,
    http1::Http1,
    text::{X, hidden_in_rest},
    turns::Turns,
};

/// Sockets that are followed at once; the oldest goes first.
const SOCKETS_MAX: usize = 65_536;
/// Closed sockets that are still followed: what waited in them may be read after the close.
const CLOSED_MAX: usize = 1024;
/// TCP_CLOSE of Linux `include/net/tcp_states.h`.
const TCP_CLOSE: u8 = 7;

/// Masks records; see the module.
#[derive(Debug, Default)]
pub struct Masker {
    sockets: HashMap<SocketKey, Socket>,
    /// Sockets by the order in which they were met.
    order: BTreeMap<u64, SocketKey>,
    met: u64,
    closed: VecDeque<(SocketKey, u64)>,
}

/// One direction.
#[derive(Debug)]
enum Stream {
    Http1(Http1),
    FastCgi(Box<FastCgi>),
}

/// The two directions, once it is known which one carries what.
#[derive(Debug)]
struct Streams {
    serves: bool,
    fastcgi: bool,
    request: Stream,
    response: Stream,
}

#[derive(Debug, Default)]
struct Socket {
    met: u64,
    rx: Position,
    tx: Position,
    turns: Turns,
    streams: Option<Streams>,
}

/// What is read of a segment's fixed part.
#[derive(Clone, Copy, Debug)]
struct Segment {
    socket: SocketKey,
    moved_ns: u64,
    pos: u32,
    len: u32,
    direction: u8,
    flags: u8,
    role: u8,
    protocol: u8,
}

impl Masker {
    /// Masks one record in place. Any bytes are accepted.
    pub fn mask(&mut self, record: &mut [u8]) {
        let Some(head) = head(record) else {
            record.fill(X);
            return;
        };
        let fixed = match head.kind {
            kind::SEGMENT => return self.segment(head, record),
            kind::STATE => {
                self.state(record);
                size_of::<StateRecord>()
            }
            kind::CONN => size_of::<ConnRecord>(),
            kind::EXEC | kind::EXIT | kind::IO_URING | kind::LISTEN => size_of::<TaskRecord>(),
            kind::DOUBT => size_of::<DoubtRecord>(),
            kind::TICK => size_of::<TickRecord>(),
            _ => size_of::<RecordHead>(),
        };
        fill(record.get_mut(fixed..));
    }

    fn segment(&mut self, head: RecordHead, record: &mut [u8]) {
        const FIXED: usize = size_of::<SegmentRecord>();
        const TAIL: usize = offset_of!(SegmentRecord, tail);
        let have = record.len();
        let need = FIXED + usize::from(head.payload);
        let Some((fixed, rest)) = record.split_at_mut_checked(FIXED) else {
            fill(record.get_mut(TAIL.min(have)..));
            return;
        };
        let fields = segment(fixed);
        let Some(tail) = fixed.get_mut(TAIL..TAIL + 8) else {
            return;
        };
        // A record that a decoder refuses changes nothing there.
        let size = head.size as usize;
        let Some(fields) = fields.filter(|_| size >= need && have >= size) else {
            fill(Some(rest));
            fill(Some(tail));
            return;
        };
        let (payload, beyond) = rest.split_at_mut(usize::from(head.payload).min(rest.len()));
        fill(Some(beyond));
        // Of what clients and brokers say nothing is known to be harmless: a recording's replay has no spans of messages.
        let is_of_messages =
            protocol::is_of_a_broker(fields.protocol) || fields.protocol == protocol::PIPE;
        if fields.protocol == protocol::UNKNOWN || is_of_messages {
            fill(Some(payload));
            hide_tail(tail);
            return;
        }
        self.socket(fields.socket).segment(&fields, payload, tail);
    }

    fn state(&mut self, record: &[u8]) {
        let at = offset_of!(StateRecord, socket);
        let (Some(socket), Some(&new)) = (
            socket_key(record, at),
            record.get(offset_of!(StateRecord, new_state)),
        ) else {
            return;
        };
        if new != TCP_CLOSE {
            return;
        }
        if let Some(followed) = self.sockets.get(&socket) {
            self.closed.push_back((socket, followed.met));
        }
        if self.closed.len() > CLOSED_MAX
            && let Some((socket, met)) = self.closed.pop_front()
            && self.sockets.get(&socket).is_some_and(|old| old.met == met)
        {
            self.sockets.remove(&socket);
            self.order.remove(&met);
        }
    }

    fn socket(&mut self, key: SocketKey) -> &mut Socket {
        let Self {
            sockets,
            order,
            met,
            ..
        } = self;
        if sockets.len() >= SOCKETS_MAX
            && !sockets.contains_key(&key)
            && let Some((_, oldest)) = order.pop_first()
        {
            sockets.remove(&oldest);
        }
        sockets.entry(key).or_insert_with(|| {
            *met += 1;
            order.insert(*met, key);
            Socket {
                met: *met,
                ..Socket::default()
            }
        })
    }
}

impl Socket {
    fn segment(&mut self, segment: &Segment, payload: &mut [u8], tail: &mut [u8]) {
        let eof = segment.flags & segment_flag::EOF != 0;
        if segment.flags & segment_flag::ERROR != 0 || (segment.len == 0 && !eof) {
            fill(Some(payload));
            hide_tail(tail);
            return;
        }
        self.learn(segment, payload);
        // Ids of what a client read are those of a context: they say nothing about where a message begins.
        let is_answer = segment.role == role::CLIENT && segment.direction == direction::RX;
        let boundary = segment.flags & segment_flag::EXCHANGE != 0 && !is_answer;
        let position = if segment.direction == direction::RX {
            &mut self.rx
        } else {
            &mut self.tx
        };
        let place = if eof {
            None
        } else {
            Some(position.place(segment.pos, segment.len, boundary && self.streams.is_some()))
        };
        let (Some(streams), Some(place)) = (&mut self.streams, place) else {
            if let Some(streams) = &mut self.streams {
                streams.of(segment.direction).0.end();
            }
            fill(Some(payload));
            hide_tail(tail);
            return;
        };
        let fastcgi = streams.fastcgi;
        let (stream, is_request) = streams.of(segment.direction);
        let turns = &mut self.turns;
        if !is_request {
            turns.answers(matches!(place, Place::Hole(_) | Place::Unrelated));
        }
        match place {
            Place::Hole(len) => stream.lost(Some(u64::from(len)), turns),
            Place::Unrelated => stream.lost(None, turns),
            Place::Next | Place::Repeats(_) => {}
        }
        let turned = if is_request {
            let turned = turns.moves.response_is_newer();
            turns.burst = boundary || turned;
            boundary || (turned && !stream.in_message())
        } else {
            // Only a response's first bytes are a turn.
            turns.moves.request_is_newer() && (fastcgi || response_start(payload) != Start::No)
        };
        if turned {
            stream.turn();
        }
        let skip = match place {
            Place::Repeats(len) => len,
            Place::Next | Place::Hole(_) | Place::Unrelated => 0,
        };
        pieces(segment, payload, tail, skip, stream, turns);
        turns.moved(is_request, segment.moved_ns);
    }

    /// Finds out which direction carries requests, and in which protocol.
    fn learn(&mut self, segment: &Segment, payload: &[u8]) {
        if self.streams.is_some() {
            return;
        }
        let fastcgi = segment.protocol == protocol::FASTCGI;
        let reads = segment.direction == direction::RX;
        let begins_response = !fastcgi && payload.starts_with(b"HTTP/1.");
        let boundary = segment.flags & segment_flag::EXCHANGE != 0;
        let serves = match segment.role {
            role::SERVER => true,
            role::CLIENT => false,
            _ if begins_response => !reads,
            _ if boundary => reads,
            _ => return,
        };
        let request = reads == serves && boundary;
        let stream = |of_request, at_boundary| {
            if fastcgi {
                Stream::FastCgi(Box::new(FastCgi::new(of_request, at_boundary)))
            } else {
                Stream::Http1(Http1::new(of_request, at_boundary))
            }
        };
        self.streams = Some(Streams {
            serves,
            fastcgi,
            request: stream(true, request),
            response: stream(false, begins_response || request),
        });
    }
}

impl Streams {
    /// The stream of a direction, and whether it carries requests.
    fn of(&mut self, way: u8) -> (&mut Stream, bool) {
        if (way == direction::RX) == self.serves {
            (&mut self.request, true)
        } else {
            (&mut self.response, false)
        }
    }
}

impl Stream {
    fn in_message(&self) -> bool {
        match self {
            Self::Http1(stream) => stream.in_message(),
            Self::FastCgi(stream) => stream.in_message(),
        }
    }

    fn end(&mut self) {
        match self {
            Self::Http1(stream) => stream.end(),
            Self::FastCgi(stream) => stream.end(),
        }
    }

    fn turn(&mut self) {
        match self {
            Self::Http1(stream) => stream.turn(),
            Self::FastCgi(stream) => stream.turn(),
        }
    }

    fn lost(&mut self, len: Option<u64>, turns: &mut Turns) {
        match self {
            Self::Http1(stream) => stream.lost(len, turns),
            Self::FastCgi(stream) => stream.lost(len),
        }
    }

    fn bytes(&mut self, piece: &mut [u8], turns: &mut Turns) {
        match self {
            Self::Http1(stream) => stream.bytes(piece, turns),
            Self::FastCgi(stream) => stream.bytes(piece, turns),
        }
    }

    fn unseen(&mut self, len: u64, tail: &mut [u8], turns: &mut Turns) {
        match self {
            Self::Http1(stream) => stream.unseen(len, tail, turns),
            Self::FastCgi(stream) => stream.unseen(len, tail, turns),
        }
    }
}

/// Gives a segment's pieces to its stream: what was captured, and what was not. The first `skip` bytes were there
/// before.
fn pieces(
    segment: &Segment,
    payload: &mut [u8],
    tail: &mut [u8],
    skip: u32,
    stream: &mut Stream,
    turns: &mut Turns,
) {
    let captured = payload.len().min(segment.len as usize);
    let (captured, beyond) = payload.split_at_mut(captured);
    fill(Some(beyond));
    let (repeated, fresh) = captured.split_at_mut((skip as usize).min(captured.len()));
    fill(Some(repeated));
    let unseen = u64::from(segment.len - skip.min(segment.len)) - fresh.len() as u64;
    if !fresh.is_empty() {
        stream.bytes(fresh, turns);
    }
    if segment.flags & segment_flag::TAIL == 0 {
        hide_tail(tail);
        if unseen > 0 {
            stream.unseen(unseen, &mut [], turns);
        }
        return;
    }
    // Right-aligned, and no more of them than were unseen.
    let kept = usize::try_from(unseen)
        .unwrap_or(usize::MAX)
        .min(tail.len());
    let (known, tail) = tail.split_at_mut(tail.len() - kept);
    hide_tail(known);
    if unseen > 0 {
        stream.unseen(unseen, tail, turns);
    }
}

fn hide_tail(tail: &mut [u8]) {
    for byte in tail {
        *byte = hidden_in_rest(*byte);
    }
}

fn fill(bytes: Option<&mut [u8]>) {
    if let Some(bytes) = bytes {
        bytes.fill(X);
    }
}

fn array<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
    record.get(at..)?.first_chunk().copied()
}

fn head(record: &[u8]) -> Option<RecordHead> {
    Some(RecordHead {
        kind: u16::from_ne_bytes(array(record, offset_of!(RecordHead, kind))?),
        payload: u16::from_ne_bytes(array(record, offset_of!(RecordHead, payload))?),
        size: u32::from_ne_bytes(array(record, offset_of!(RecordHead, size))?),
        ktime_ns: u64::from_ne_bytes(array(record, offset_of!(RecordHead, ktime_ns))?),
    })
}

fn socket_key(record: &[u8], at: usize) -> Option<SocketKey> {
    Some(SocketKey {
        sk: u64::from_ne_bytes(array(record, at + offset_of!(SocketKey, sk))?),
        ino: u64::from_ne_bytes(array(record, at + offset_of!(SocketKey, ino))?),
    })
}

fn segment(fixed: &[u8]) -> Option<Segment> {
    let byte = |at: usize| fixed.get(at).copied();
    let direction = byte(offset_of!(SegmentRecord, direction))?;
    let enter_ktime_ns =
        u64::from_ne_bytes(array(fixed, offset_of!(SegmentRecord, enter_ktime_ns))?);
    Some(Segment {
        socket: socket_key(fixed, offset_of!(SegmentRecord, socket))?,
        moved_ns: moved_ktime(direction, enter_ktime_ns, head(fixed)?.ktime_ns),
        pos: u32::from_ne_bytes(array(fixed, offset_of!(SegmentRecord, pos))?),
        len: u32::from_ne_bytes(array(fixed, offset_of!(SegmentRecord, len))?),
        direction,
        flags: byte(offset_of!(SegmentRecord, flags))?,
        role: byte(offset_of!(SegmentRecord, role))?,
        protocol: byte(offset_of!(SegmentRecord, protocol))?,
    })
}
