//! PostgreSQL, as far as tables are queues: one client's connection to a server.
//!
//! In: pieces of both directions (protocol 3.0 and 3.2). Out: [`Event::Sent`] for each row that an `INSERT` puts (a candidate: whether the
//! table is a queue, other connections say), [`Event::Placed`] for the row's id that it returns and [`Event::Answered`]; [`Event::Fetching`]
//! and [`Event::Delivered`] for rows that are taken with `SKIP LOCKED`; [`Event::SettledKey`] for an `UPDATE` that says what became of a row,
//! its `DELETE`, and the `ROLLBACK` of the transaction that took it. procrastinate's and pgmq's functions are known; procrastinate's
//! bookkeeping is [`Event::Done`]. Always holds: neither a query's text nor a parameter is kept, but ids, names and numbers. Refuses:
//! encrypted connections; ids of tables in a database whose name was not seen (the connection was met in its middle), unless they are uuids.
//!
//! The unit that asks for a row is the one that works on it; it asks again when it is done, on this connection or another of its pool.

mod names;
mod outcome;
mod reading;
mod request;
mod response;
mod shared;
mod sniff;
mod statement;
mod token;
mod words;

pub use sniff::is_postgres;

use self::request::{Request, ToServer};
use self::response::{FromServer, Response};
use self::shared::Shared;
use super::lane::Lane;
use super::{Conversation, Event, Keyer, Limits, Way};
use crate::stream::{Begin, Input};

/// See the module.
#[derive(Debug)]
pub struct Client {
    shared: Shared,
    requests: Lane,
    request: Request,
    responses: Lane,
    response: Response,
}

impl Client {
    /// At a connection's beginning, or in its middle.
    #[must_use]
    pub fn new(begin: Begin, limits: Limits, keyer: Keyer) -> Self {
        let is_first = begin == Begin::Boundary;
        Self {
            shared: Shared::new(limits, keyer, is_first),
            requests: Lane::new(begin),
            request: Request::new(!is_first),
            responses: Lane::new(begin),
            response: Response::default(),
        }
    }

    /// For tests: it was out of step.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn fell(&self) -> bool {
        self.requests.fell || self.responses.fell
    }
}

impl Conversation for Client {
    fn push(&mut self, way: Way, input: Input<'_>, out: &mut dyn FnMut(Event)) {
        let limit = self.shared.limits.message_bytes;
        match way {
            Way::ToBroker => {
                self.responses.turn();
                let mut side = ToServer {
                    request: &mut self.request,
                    shared: &mut self.shared,
                    out,
                };
                self.requests.push(input, limit, &mut side);
            }
            Way::ToClient => {
                self.requests.turn();
                let mut side = FromServer {
                    response: &mut self.response,
                    shared: &mut self.shared,
                    out,
                };
                self.responses.push(input, limit, &mut side);
            }
        }
    }

    fn is_hopeless(&self) -> bool {
        self.shared.is_encrypted || self.requests.is_hopeless()
    }

    fn held(&self) -> usize {
        self.shared.held() + self.requests.held() + self.responses.held() + self.request.held()
    }
}
