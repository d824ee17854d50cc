//! Connection attempts that fail.
//!
//! In: state changes out of SYN_SENT. Out: CLIENT exchanges named `connect`. Always holds: an attempt is held for
//! `connect_hold_ns`, and dropped (counted) when the same process reaches the same port on an address of the other family, or on any
//! other address if it gave the attempt up itself: that is how programs try the addresses of one name (RFC 8305).
//! Refuses: attempts beyond the limit (counted).

use std::collections::VecDeque;

use agent_common::abi::{ProcessKey, StateRecord};
use rustc_hash::FxHashMap;

use crate::conn::Conn;
use crate::conn::tcp_state;
use crate::counters::Counter;
use crate::exchange::{AF_UNIX, Exchange, Ids, Outcome};
use crate::graph::{Origin, Side};
use crate::ids::first_span;
use crate::semconv;
use crate::shared::Shared;
use crate::span::TraceId;

struct Held {
    exchange: Box<Exchange>,
    error: &'static str,
    failed_ktime_ns: u64,
    /// The program closed the socket before an answer came.
    given_up: bool,
}

/// An address that a program has reached, known by an exchange.
pub(crate) struct Reached {
    goal: Goal,
    address: [u8; 16],
    began_ktime_ns: u64,
}

impl Reached {
    pub(crate) fn by(exchange: &Exchange) -> Option<Self> {
        if exchange.side == Side::Server || matches!(exchange.outcome, Outcome::Connect(_)) {
            return None;
        }
        let ends = exchange.endpoints.as_deref()?;
        Some(Self {
            goal: (exchange.process, ends.remote_port),
            address: ends.remote_addr,
            began_ktime_ns: exchange.start_ktime_ns,
        })
    }

    fn is_after(&self, held: &Held) -> bool {
        held.failed_ktime_ns <= self.began_ktime_ns
            && held.exchange.process == self.goal.0
            && held.exchange.endpoints.as_deref().is_some_and(|ends| {
                ends.remote_addr == self.address && ends.remote_port == self.goal.1
            })
    }
}

/// Linux `ENOENT`.
const ENOENT: u16 = 2;

/// Who wants to reach which port.
type Goal = (ProcessKey, u16);

/// Failed attempts that wait, and recent successes by process and port.
#[derive(Default)]
pub(crate) struct Connects {
    held: VecDeque<Held>,
    /// How many of them want to reach what.
    goals: FxHashMap<Goal, u32>,
    reached: FxHashMap<Goal, VecDeque<(u64, [u8; 16])>>,
    reached_by_age: VecDeque<(u64, Goal)>,
}

impl Connects {
    /// A state change of a connection.
    pub(crate) fn on_state(&mut self, conn: &mut Conn, record: &StateRecord, shared: &mut Shared) {
        if record.old_state != tcp_state::SYN_SENT {
            return;
        }
        let Some(attempt) = conn.attempt.take() else {
            return;
        };
        let Some(ends) = conn.endpoints.clone() else {
            return;
        };
        let ktime_ns = record.head.ktime_ns;
        if record.new_state == tcp_state::ESTABLISHED {
            conn.connect_ktime_ns = Some(attempt.began_ktime_ns);
            let key = (attempt.process, ends.remote_port);
            self.reached
                .entry(key)
                .or_default()
                .push_back((ktime_ns, ends.remote_addr));
            self.reached_by_age.push_back((ktime_ns, key));
            return;
        }
        if record.new_state != tcp_state::CLOSE {
            conn.attempt = Some(attempt);
            return;
        }
        // glibc looks for the sockets of daemons that are optional (nscd) in every program: not worth a span.
        if ends.family == AF_UNIX && record.error == ENOENT {
            shared.counters.one(Counter::ConnectNoSocket);
            return;
        }
        if self.held.len() >= shared.config.limits.connects {
            shared.counters.one(Counter::ConnectFull);
            return;
        }
        let ids = Ids::of(&attempt.ids).unwrap_or(Ids {
            span: first_span(conn.socket.sk, conn.socket.ino, 0, attempt.began_ktime_ns),
            trace: TraceId::default(),
            origin: Origin::None,
        });
        let error = if record.error == 0 {
            semconv::ERROR_TIMEOUT
        } else {
            semconv::error_of_errno(record.error)
        };
        *self
            .goals
            .entry((attempt.process, ends.remote_port))
            .or_default() += 1;
        self.held.push_back(Held {
            exchange: Box::new(Exchange {
                endpoints: Some(ends),
                ..Exchange::begun(
                    ids,
                    Side::Client,
                    attempt.process,
                    attempt.began_ktime_ns,
                    shared.epoch_offset_ns,
                )
            }),
            error,
            failed_ktime_ns: ktime_ns,
            given_up: record.error == 0,
        });
    }

