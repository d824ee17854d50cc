//! HTTP/1.0 and 1.1 (RFC 9110, RFC 9112).
//!
//! In: pieces of one direction ([`crate::stream::Input`]). Out: [`RequestEvent`] or [`ResponseEvent`]. Always holds:
//! events come as `Begin (Head End | Unparsed)`, where a `Head` may be followed by one `Unparsed` before its `End`
//! (how long the message is could not be told: it ends at a turn); cutting a piece of bytes in two changes nothing
//! but the push in which an event comes. Refuses: what is not HTTP/1, once, and waits for the next turn.

pub(crate) mod body;
mod event;
pub mod framing;
pub(crate) mod head;
mod machine;
pub(crate) mod request;
mod response;
mod target;

pub use event::{
    BodyEnd, Ended, Method, Reason, RequestEvent, RequestHead, RequestMethod, ResponseEvent,
    ResponseHead, USER_AGENT_MAX, Version,
};
pub use head::is_token_byte;
pub use request::RequestParser;
pub use response::ResponseParser;
pub use target::{Target, TargetForm};

pub use crate::stream::{Begin, Limits};
