//! The end of a connection.
//!
//! In: state changes of its socket, and the moment after which no record of it can come any more. Out: its open
//! exchanges, failed or unfinished. Always holds: after [`Conn::finish`] nothing is open. Refuses: to end anything at
//! the state change itself, because reads and writes that happened before it may be recorded after it.

use agent_common::abi::{SHUT_BOTH, StateRecord};

use super::{Conn, Scratch};
use crate::exchange::{Exchange, Outcome};
use crate::graph::Side;
use crate::semconv;
use crate::shared::Shared;

/// TCP states of Linux `include/net/tcp_states.h` that are looked at.
pub(crate) mod tcp_state {
    /// TCP_ESTABLISHED
    pub(crate) const ESTABLISHED: u8 = 1;
    /// TCP_SYN_SENT
    pub(crate) const SYN_SENT: u8 = 2;
    /// TCP_FIN_WAIT1: this end closed first.
    pub(crate) const FIN_WAIT1: u8 = 4;
    /// TCP_CLOSE
    pub(crate) const CLOSE: u8 = 7;
    /// TCP_CLOSE_WAIT: the peer closed first.
    pub(crate) const CLOSE_WAIT: u8 = 8;
    /// TCP_LAST_ACK: this end closed after the peer.
    pub(crate) const LAST_ACK: u8 = 9;
}

impl Conn {
    /// A state change that is not about a connection attempt.
    pub(crate) fn on_state(&mut self, record: &StateRecord, shared: &mut Shared) {
        self.last_ktime_ns = record.head.ktime_ns;
        if self.errno == 0 {
            self.errno = record.error;
        }
        // The kernel side may leave the change to CLOSE_WAIT itself out.
        if record.old_state == tcp_state::CLOSE_WAIT {
            self.peer_closed |= self.local_close_ktime_ns.is_none();
        }
        let is_closed = matches!(
            record.new_state,
            tcp_state::FIN_WAIT1 | tcp_state::LAST_ACK | tcp_state::CLOSE
        );
        if is_closed && self.lane.is_some() {
            shared.broker_left(self.socket, record.head.ktime_ns);
        }
        match record.new_state {
            tcp_state::FIN_WAIT1 | tcp_state::LAST_ACK if self.local_close_ktime_ns.is_none() => {
                self.local_close_ktime_ns = Some(record.head.ktime_ns);
                self.is_shut = record.shutdown == SHUT_BOTH;
                shared
                    .closing
                    .push_back((record.head.ktime_ns, self.socket));
            }
            tcp_state::CLOSE_WAIT => self.peer_closed |= self.local_close_ktime_ns.is_none(),
            tcp_state::CLOSE if self.closed_ktime_ns.is_none() => {
                self.closed_ktime_ns = Some(record.head.ktime_ns);
                shared
                    .closing
                    .push_back((record.head.ktime_ns, self.socket));
            }
            _ => {}
        }
    }

    /// This end closed or shut down its sending side: a server's response can have no more bytes, and a client that closed
    /// waits for none. (The connection itself ends when the peer says so: 40 ms later at the least where the peer's program
    /// does not read, because it delays its acknowledgement, and perhaps never.)
    pub(crate) fn finish_egress(&mut self, shared: &mut Shared, scratch: &mut Scratch) {
        let Some(parsers) = &self.parsers else {
            return;
        };
        if parsers.side == Side::Client {
            if self.is_shut {
                self.finish(shared, scratch);
            }
        } else {
            self.drain_parked(true, shared, scratch);
            self.end_responses(
                self.local_close_ktime_ns.unwrap_or(self.last_ktime_ns),
                shared,
                scratch,
            );
        }
    }

    /// The direction that carries responses has ended.
    fn end_responses(&mut self, ktime_ns: u64, shared: &mut Shared, scratch: &mut Scratch) {
        if let Some(parsers) = &mut self.parsers {
            scratch.responses.clear();
            parsers.response.end(&mut scratch.responses);
            let mut events = std::mem::take(&mut scratch.responses);
            self.take_responses(&mut events, ktime_ns, ktime_ns, shared);
            scratch.responses = events;
        }
    }

    /// No record of this connection comes any more: everything open on it is over.
    pub(crate) fn finish(&mut self, shared: &mut Shared, scratch: &mut Scratch) {
        self.drain_parked(true, shared, scratch);
        let shut = self.local_close_ktime_ns.filter(|_| {
            self.is_shut
                && self
                    .parsers
                    .as_ref()
                    .is_some_and(|parsers| parsers.side == Side::Client)
        });
        let closed = shut.or(self.closed_ktime_ns).unwrap_or(self.last_ktime_ns);
        self.end_responses(closed, shared, scratch);
        if let Some(mut lane) = self.lane.take() {
            let error = if self.errno == 0 {
                semconv::ERROR_CLOSED
            } else {
                semconv::error_of_errno(self.errno)
            };
            lane.finish(error, closed, shared);
        }
        while let Some(exchange) = self.open.pop_front() {
            // Bytes of a response that could not be read are a response all the same.
            let outcome = if exchange.response_unseen {
                Outcome::Unseen
            } else {
                Outcome::Failed(self.failure(&exchange, shared))
            };
            let end = match exchange.side {
                _ if exchange.response_unseen => self.last_response_ktime_ns,
                // What its program knew first: it may try again before it closes.
                Side::Client => [self.local_close_ktime_ns, self.broken_ktime_ns]
                    .into_iter()
                    .flatten()
                    .fold(closed, u64::min),
                Side::Server => closed,
            };
            shared.complete(exchange, outcome, end, closed);
        }
        self.unpark(shared);
    }

    /// The tracer stops, or the connection was silent for too long: what is open becomes spans that say so.
    pub(crate) fn abandon(&mut self, shared: &mut Shared, scratch: &mut Scratch) -> u64 {
        self.drain_parked(true, shared, scratch);
        let mut count = match self.lane.take() {
            Some(mut lane) => lane.abandon(self.last_ktime_ns, shared),
            None => 0,
        };
        while let Some(exchange) = self.open.pop_front() {
            count += 1;
            let end = if exchange.response_begun {
                self.last_response_ktime_ns
            } else {
                self.last_ktime_ns
            };
            shared.complete(exchange, Outcome::Unfinished, end, self.last_ktime_ns);
        }
        self.unpark(shared);
        count
    }

    /// `error.type` of an exchange that was cut.
    pub(super) fn failure(&self, exchange: &Exchange, shared: &Shared) -> &'static str {
        if shared.exited.contains_key(&exchange.process) {
            return semconv::ERROR_PROCESS_EXIT;
        }
        if self.errno != 0 {
            return semconv::error_of_errno(self.errno);
        }
        let gave_up = exchange.side == Side::Client
            && self.local_close_ktime_ns.is_some()
            && !self.peer_closed
            && !exchange.response_begun;
        if gave_up {
            semconv::ERROR_TIMEOUT
        } else {
            semconv::ERROR_CLOSED
        }
    }
}