    /// Lets go of attempts that were held long enough.
    pub(crate) fn release(&mut self, shared: &mut Shared, all: bool) {
        let hold_ns = shared.config.connect_hold_ns;
        while self.held.front().is_some_and(|held| {
            all || held.failed_ktime_ns.saturating_add(hold_ns) <= shared.now_ns
        }) {
            let Some(held) = self.held.pop_front() else {
                break;
            };
            self.count_off(&held);
            self.let_go(held, shared);
        }
        // A success can only matter to attempts that are held or still to fail while it is this young.
        while self
            .reached_by_age
            .front()
            .is_some_and(|&(at, _)| at.saturating_add(2 * hold_ns) < shared.now_ns)
        {
            let Some((_, key)) = self.reached_by_age.pop_front() else {
                break;
            };
            if let Some(times) = self.reached.get_mut(&key) {
                times.pop_front();
                if times.is_empty() {
                    self.reached.remove(&key);
                }
            }
        }
    }

    fn count_off(&mut self, held: &Held) {
        let Some(ends) = held.exchange.endpoints.as_deref() else {
            return;
        };
        let goal = (held.exchange.process, ends.remote_port);
        if let Some(count) = self.goals.get_mut(&goal) {
            *count -= 1;
            if *count == 0 {
                self.goals.remove(&goal);
            }
        }
    }

    fn let_go(&self, held: Held, shared: &mut Shared) {
        if self.superseded(&held, shared.config.connect_hold_ns) {
            shared.counters.one(Counter::ConnectSuperseded);
        } else {
            shared.complete(
                held.exchange,
                Outcome::Connect(held.error),
                held.failed_ktime_ns,
                held.failed_ktime_ns,
            );
        }
    }

    /// Whether attempts are held.
    pub(crate) fn are_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Lets go of attempts that an exchange with the same address may have repeated: their spans come before its own.
    /// Whether there were any.
    pub(crate) fn release_before(&mut self, reached: &Reached, shared: &mut Shared) -> bool {
        let mut released = false;
        if !self.goals.contains_key(&reached.goal) {
            return released;
        }
        let mut index = 0;
        while let Some(held) = self.held.get(index) {
            if !reached.is_after(held) {
                index += 1;
            } else if let Some(held) = self.held.remove(index) {
                self.count_off(&held);
                self.let_go(held, shared);
                released = true;
            }
        }
        released
    }

    fn superseded(&self, held: &Held, hold_ns: u64) -> bool {
        let Some(ends) = held.exchange.endpoints.as_deref() else {
            return false;
        };
        let first_ns = held
            .exchange
            .start_ktime_ns
            .max(held.failed_ktime_ns.saturating_sub(hold_ns));
        let last_ns = held.failed_ktime_ns.saturating_add(hold_ns);
        self.reached
            .get(&(held.exchange.process, ends.remote_port))
            .is_some_and(|times| {
                times.iter().any(|&(at, address)| {
                    let other_family = is_ipv4(address) != is_ipv4(ends.remote_addr);
                    (first_ns..=last_ns).contains(&at)
                        && address != ends.remote_addr
                        && (other_family || held.given_up)
                })
            })
    }
}

fn is_ipv4(address: [u8; 16]) -> bool {
    std::net::Ipv6Addr::from(address).to_ipv4_mapped().is_some()
}
