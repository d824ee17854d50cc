//! Which direction of a connection moved last.
//!
//! In: when bytes of requests and of responses moved. Out: whether the connection changed its direction. Always holds:
//! what decides is when bytes moved, not when their records are taken up: a response can be taken up after a request
//! that began later. Refuses: nothing.

use agent_common::abi::direction;

/// The latest moves of a connection, in ns of CLOCK_MONOTONIC; 0 where there was none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moves {
    request_began_ns: u64,
    request_ns: u64,
    response_ns: u64,
}

impl Moves {
    /// A request began.
    pub fn request_began(&mut self, ktime_ns: u64) {
        self.request_began_ns = ktime_ns;
    }

    /// Bytes of requests moved.
    pub fn request(&mut self, ktime_ns: u64) {
        self.request_ns = ktime_ns;
    }

    /// Bytes of responses moved.
    pub fn response(&mut self, ktime_ns: u64) {
        self.response_ns = ktime_ns;
    }

    /// A request began since the latest byte of a response.
    pub const fn request_is_newer(&self) -> bool {
        self.request_began_ns > self.response_ns
    }

    /// A response's byte moved since the latest byte of a request.
    pub const fn response_is_newer(&self) -> bool {
        self.response_ns > self.request_ns
    }
}

/// The earliest time at which a segment's bytes can have moved, in ns: a write's sys_enter. What a request's reader or
/// writer does in answer to it can only be later than the request's own time; what answers an earlier one is earlier.
pub const fn moved_ktime(way: u8, enter_ktime_ns: u64, ktime_ns: u64) -> u64 {
    if way == direction::TX && enter_ktime_ns != 0 {
        enter_ktime_ns
    } else {
        ktime_ns
    }
}
