//! Reasons why user space refused, dropped, cut short or did not believe something, one counter each.
//!
//! In: [`Counters::add`]. Out: absolute values by reason. Always holds: the table below is the only place a reason of
//! this crate is named; its name is the `reason` attribute of the exported metric and the word in the summary on
//! exit. Refuses: a reason that is not in the table.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A reason why the tracer refused, dropped or could not see something.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Counter { $($(#[doc = $doc])+ $variant,)+ }
        impl Counter {
            /// All counters, in the order of their slots.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];
            /// The name used in metrics and summaries.
            pub const fn name(self) -> &'static str { match self { $(Counter::$variant => $name,)+ } }
            /// The sentence for people.
            pub const fn meaning(self) -> &'static str { match self { $(Counter::$variant => concat!($($doc),+),)+ } }
        }
    };
}

counters! {
    /// Spans handed out.
    SpansEmitted = "spans_emitted",
    /// Spans not handed out because a sampled flag or the sampler said no.
    NotSampled = "not_sampled",
    /// Spans not handed out because their path is on the list of ignored paths.
    PathIgnored = "path_ignored",
    /// Records shorter than their kind or their own size demands; skipped.
    RecordMalformed = "record_malformed",
    /// Records of a kind this version does not know; skipped.
    RecordUnknownKind = "record_unknown_kind",
    /// Segments on a socket whose connection record was lost; its addresses are unknown.
    ConnectionUnknown = "connection_unknown",
    /// Connections not followed because the table was full.
    ConnectionsFull = "connections_full",
    /// Connections forgotten after a long time without a byte.
    ConnectionIdle = "connection_idle",
    /// Connections that turned out not to speak a protocol that is known.
    NotHttp = "not_http",
    /// Connections of which a broker's client was taken to be one end, wrongly, or that left its protocol (TLS).
    NotBroker = "not_a_broker",
    /// Connections to databases that were given up because no table was seen to be a queue.
    NotQueue = "database_not_a_queue",
    /// Connections that speak HTTP/2 without TLS, which is not read yet.
    Http2 = "http2_ignored",
    /// Connections ignored after a handshake to another protocol (WebSocket, h2c, CONNECT); the span ends with it.
    Upgraded = "upgraded",
    /// Holes in a stream: the kernel's record of these bytes was lost.
    StreamHole = "stream_hole",
    /// Bytes in the holes of streams.
    StreamHoleBytes = "stream_hole_bytes",
    /// Segments that repeat bytes already seen; the repeated part was skipped.
    StreamOverlap = "stream_overlap",
    /// Bytes in which no message was recognised.
    Unparsed = "unparsed",
    /// Requests of which nothing readable was seen and that got no readable response; no span.
    RequestUnparsed = "request_unparsed",
    /// Responses to requests that were not seen; no span.
    ResponseWithoutRequest = "response_without_request",
    /// Requests whose response passed unseen in a hole; their spans have no status.
    ResponseUnseen = "response_unseen",
    /// Bytes that came after a response was taken to be over because its end could not be seen.
    BodyAfterIdleEnd = "body_after_idle_end",
    /// Response bytes that could not wait for the record of their request because too much was waiting.
    ParkedFull = "parked_full",
    /// Requests on one connection without a response beyond the limit; no span.
    PipelineFull = "pipeline_full",
    /// The kernel began an exchange where no request begins; its ids are nobody's parent.
    KernelGuessWrong = "kernel_guess_wrong",
    /// Calls that were said to be a request's and may be another's: roots.
    ParentDoubted = "parent_doubted",
    /// Exchanges whose parent is not known (lost or never real); their spans are roots.
    ParentUnknown = "parent_unknown",
    /// Calls without a parent because the request that they seem to belong to shared its connection with a pipelined one.
    ParentPipelined = "parent_pipelined",
    /// Deliveries whose put was not seen; their spans are roots.
    MessageUnknown = "message_unknown",
    /// Deliveries of messages that look like another one that was put; their spans are roots.
    MessageAmbiguous = "message_ambiguous",
    /// Writes of messages by a client's own loop, which may have been another request's than it seems; their spans are roots.
    MessageByClient = "message_by_client",
    /// What was said to or by a broker and could not be read.
    MessageUnparsed = "message_unparsed",
    /// Calls to a queue's server whose queue or messages were not captured; they stay calls over HTTP, or lack messages.
    CallUnread = "call_unread",
    /// Successful calls to a queue's server that fetch, delete or release messages, on either end; no span: the messages have spans.
    CallQuiet = "call_left_out",
    /// Calls for messages that brought none; no span.
    ReceivedNothing = "received_nothing",
    /// Messages over HTTP whose reader has no context (an event loop, or the host's first call to that server): its calls are roots.
    MessageWithoutUnit = "message_without_unit",
    /// Reads that brought several messages: what their reader does next is nobody's.
    MessagesTogether = "messages_together",
    /// Processes of workers with a thread that called between two messages: whose its calls are is not known there; roots.
    SettleBetween = "settle_between",
    /// Calls by workers that were made roots because a minute later nobody had said what became of a message.
    SettleLate = "settle_late",
    /// Calls, and what they led to, that could not wait for their unit's word because too many did: roots.
    SettleFull = "settle_full",
    /// Calls of goroutines that were made for a job which is over: they may have gone on with something else; roots.
    JobOver = "job_over",
    /// Deliveries forgotten before they were settled, because too many were.
    MessagesUnsettled = "messages_unsettled",
    /// Deliveries whose work was not followed because too much was; their spans end at once.
    WorkFull = "work_full",
    /// Commands of schedulers that are not followed because too many were; what they call are roots.
    TicksFull = "ticks_not_followed",
    /// Two exchanges with one span id; the later one was dropped.
    DuplicateSpanId = "duplicate_span_id",
    /// `traceparent` headers that break the W3C rules and were ignored.
    TraceparentInvalid = "traceparent_invalid",
    /// Open exchanges without a slot in the exchange table because it was full.
    ExchangesFull = "exchanges_full",
    /// Spans that could not wait for their parents' records because too many were waiting.
    LingerFull = "linger_full",
    /// Failed connection attempts followed at once by one that worked (several addresses of one name); no span.
    ConnectSuperseded = "connect_superseded",
    /// Attempts to connect to unix sockets that do not exist; no span.
    ConnectNoSocket = "connect_no_socket",
    /// Failed connection attempts that were not kept because too many were waiting; no span.
    ConnectFull = "connect_full",
    /// Exchanges without a byte for an hour; their spans were cut there.
    ExchangeStale = "exchange_stale",
    /// Exchanges still open when the tracer stopped; their spans are marked unfinished.
    OpenAtFinish = "open_at_finish",
    /// Paths that came after a service had too many different templates; their spans carry no template.
    RoutesFull = "routes_full",
    /// Calls made beside an equal one of the same request: not linked, because it is not known which one they repeat.
    AttemptsBeside = "attempts_beside",
    /// Failed attempts forgotten because too many were remembered; what repeats them is not linked.
    AttemptsFull = "attempts_full",
    /// Requests that were not linked by a key because too many different traces had the same.
    KeyShared = "key_shared",
    /// Correlation keys forgotten before their time because too many were remembered.
    KeysFull = "keys_full",
    /// Processes that could not be remembered because the table was full.
    ProcessesFull = "processes_full",
}

/// The value of every [`Counter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    slots: [u64; Counter::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            slots: [0; Counter::ALL.len()],
        }
    }
}

impl Counters {
    /// Adds `n`.
    pub fn add(&mut self, counter: Counter, n: u64) {
        if let Some(slot) = self.slots.get_mut(counter as usize) {
            *slot = slot.saturating_add(n);
        }
    }

    /// Adds one.
    pub fn one(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.slots.get(counter as usize).copied().unwrap_or(0)
    }

    /// All counters with their values, in the order of [`Counter::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().copied().zip(self.slots.iter().copied())
    }
}
