//! What PUBLISH and its answers say (MQTT 3.1.1 §3.3-3.7, MQTT 5 the same).
//!
//! In: first bytes of packets. Out: [`Publish`], ids and reasons. Always holds: nothing is copied. Refuses: a topic or properties that are
//! cut: what stood before counts.

use crate::tracecontext::{Traceparent, tracestate_is_valid};

/// PUBLISH, as far as it is used.
#[derive(Debug, Default)]
pub(super) struct Publish<'a> {
    /// Empty: its alias stands for it (MQTT 5).
    pub topic: &'a [u8],
    /// With QoS 1 and 2.
    pub id: Option<u16>,
    pub alias: Option<u16>,
    pub correlation: Option<&'a [u8]>,
    pub traceparent: Traceparent,
    pub tracestate: Option<&'a str>,
    /// What is there of the body.
    pub body: &'a [u8],
    pub body_bytes: u64,
}

impl<'a> Publish<'a> {
    /// Of a packet of `len` bytes of which the first are there.
    pub(super) fn of(first: &'a [u8], len: usize, qos: u8, is_v5: bool) -> Option<Self> {
        let mut rest = first;
        let mut publish = Self {
            topic: text(&mut rest)?,
            ..Self::default()
        };
        if qos > 0 {
            publish.id = Some(short(&mut rest)?);
        }
        if is_v5 {
            let size = variable(&mut rest)?;
            let (properties, after) = rest.split_at_checked(size)?;
            publish.properties(properties);
            rest = after;
        }
        publish.body = rest;
        publish.body_bytes = (len - (first.len() - rest.len())) as u64;
        Some(publish)
    }

    /// Unknown properties have an unknown size: what follows them is not read.
    fn properties(&mut self, mut rest: &'a [u8]) -> Option<()> {
        while let Some((&name, after)) = rest.split_first() {
            rest = after;
            match name {
                0x01 => drop(take(&mut rest, 1)?),
                0x02 => drop(take(&mut rest, 4)?),
                0x03 | 0x08 => drop(text(&mut rest)?),
                0x09 => self.correlation = Some(text(&mut rest)?),
                0x0b => drop(variable(&mut rest)?),
                0x23 => self.alias = Some(short(&mut rest)?),
                0x26 => {
                    let (name, value) = (text(&mut rest)?, text(&mut rest)?);
                    self.user(name, value);
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn user(&mut self, name: &[u8], value: &'a [u8]) {
        if name.eq_ignore_ascii_case(b"traceparent") {
            self.traceparent.add(value);
        } else if name.eq_ignore_ascii_case(b"tracestate") {
            let text = std::str::from_utf8(value).ok();
            self.tracestate = text.filter(|text| tracestate_is_valid(text));
        }
    }
}

/// Id and reason of PUBACK, PUBREC, PUBREL and PUBCOMP; no reason is success.
pub(super) fn answer(mut first: &[u8]) -> Option<(u16, u8)> {
    let id = short(&mut first)?;
    Some((id, first.first().copied().unwrap_or(0)))
}

/// Whether CONNECT begins like one of MQTT 3.1, 3.1.1 or 5; whether it is 5.
pub(super) fn connect(first: &[u8]) -> Option<bool> {
    match first {
        [0, 4, b'M', b'Q', b'T', b'T', level @ (4 | 5), ..] => Some(*level == 5),
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, ..] => Some(false),
        _ => None,
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn short(rest: &mut &[u8]) -> Option<u16> {
    let (taken, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_be_bytes(*taken))
}

/// A text or binary value with its length before it.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = short(rest)?;
    take(rest, len.into())
}

fn variable(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for at in 0..4 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
