//! FastCGI 1.0, responder role: what web servers say to php-fpm and the like.
//!
//! In: pieces of one direction ([`crate::stream::Input`]). Out: the events of [`crate::http1`], so that a tracer need
//! not know the difference. Always holds: memory is bounded by [`Limits`], whatever lengths a record or a parameter
//! claims. Refuses: other roles; a second request multiplexed into an open one is counted and skipped.
//! Source: FastCGI Specification 1.0 (Open Market, 1996), §3 and §8; RFC 3875 for the variables and the CGI header.

mod cgi;
mod params;
pub mod record;
mod request;
mod response;

pub use request::RequestParser;
pub use response::ResponseParser;

pub use crate::stream::{Begin, Limits};
