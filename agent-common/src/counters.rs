//! Counters the BPF programs keep, one slot per reason in a per-CPU array.
//!
//! The table below is the only place a kernel-side reason is named: its index is the slot, its name is the
//! `reason` attribute of the exported metric and the word in the summary on exit.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A reason why the kernel side refused, dropped or could not see something.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter { $($(#[doc = $doc])+ $variant,)+ }
        impl Counter {
            /// All counters, in slot order.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];
            /// The name used in metrics and summaries.
            pub const fn name(self) -> &'static str { match self { $(Counter::$variant => $name,)+ } }
            /// The sentence for people.
            pub const fn meaning(self) -> &'static str { match self { $(Counter::$variant => concat!($($doc),+),)+ } }
        }
    };
}

counters! {
    /// Records that found the ring buffer full; the connection shows a gap at their stream position.
    RingFull = "ring_full",
    /// Connections not followed because the connection map was full.
    ConnsFull = "connections_full",
    /// Client connections whose servers on this host cannot find them because the map was full.
    PeersFull = "peers_full",
    /// Threads that are not followed because the map was full: their writes are not seen and have no context.
    ThreadsFull = "threads_full",
    /// User memory that was not resident when a program read it; the bytes count as unseen.
    UserFault = "user_memory_absent",
    /// I/O vectors beyond the ones that are looked at; their bytes count as unseen.
    IovecsBeyond = "iovecs_beyond_limit",
    /// Bytes moved by sendfile or splice, which are counted but cannot be seen.
    ZeroCopy = "zero_copy_segments",
    /// Connections that spoke no known protocol and are ignored from there on.
    NotKnownProtocol = "unknown_protocol",
    /// Ends of brokers, which are not followed: their clients' ends are.
    BrokerEnd = "broker_end_ignored",
    /// Multipath TCP sockets, whose stream positions are not read.
    Mptcp = "mptcp_ignored",
    /// Contexts not trusted because their unit multiplexes requests (an event loop).
    Multiplexed = "context_multiplexed",
    /// Units whose request is not known because the map of units was full.
    UnitsFull = "units_full",
    /// Calls without a parent because the memory that names the running unit could not be read.
    UnitUnread = "unit_unread",
    /// Contexts of goroutines that ended because the goroutine took a value from a channel or waited: it may work for another request now.
    HandedOver = "goroutine_handed_over",
    /// Contexts of tokio's tasks that ended because the task was sent something by another request's.
    TaskHandedOver = "task_handed_over",
    /// Calls by a tokio task that was made under a request, of whose type none had ended yet: it may be one that serves others.
    TaskUnproven = "task_unproven",
    /// Calls by a tokio task that was made under a request, when something was sent to a receiver that is not known.
    TaskUncertain = "task_uncertain",
    /// Calls by a tokio task that was made under a request, after that one's answer: it may have got work from others that is not seen.
    TaskAnswered = "task_answered",
    /// Calls that a tokio task wrote for others, to which several had given something or nobody that was seen.
    TaskUnsaid = "task_unsaid",
    /// Channels of tokio's, and tasks that receive from them, that are not known because the map of them was full.
    ChannelsFull = "task_channels_full",
    /// Node.js threads whose turns are not followed because the map was full or there was no memory.
    EnvironmentsFull = "environments_full",
    /// Calls made in a Node.js turn whose cause is not known.
    TurnUnknown = "turn_unknown",
    /// Calls by async resources whose interval of ids was forgotten by then.
    AsyncForgotten = "async_forgotten",
    /// Calls after the answer of the request that they would belong to.
    TurnAnswered = "turn_answered",
    /// Calls that a client's own queue made on a connection whose reply was just read: whose they are is not known.
    TurnQueued = "turn_queued",
    /// Node.js threads seen to answer a request in another one's turn, whose later turns count less.
    TurnHanded = "turn_handed",
    /// Calls in such a thread for which no exact cause is left.
    TurnDoubted = "turn_doubted",
    /// Calls of a Node.js request that was not alone on its thread: another one was unanswered, or a call had no reply.
    TurnCrowded = "turn_not_alone",
    /// Calls of a lone Node.js request after something ran on its thread that is not known to be its own.
    TurnForeign = "turn_foreign",
    /// Calls of a Node.js request on a thread with more requests or calls at once than are listed.
    TurnUnlisted = "turn_unlisted",
    /// Async functions of Node.js that are not followed while they wait, because there was no room.
    WaitsFull = "waits_full",
    /// Async functions of Node.js that waited while V8 moved them to where is not known.
    WaitsUnread = "waits_unread",
    /// Contexts that were older than the maximum age.
    ContextAged = "context_aged",
    /// io_uring instances set up by processes in scope; what they do through it is not seen.
    IoUring = "io_uring_instances",
    /// Calls not seen because a program of the same processor was interrupted in the middle of its work.
    ScratchHeld = "scratch_held",
    /// Syscalls of this kind were seen but carried a message in more parts than are looked at.
    MmsgBeyond = "mmsg_beyond_limit",
    /// Options not sent because what stands in the TCP header beside them leaves no room.
    OptionNoRoom = "option_no_room",
    /// Requests whose segment was lost so often that it was sent again without its option.
    OptionLost = "option_lost",
    /// Connections on which options were given up because no segment with one ever arrived.
    OptionGivenUp = "option_given_up",
    /// Requests sent to another agent without an option because the head of the request they belong to was not seen whole.
    OptionUncertain = "option_context_uncertain",
    /// Options that arrived for a byte with which no request began.
    OptionUnmatched = "option_unmatched",
    /// Options not kept because the map was full.
    ArrivedFull = "option_map_full",
    /// Headers written into requests of clients.
    HeaderWritten = "header_written",
    /// Requests left alone because they have a `traceparent` of their own.
    HeaderOwn = "header_present",
    /// Connections that could not be prepared for headers: the map was full, or another program has them in a map of its own.
    HeaderRefused = "header_socket_refused",
    /// Requests without a header because the trace they belong to is not certain.
    HeaderUncertain = "header_context_uncertain",
    /// Requests without a header because their head was written in several pieces.
    HeaderSplit = "header_head_split",
    /// Requests without a header because their head is longer than what is looked at.
    HeaderLong = "header_head_too_long",
    /// Requests without a header because their first line does not leave room for it in the first segment.
    HeaderNoRoom = "header_no_room",
    /// Requests without a header because the bytes before them have not all arrived.
    HeaderBusy = "header_stream_busy",
    /// Requests without a header because it is not certain that a request begins where they do.
    HeaderLost = "header_position_unknown",
    /// Requests sent together with the one before, to which no header was given.
    HeaderPipelined = "header_pipelined",
    /// Requests without a header because they are no HTTP/1.0 or 1.1, or ask for a tunnel.
    HeaderOther = "header_other_protocol",
    /// Requests without a header because their bytes cannot be seen: sendfile, splice, or a call that is not known.
    HeaderUnseen = "header_bytes_unseen",
    /// Requests without a header because the kernel had no memory for it.
    HeaderNoMemory = "header_no_memory",
    /// Messages refused because what was written into them could not be taken back; the program's call failed with EACCES.
    HeaderDropped = "header_message_dropped",
    /// Processes of scheduled commands whose calls are roots because the map was full.
    TicksFull = "ticks_full",
    /// Calls by processes that a scheduler began longer ago than a tick lasts: roots.
    TickAged = "tick_aged",
}
