//! What a thread that takes messages is at: whether the next one finds it done with those before.
//!
//! In: deliveries, acks, fetches and writes of threads. Out: whether a delivery alone is what its thread works for from now on. Always holds: a
//! thread that may still be at work on another message is trusted with none, until it asks for more or has settled all it took. Refuses:
//! nothing; bounded by the tracer's threads.
//!
//! ```text
//!   (none) --one message--> Working --settled--> Settled --one message--> Working
//!      ^                       |                    | writes something (it may have acked first and works now)
//!      |                       | another message    v
//!      |                       '----------------> Mixed <--several messages at once-- (any)
//!      '---- asks for a message, or has settled all ---'
//! ```

use agent_common::abi::{ProcessKey, SegmentRecord};

use crate::span::SpanId;

/// A thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UnitKey {
    pub(crate) process: ProcessKey,
    pub(crate) tid: u32,
}

impl UnitKey {
    /// The thread whose call it was.
    pub(crate) fn of_thread(record: &SegmentRecord) -> Self {
        Self {
            process: record.process,
            tid: record.tid,
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Working(SpanId),
    Settled(SpanId),
    Mixed,
}
