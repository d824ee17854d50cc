//! Environments of Node.js: what a thread's event loop is doing, and for which request.
//!
//! Only the programs read and write these; user space makes the map. Async ids are the bits of the doubles in which Node keeps
//! them: of positive doubles the bits have the order of the numbers.

use core::mem::size_of;

use super::Words;

/// Intervals of async ids that are remembered: with what is before them an environment fits an allocation of 64 KiB.
pub const INTERVALS: usize = 800;
/// Unanswered requests of a thread that are listed, and calls without a reply.
pub const LISTED: usize = 8;

/// Async functions of a thread that wait and are followed.
pub const WAITING: usize = 1024;

/// What began the turn ([`Environment::kind`]).
pub mod turn {
    /// Something that is not followed.
    pub const OTHER: u64 = 0;
    /// A request was read.
    pub const REQUEST: u64 = 1;
    /// The reply to a call was read.
    pub const REPLY: u64 = 2;
    /// An async resource that was made under a request is done: a connection, a look-up, a file.
    pub const RESOURCE: u64 = 3;
    /// A list of timers or immediates, each with a cause of its own.
    pub const LIST: u64 = 4;
}

/// Why a request is not alone on its thread ([`Environment::lost`]).
pub mod lost {
    /// It is.
    pub const NOT: u64 = 0;
    /// Another request is unanswered, or a call has no reply yet.
    pub const CROWDED: u64 = 1;
    /// Something ran that is not known to be the request's.
    pub const FOREIGN: u64 = 2;
    /// There were more requests or calls than are listed.
    pub const FULL: u64 = 3;
}

/// The request something is done for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Trace of the server exchange.
    pub trace_id: Words,
    /// Span of the server exchange; 0: no request is known.
    pub span_id: u64,
    /// Address of the server connection's `struct sock`. Of an async function of no known request: its number ([`Environment::group`]).
    pub server: u64,
    /// Of a turn that a reply began, and of what was made in it: the client connection's `struct sock`, with its lowest bit set where the
    /// call itself stood on no such turn; 2 for microtasks of a timer; else 0.
    pub via: u64,
    /// CLOCK_MONOTONIC when the request was read.
    pub ktime_ns: u64,
    /// Not 0: what goes on is the request's own code, whatever else the thread does: the callback that read it, an async function that it called, or
    /// the first callback of something that one of these made.
    pub sure: u64,
}

impl Cause {
    /// Whether it is a request's, or has a number.
    #[inline(always)]
    #[must_use]
    pub const fn is_named(&self) -> bool {
        self.span_id != 0 || self.server != 0
    }
}

/// Key of the map of async functions that wait.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitKey {
    /// tgid << 32 | tid.
    pub thread: u64,
    /// Address of the `JSAsyncFunctionObject`, with V8's tag.
    pub object: u64,
}

/// Value of the map of async functions that wait.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// The request it goes on for.
    pub cause: Cause,
    /// Its place in the thread's [`Waiting`].
    pub place: u64,
}

/// A thread's async functions that wait: the collector moves them, and then each must be looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Where the next is put.
    pub next: u64,
    /// Their addresses; 0: a free place.
    pub objects: [u64; WAITING],
}

impl Waiting {
    /// None.
    pub const EMPTY: Self = Self {
        next: 0,
        objects: [0; WAITING],
    };
}

/// Async ids that were given out for one cause: those above `low`, up to `high`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// The last id before.
    pub low: u64,
    /// The last id of it.
    pub high: u64,
    /// Ids of it that were the cause of a turn, by their distance from `low`.
    pub used: u64,
    /// The cause.
    pub cause: Cause,
}

/// A request that is unanswered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Address of the server connection's `struct sock`.
    pub server: u64,
    /// Span of the server exchange; 0: a free place.
    pub span_id: u64,
    /// CLOCK_MONOTONIC when it was last seen to be open.
    pub ktime_ns: u64,
}

/// Requests and calls beyond those that are listed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlisted {
    /// How many have not ended.
    pub count: u64,
    /// CLOCK_MONOTONIC when the last of them began.
    pub ktime_ns: u64,
}

