//! What happens because time passes.
//!
//! In: ticks. Out: connections ended, spans made ready, tables swept. Always holds: nothing is taken for final before
//! every record made before it has been delivered, which a tick `linger_ns` later says. Refuses: clocks that go back.

use std::collections::VecDeque;

use agent_common::abi::SocketKey;

use super::Tracer;
use crate::connect::Reached;
use crate::counters::Counter;
use crate::exchange::{Entry, Exchange};
use crate::graph::Decision;

/// ns of CLOCK_MONOTONIC between two sweeps of the tables.
const SWEEP_NS: u64 = 5_000_000_000;
/// Age without a byte at which a connection with nothing open is forgotten, ns.
const CONN_IDLE_NS: u64 = 600_000_000_000;
/// The same of a broker's client, ns: a worker waits on it for its next message, perhaps over night, and may owe acks there.
const BROKER_IDLE_NS: u64 = 86_400_000_000_000;
/// Age without a byte at which an open exchange is cut, ns.
const EXCHANGE_STALE_NS: u64 = 3_600_000_000_000;
/// How long an ended process is remembered, ns.
const EXITED_KEEP_NS: u64 = 5_000_000_000;
/// How long a process of which nothing is heard is remembered, ns.
const PROCESS_KEEP_NS: u64 = 3_600_000_000_000;

/// How long the addresses of a connection that has not spoken a known protocol are kept, ns.
const UNSPOKEN_KEEP_NS: u64 = 10_000_000_000;

/// How many exchanges before its turn an exchange is asked for; halfway what it points to.
const AHEAD: usize = 8;

impl Tracer {
    pub(super) fn on_tick(&mut self, ktime_ns: u64, epoch_offset_ns: u64) {
        self.shared.now_ns = self.shared.now_ns.max(ktime_ns);
        self.shared.epoch_offset_ns = epoch_offset_ns;
        self.close_conns(false);
        let Self {
            shared,
            conns,
            scratch,
            connects,
            ..
        } = self;
        while let Some(socket) = due(&mut shared.parked, shared.now_ns) {
            if let Some(conn) = conns.get_mut(&socket) {
                conn.drain_parked(true, shared, scratch);
            }
        }
        while let Some(socket) = due(&mut shared.idle, shared.now_ns) {
            if let Some(conn) = conns.get_mut(&socket) {
                conn.on_idle(shared, scratch);
            }
        }
        connects.release(shared, false);
        shared.end_ticks();
        shared.release_waiting(false);
    }

    /// Ends connections that were closed long enough ago that no record of them can come any more.
    pub(super) fn close_conns(&mut self, all: bool) {
        let Self {
            shared,
            conns,
            scratch,
            ..
        } = self;
        while let Some(&(at, socket)) = shared.closing.front() {
            if !all && at.saturating_add(shared.config.linger_ns) > shared.now_ns {
                break;
            }
            shared.closing.pop_front();
            let Some(conn) = conns.get_mut(&socket) else {
                continue;
            };
            match conn.closed_ktime_ns {
                Some(closed)
                    if all || closed.saturating_add(shared.config.linger_ns) <= shared.now_ns =>
                {
                    conn.finish(shared, scratch);
                    conns.remove(&socket);
                }
                // If it is closed, its own entry is still to come.
                _ => conn.finish_egress(shared, scratch),
            }
        }
    }

