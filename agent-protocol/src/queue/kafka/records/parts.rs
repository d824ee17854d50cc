//! The parts of a record: its key, its value, its headers.
//!
//! In: the front of what a record has left. Out: how many bytes a part used and skips, and the next part. Always holds: of a value only its
//! first bytes are looked at; names of headers that nobody asks for are skipped unread. Refuses: lengths that the record cannot have.

use super::{Around, At, Found, Records, Wanted};
use crate::queue::kafka::wire::element;
use crate::queue::lane::Step;
use crate::queue::{HASHED_BYTES, NAME_MAX};
use crate::tracecontext::TRACESTATE_MAX;

/// Longest name of a header that is asked for.
const HEADER_MAX: i64 = 16;

pub(super) type Part = Result<(usize, u64), Step>;

impl Records {
    pub(super) fn record(&mut self, view: &[u8]) -> Part {
        let ((len, head, delta, key), used) = element(view, false, |reader| {
            let len = reader.signed(5)?;
            let before = reader.used();
            reader.i8()?;
            reader.signed(10)?;
            let delta = reader.signed(5)?;
            let key = reader.signed(5)?;
            Ok((len, before, delta, key))
        })?;
        let (Ok(len), Ok(delta)) = (u64::try_from(len), i32::try_from(delta)) else {
            return Err(Step::Broken("record"));
        };
        if delta < 0 {
            return Err(Step::Broken("record"));
        }
        // The length's own bytes are taken with the others.
        self.record_left = len + head as u64;
        self.delta = delta;
        self.found = Found::default();
        self.state.clear();
        self.at = if key > 0 { At::Key(key) } else { At::ValueLen };
        Ok((used, 0))
    }

    pub(super) fn key(&mut self, view: &[u8], len: i64) -> Part {
        let len = len as u64;
        if len > NAME_MAX as u64 {
            self.at = At::ValueLen;
            return Ok((0, len));
        }
        let (key, used) = element(view, false, |reader| reader.raw(len as usize))?;
        self.found.key = std::str::from_utf8(key)
            .ok()
            .filter(|key| !key.contains(char::is_control))
            .map(str::to_owned);
        self.at = At::ValueLen;
        Ok((used, 0))
    }

    pub(super) fn value_len(&mut self, view: &[u8], around: &Around<'_>) -> Part {
        let (len, used) = element(view, false, |reader| reader.signed(5))?;
        let len = len.max(0) as u64;
        self.found.body_bytes = len;
        let is_hashed = len > 0
            && !around.destination.is_empty()
            && HASHED_BYTES.min(len as usize) <= around.limit;
        self.at = if is_hashed {
            At::Value(len)
        } else {
            At::Headers
        };
        Ok((used, if is_hashed { 0 } else { len }))
    }

    pub(super) fn value(&mut self, view: &[u8], len: u64, around: &Around<'_>) -> Part {
        let wanted = HASHED_BYTES.min(len as usize);
        let (value, used) = element(view, false, |reader| reader.raw(wanted))?;
        self.found.payload = around.keyer.payload(around.destination, value, len);
        self.at = At::Headers;
        Ok((used, len - wanted as u64))
    }

    pub(super) fn headers(&mut self, view: &[u8]) -> Part {
        let (count, used) = element(view, false, |reader| reader.signed(5))?;
        self.headers_left = u32::try_from(count).map_err(|_| Step::Broken("record"))?;
        self.at = At::HeaderName;
        Ok((used, 0))
    }

    pub(super) fn header_name(&mut self, view: &[u8]) -> Part {
        let (read, used) = element(view, false, |reader| {
            let len = reader.signed(5)?;
            match len {
                0..=HEADER_MAX => reader.raw(len as usize).map(|name| (name, 0)),
                _ => Ok((&b""[..], len.max(0) as u64)),
            }
        })?;
        let (name, skip) = read;
        self.at = At::HeaderValue(match name {
            b"traceparent" => Wanted::Traceparent,
            b"tracestate" => Wanted::Tracestate,
            _ => Wanted::Nothing,
        });
        Ok((used, skip))
    }

    pub(super) fn header_value(&mut self, view: &[u8], wanted: Wanted) -> Part {
        let (read, used) = element(view, false, |reader| {
            let len = reader.signed(5)?.max(0);
            if wanted == Wanted::Nothing || len > TRACESTATE_MAX as i64 {
                return Ok((None, len as u64));
            }
            reader.raw(len as usize).map(|value| (Some(value), 0))
        })?;
        let (value, skip) = read;
        match wanted {
            Wanted::Nothing => {}
            Wanted::Traceparent => self.found.traceparent.add(value.unwrap_or_default()),
            Wanted::Tracestate => {
                self.state.clear();
                self.state
                    .push_str(std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default());
            }
        }
        self.headers_left -= 1;
        self.at = At::HeaderName;
        Ok((used, skip))
    }
}
