//! The shapes of a request's calls.
//!
//! In: a shape and a request's id. Out: the path to ask for, and the calls that must be seen. Always holds: each call's
//! path names the request, or its address does where nobody hears the path.

use suture_tests::ReceivedSpan;

/// How the program calls the leaf for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Three calls, one after the other.
    Seq,
    /// Four calls at once.
    Fanout,
    /// A call, some milliseconds of sleep, a call.
    Timer,
    /// Three calls over a pool of two kept connections that all requests share.
    Pool,
    /// An answer of 500, a connection closed without an answer, a port that refuses.
    Fail,
    /// Two calls, each made by a unit that the request started, and gives them to while it waits.
    Own,
    /// Two calls, each made by another thread while the request waits.
    Handover,
    /// A call that begins after the response.
    Background,
    /// Two calls at once and one beside a timer, in one unit.
    Select,
    /// Two calls under a lock that all requests take.
    Lock,
    /// Two calls, each made by a unit that the first such request started, for all of them.
    Lazy,
}

/// All of them.
pub const ALL: &[Shape] = &[
    Shape::Seq,
    Shape::Fanout,
    Shape::Timer,
    Shape::Pool,
    Shape::Fail,
    Shape::Own,
    Shape::Handover,
    Shape::Background,
    Shape::Select,
    Shape::Lock,
    Shape::Lazy,
];

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It is answered.
    Answered,
    /// The leaf closes without an answer; many clients then try once more.
    Closed,
    /// Nobody listens: no request is sent, and the address says for whom the attempt was.
    Refused,
}

impl Shape {
    /// Its name in paths and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seq => "seq",
            Self::Fanout => "fanout",
            Self::Timer => "timer",
            Self::Pool => "pool",
            Self::Fail => "fail",
            Self::Own => "own",
            Self::Handover => "handover",
            Self::Background => "background",
            Self::Select => "select",
            Self::Lock => "lock",
            Self::Lazy => "lazy",
        }
    }

    /// The calls for one request; the place of each is the number in its path.
    pub fn calls(self) -> &'static [Call] {
        match self {
            Self::Seq | Self::Pool | Self::Select => &[Call::Answered; 3],
            Self::Fanout => &[Call::Answered; 4],
            Self::Timer | Self::Own | Self::Handover | Self::Lock | Self::Lazy => {
                &[Call::Answered; 2]
            }
            Self::Fail => &[Call::Answered, Call::Closed, Call::Refused],
            Self::Background => &[Call::Answered],
        }
    }
}

/// The address that the victims derive from an id for a call that is refused.
pub fn refused_address(id: &str) -> String {
    let low = u16::from_str_radix(id.get(id.len().saturating_sub(4)..).unwrap_or(""), 16);
    let [high, low] = low.unwrap_or_default().to_be_bytes();
    format!("127.1.{high}.{low}")
}

/// The key of the call that a span is: its path, or the address of a refused attempt.
pub fn key_of(span: &ReceivedSpan) -> &str {
    match span.path() {
        "" => span.text("server.address"),
        path => path,
    }
}