    /// The next exchange that has waited long enough for its parents' records and gets a span.
    pub(super) fn next_due(&mut self) -> Option<(Box<Exchange>, Decision)> {
        let Self {
            shared, connects, ..
        } = self;
        loop {
            let (at, exchange) = shared.done.next()?;
            if !self.finished && at.saturating_add(shared.config.linger_ns) > shared.now_ns {
                if shared.done.len() <= shared.config.limits.lingering {
                    return None;
                }
                shared.counters.one(Counter::LingerFull);
            }
            if connects.are_held()
                && let Some(reached) = Reached::by(exchange)
                && connects.release_before(&reached, shared)
            {
                continue;
            }
            let exchange = shared.done.take()?;
            let exchange = match self.finished {
                true => exchange,
                false => match shared.waits(at, exchange) {
                    Some(exchange) => exchange,
                    None => continue,
                },
            };
            if let Some(later) = shared.done.after_next(AHEAD) {
                later.fetch();
            }
            if let Some(later) = shared.done.after_next(AHEAD / 2)
                && let Entry::Entered(slot) = later.entry
            {
                shared.graph.fetch(slot);
                later.texts.fetch();
            }
            let decision = match exchange.entry {
                Entry::Entered(slot) => shared.graph.decide(
                    slot,
                    exchange.ids.span,
                    shared.now_ns,
                    &mut shared.counters,
                ),
                Entry::Pending | Entry::Refused => None,
            };
            let left_out = match decision {
                None => Counter::ExchangesFull,
                Some(_) if exchange.ignored && exchange.is_quiet => Counter::CallQuiet,
                Some(_) if exchange.ignored => Counter::PathIgnored,
                Some(decision) if !decision.sampled => Counter::NotSampled,
                Some(decision) => return Some((exchange, decision)),
            };
            shared.counters.one(left_out);
            shared.take_back(exchange);
        }
    }

    /// Sweeps the tables every now and then. Not before all spans of a tick are out: they need what is in the tables.
    pub(super) fn sweep_if_due(&mut self) {
        if self.shared.now_ns >= self.next_sweep_ns {
            self.next_sweep_ns = self.shared.now_ns.saturating_add(SWEEP_NS);
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let now_ns = self.shared.now_ns;
        self.shared.graph.sweep(now_ns);
        self.shared.sweep_work(now_ns);
        self.shared.sweep_ticks(now_ns);
        self.shared.attempts.sweep(now_ns);
        self.shared.request_ids.sweep(now_ns);
        self.shared.keys.sweep(now_ns, &mut self.shared.counters);
        let Self {
            shared,
            conns,
            scratch,
            processes,
            renderer,
            ..
        } = self;
        let mut stale: Vec<SocketKey> = Vec::new();
        conns.retain(|&socket, conn| {
            let age_ns = now_ns.saturating_sub(conn.last_ktime_ns);
            if conn.is_unspoken() && age_ns > UNSPOKEN_KEEP_NS {
                return false;
            }
            let idle_ns = if conn.is_with_a_broker() {
                BROKER_IDLE_NS
            } else {
                CONN_IDLE_NS
            };
            if conn.is_quiet() && conn.closed_ktime_ns.is_none() && age_ns > idle_ns {
                shared.counters.one(Counter::ConnectionIdle);
                return false;
            }
            if age_ns > EXCHANGE_STALE_NS.max(idle_ns) {
                stale.push(socket);
            }
            true
        });
        stale.sort_unstable();
        for socket in stale {
            if let Some(mut conn) = conns.remove(&socket) {
                let count = conn.abandon(shared, scratch);
                shared.counters.add(Counter::ExchangeStale, count);
            }
        }
        processes.retain(|&process, &mut seen| {
            let keep = seen.saturating_add(PROCESS_KEEP_NS) > now_ns;
            if !keep {
                renderer.forget(process);
            }
            keep
        });
        shared.exited.retain(|&process, &mut at| {
            let keep = at.saturating_add(EXITED_KEEP_NS) > now_ns;
            if !keep {
                processes.remove(&process);
                renderer.forget(process);
            }
            keep
        });
    }
}

/// The next socket of a queue whose time has come.
fn due(queue: &mut VecDeque<(u64, SocketKey)>, now_ns: u64) -> Option<SocketKey> {
    match queue.front() {
        Some(&(at, socket)) if at <= now_ns => {
            queue.pop_front();
            Some(socket)
        }
        _ => None,
    }
}
