//! What the two directions of a connection know of each other.
//!
//! In: requests and responses as they begin. Out: which request a response answers. Always holds: bounded. Refuses:
//! to guess after more requests than the bound were unanswered.

use std::collections::VecDeque;

use agent_trace::moves::Moves;

/// Requests that may be unanswered.
const UNANSWERED_MAX: usize = 256;

/// What a response's framing depends on (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Head,
    Connect,
    Other,
    Unknown,
}

/// A request without a final response.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    asked: Asked,
    /// It is the first one since the connection changed its direction.
    burst: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    unanswered: VecDeque<Unanswered>,
    /// The latest of them is still being read.
    receiving: bool,
    /// The next request that begins is the first one since the connection changed its direction.
    pub(super) burst: bool,
    /// Responses may have passed that were not seen.
    hole: bool,
    /// What the heads of this segment answer, where a hole has been settled since it began: agent-trace tells the
    /// parser what was asked before it settles anything.
    before: Option<VecDeque<Asked>>,
    /// A request began in this segment.
    began: bool,
    pub(super) moves: Moves,
}

impl Turns {
    /// A request begins.
    pub(super) fn ask(&mut self) {
        if self.unanswered.len() >= UNANSWERED_MAX {
            self.unanswered.clear();
        }
        self.unanswered.push_back(Unanswered {
            asked: Asked::Unknown,
            burst: std::mem::take(&mut self.burst),
        });
        self.receiving = true;
        self.begin();
    }

    /// A request begins of which nothing is needed for its response.
    pub(super) fn begin(&mut self) {
        self.began = true;
    }

    /// A segment is over.
    pub(super) fn moved(&mut self, is_request: bool, ktime_ns: u64) {
        if is_request {
            self.moves.request(ktime_ns);
        } else {
            self.moves.response(ktime_ns);
        }
        if std::mem::take(&mut self.began) {
            self.moves.request_began(ktime_ns);
        }
    }

    /// Its head is over.
    pub(super) fn asked(&mut self, asked: Asked) {
        if std::mem::take(&mut self.receiving)
            && let Some(latest) = self.unanswered.back_mut()
        {
            latest.asked = asked;
        }
    }

    /// It was none.
    pub(super) fn take_back(&mut self) {
        if std::mem::take(&mut self.receiving) {
            self.unanswered.pop_back();
        }
    }

    /// A response, or several, may have passed unseen.
    pub(super) fn miss(&mut self) {
        self.hole = true;
    }

    /// A segment of responses begins.
    pub(super) fn answers(&mut self, hole: bool) {
        self.before = (self.hole || hole).then(|| {
            self.unanswered
                .iter()
                .map(|request| request.asked)
                .collect()
        });
    }

    /// A response begins. After a hole it answers the latest burst of requests.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.hole)
            && let Some(burst) = self.unanswered.iter().rposition(|request| request.burst)
        {
            self.unanswered.drain(..burst);
        }
    }

    /// A final response's head is over.
    pub(super) fn answer(&mut self) -> Asked {
        let answered = self.unanswered.pop_front();
        self.receiving &= !self.unanswered.is_empty();
        let answered = answered.map(|request| request.asked);
        match &mut self.before {
            Some(before) => before.pop_front(),
            None => answered,
        }
        .unwrap_or(Asked::Unknown)
    }
}