/// Value of the map of environments, keyed by tgid << 32 | tid.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Address of `node::AsyncHooks`.
    pub hooks: u64,
    /// Address of its async ids.
    pub ids: u64,
    /// Address of the number of callback scopes that are open.
    pub depth: u64,
    /// The ids when they were read last: execution, trigger, last given out, default trigger.
    pub fields: [u64; 4],
    /// One of [`turn`].
    pub kind: u64,
    /// Async id of the resource whose callback the turn is.
    pub resource: u64,
    /// The last id given out before the turn.
    pub low: u64,
    /// The last id given out of those whose cause is settled; it is `low` or above.
    pub mark: u64,
    /// The last id that the turn's own callback and its ticks gave out; 0: microtasks have not run yet.
    pub drained: u64,
    /// The turn's cause.
    pub cause: Cause,
    /// Kind of the turn that the last read begins, once its callback is called; `OTHER` when there is none.
    pub read_kind: u64,
    /// Its cause.
    pub read_cause: Cause,
    /// In a list: the timer or immediate that ran since microtasks ran last, where it was seen to make or resolve something.
    pub resolved: u64,
    /// In a list: the timer or immediate that was looked up last.
    pub item: u64,
    /// Not 0: an answer was written for another request than the turn's: requests go on in each other's turns here.
    pub handed: u64,
    /// [`super::Runtime::variant`] of the process.
    pub variant: u64,
    /// Span of the request that is alone: when it was read no other one was open and no call had no reply, and nothing but its own turns ran since.
    /// 0: none.
    pub alone: u64,
    /// Span of the request that was read last.
    pub newest: u64,
    /// One of [`lost`]: why that one is not alone.
    pub lost: u64,
    /// The request that was read, until its turn begins; `span_id` 0: none.
    pub arrived: Open,
    /// Requests that are unanswered.
    pub open: [Open; LISTED],
    /// Client connections (`struct sock`) whose call has no reply yet; 0: a free place.
    pub calls: [u64; LISTED],
    /// Requests and calls for which there was no place.
    pub unlisted: [Unlisted; 2],
    /// Address of the number of microtasks that have run; 0: not known.
    pub finished: u64,
    /// The request of the async function that went on last; `span_id` 0: none is known.
    pub active: Cause,
    /// That number when it did: as long as it is the same, it is what runs.
    pub active_finished: u64,
    /// Its object.
    pub active_object: u64,
    /// Not 0: the thread reads from a broker, and may work on what it reads.
    pub fetches: u64,
    /// Number ([`super::kin_number`]) of the async functions that were called last by one that has none, in one go.
    pub group: u64,
    /// Microtasks that had run then.
    pub group_finished: u64,
    /// What was found last.
    pub found: Cause,
    /// Where a search stands.
    pub search: [u64; 2],
    /// Intervals made.
    pub made: u64,
    /// The last of them, in a ring.
    pub intervals: [Interval; INTERVALS],
}

impl Environment {
    /// One that was not seen before.
    pub const EMPTY: Self = {
        const NONE: Cause = Cause {
            trace_id: [0; 2],
            span_id: 0,
            server: 0,
            via: 0,
            ktime_ns: 0,
            sure: 0,
        };
        const NO_REQUEST: Open = Open {
            server: 0,
            span_id: 0,
            ktime_ns: 0,
        };
        Self {
            hooks: 0,
            ids: 0,
            depth: 0,
            fields: [0; 4],
            kind: turn::OTHER,
            resource: 0,
            low: 0,
            mark: 0,
            drained: 0,
            cause: NONE,
            read_kind: turn::OTHER,
            read_cause: NONE,
            resolved: 0,
            item: 0,
            handed: 0,
            variant: 0,
            alone: 0,
            newest: 0,
            lost: lost::NOT,
            arrived: NO_REQUEST,
            open: [NO_REQUEST; LISTED],
            calls: [0; LISTED],
            unlisted: [Unlisted {
                count: 0,
                ktime_ns: 0,
            }; 2],
            finished: 0,
            active: NONE,
            active_finished: 0,
            active_object: 0,
            fetches: 0,
            group: 0,
            group_finished: 0,
            found: NONE,
            search: [0; 2],
            made: 0,
            intervals: [Interval {
                low: 0,
                high: 0,
                used: 0,
                cause: NONE,
            }; INTERVALS],
        }
    };
}

const _: () = {
    assert!(size_of::<Cause>() == 56);
    assert!(size_of::<Interval>() == 80);
    assert!(size_of::<WaitKey>() == 16);
    assert!(size_of::<Wait>() == 64);
    // With the map's own 64 bytes or so.
    assert!(size_of::<Environment>() < 65_536 - 128);
};
