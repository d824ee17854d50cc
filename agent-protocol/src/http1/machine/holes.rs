//! What a stream's gaps do to the open message: bytes nobody saw, records that were lost.
//!
//! In: lengths, and the last bytes of an unseen piece. Out: calls of [`Side`]. Always holds: counting goes on as long
//! as the framing tells what must have been there; after that the message is only as good as its next turn.

use crate::http1::body::Body;
use crate::http1::event::{Ended, Reason};
use crate::http1::framing::Rest;
use crate::http1::machine::{Framing, Machine, NoHead, Side, State};

/// Why the rest of a head cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// It was not captured.
    Unseen,
    /// Records were lost.
    Lost,
    /// It is longer than may be kept.
    Limit,
}

impl Machine {
    /// `n` unseen bytes. True: still in step.
    pub(super) fn skip(&mut self, n: u64, side: &mut dyn Side) -> bool {
        match &mut self.state {
            State::Boundary { .. } => {
                self.state = State::Sync {
                    hole: true,
                    told: true,
                };
                side.unparsed(Reason::UnseenHead);
                false
            }
            State::Head { .. } => {
                self.cut(Gap::Unseen, side);
                false
            }
            State::Body { body, bytes, .. } => match body {
                Body::Length(left) => {
                    let part = n.min(*left);
                    *left -= part;
                    *bytes += part;
                    if *left == 0 {
                        self.over(Ended::Length, side);
                    }
                    part == n || self.skip(n - part, side)
                }
                Body::Chunked(chunk) => {
                    let in_step = chunk.skip(n, bytes);
                    if !in_step {
                        *body = Body::Rest(Rest::new(true, false));
                    }
                    in_step
                }
                Body::Close => {
                    *bytes = bytes.saturating_add(n);
                    true
                }
                Body::Rest(rest) => {
                    rest.forget();
                    *bytes = bytes.saturating_add(n);
                    false
                }
            },
            State::Sync { .. } => {
                // The likely start is among the unseen bytes.
                self.turned = false;
                false
            }
            State::Opaque | State::Dead => false,
        }
    }

    /// The last bytes of an unseen piece, out of step.
    pub(super) fn tail(&mut self, tail: &[u8], side: &mut dyn Side) {
        if let State::Body {
            body: Body::Rest(rest),
            bytes,
            ..
        } = &mut self.state
        {
            *bytes = bytes.saturating_add(tail.len() as u64);
            if rest.ends_with(tail, false) {
                self.over_by_tail(side);
            }
        }
    }

    pub(super) fn lost(&mut self, len: Option<u64>, side: &mut dyn Side) {
        self.turned = false;
        match &mut self.state {
            State::Boundary { .. } => {
                self.state = State::Sync {
                    hole: true,
                    told: true,
                };
                side.unparsed(Reason::LostHead);
            }
            State::Sync { hole, .. } => *hole = true,
            State::Head { .. } => self.cut(Gap::Lost, side),
            State::Body { body, bytes, .. } => match (body, len) {
                (Body::Length(left), Some(n)) => {
                    let part = n.min(*left);
                    *left -= part;
                    *bytes += part;
                    if *left == 0 {
                        self.over(Ended::Length, side);
                    }
                    if part < n {
                        self.lost(Some(n - part), side);
                    }
                }
                (Body::Close, len) => *bytes = bytes.saturating_add(len.unwrap_or(0)),
                (Body::Rest(rest), len) => {
                    rest.hole = true;
                    rest.forget();
                    *bytes = bytes.saturating_add(len.unwrap_or(0));
                }
                (body @ (Body::Length(_) | Body::Chunked(_)), len) => {
                    let chunked = match body {
                        Body::Chunked(chunk) => {
                            if len.is_some_and(|n| chunk.skip(n, bytes)) {
                                return;
                            }
                            true
                        }
                        _ => false,
                    };
                    *body = Body::Rest(Rest::new(chunked, true));
                    side.unparsed(Reason::LostBody);
                }
            },
            State::Opaque | State::Dead => {}
        }
    }

    /// The rest of the open head cannot be had.
    pub(super) fn cut(&mut self, gap: Gap, side: &mut dyn Side) {
        let State::Head { resynced } = self.state else {
            return;
        };
        match self.deliver_cut(resynced, side) {
            Ok(Framing::Opaque) => self.follow(Framing::Opaque, side),
            // No turn, no message: what follows is the rest of this head, in as many pieces as may be.
            Ok(Framing::Interim) if gap == Gap::Limit => {
                self.state = State::Dead;
                side.unparsed(Reason::Midstream);
            }
            Ok(Framing::Interim) => {
                self.state = State::Sync {
                    hole: true,
                    told: false,
                }
            }
            Ok(framing) => {
                // Over the limit the bytes go on being seen: no tail of theirs means more than another.
                let chunked = gap != Gap::Limit && framing == Framing::Chunked;
                self.misses = 0;
                self.state = State::Body {
                    body: Body::Rest(Rest::new(chunked, gap == Gap::Lost)),
                    bytes: 0,
                    unsure: false,
                };
            }
            Err(NoHead::Partial) => self.not_http(Reason::FirstLineCut, side),
            Err(NoHead::Bad) => self.not_http(Reason::NotHttp, side),
        }
    }
}
