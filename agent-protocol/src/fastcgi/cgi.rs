//! The header a CGI program writes before its body (RFC 3875 §6).
//!
//! In: its lines, with [`STATUS_LINE`] before them. Out: a [`ResponseHead`]. Refuses: what httparse cannot read.

use crate::http1::framing::Length;
use crate::http1::head;
use crate::http1::request::keep_extra;
use crate::http1::{ResponseHead, Version};
use crate::stream::Limits;

/// What a CGI header lacks to be read like the head of an HTTP response.
pub(super) const STATUS_LINE: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// Reads a CGI header (RFC 3875 §6.3): a status line was put before it.
pub(super) fn cgi_head(cgi: &[u8], limits: &Limits) -> Option<ResponseHead> {
    head::response(cgi, false, &mut |parts| {
        let mut status = None;
        let mut redirect = false;
        let mut length = Length::Absent;
        let mut extra = Vec::new();
        for header in parts.headers {
            match header.name.len() {
                6 if header.name.eq_ignore_ascii_case("status") => {
                    let digits = header
                        .value
                        .get(..3)
                        .and_then(|digits| std::str::from_utf8(digits).ok());
                    status = digits
                        .and_then(|digits| digits.parse().ok())
                        .filter(|status| *status >= 100);
                }
                8 if header.name.eq_ignore_ascii_case("location") => {
                    redirect = !header.value.is_empty()
                }
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    length.add(header.value)
                }
                _ => {}
            }
            keep_extra(&mut extra, limits, header.name, header.value);
        }
        ResponseHead {
            // §6.2.3: a client redirect without a status is a 302.
            status: status.unwrap_or(if redirect { 302 } else { 200 }),
            version: Version::Http11,
            content_length: match length {
                Length::Known(bytes) => Some(bytes),
                Length::Absent | Length::Invalid => None,
            },
            upgrade: None,
            extra,
            head_bytes: (parts.len - STATUS_LINE.len()) as u64,
            complete: false,
            resynced: false,
        }
    })
    .ok()
}
