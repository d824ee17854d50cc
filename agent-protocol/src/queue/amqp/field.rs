//! Fields (AMQP 0-9-1 §4.2.5, with the types that RabbitMQ writes) and a message's properties.
//!
//! In: payloads of methods and content headers. Out: strings, numbers, [`Properties`]. Always holds: nothing is copied but what is kept.
//! Refuses: a field that is cut or of an unknown type; what stood before it counts.
//! Types: <https://www.rabbitmq.com/amqp-0-9-1-errata>, §3.

use super::celery;
use crate::queue::clip;
use crate::tracecontext::{Traceparent, tracestate_is_valid};

/// Takes fields off a payload's beginning; the first that is cut ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn longlong(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn shortstr(&mut self) -> Option<&'a [u8]> {
        let len = self.octet()?;
        self.take(len.into())
    }

    /// A table's or an array's own fields, or a long string. One that is cut is read as far as it is there.
    pub(super) fn longstr(&mut self) -> Option<&'a [u8]> {
        let len = self.long()? as usize;
        let len = len.min(self.0.len());
        self.take(len)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        Some(match self.octet()? {
            b't' => Value::Number((self.octet()? != 0).into()),
            b'b' => Value::Number(i8::from_be_bytes(self.array()?).into()),
            b'B' => Value::Number(self.octet()?.into()),
            b's' | b'U' => Value::Number(i16::from_be_bytes(self.array()?).into()),
            b'u' => Value::Number(self.short()?.into()),
            b'I' => Value::Number(i32::from_be_bytes(self.array()?).into()),
            b'i' => Value::Number(self.long()?.into()),
            b'l' | b'L' | b'T' => Value::Number(i64::from_be_bytes(self.array()?)),
            b'f' => self.other(4)?,
            b'd' => self.other(8)?,
            b'D' => self.other(5)?,
            b'S' => Value::Text(self.longstr()?),
            b'x' => {
                self.longstr()?;
                Value::Other
            }
            b'A' => Value::Array(Fields(self.longstr()?)),
            b'F' => Value::Table(Fields(self.longstr()?)),
            b'V' => Value::Nothing,
            _ => return None,
        })
    }

    fn other(&mut self, len: usize) -> Option<Value<'a>> {
        self.take(len).map(|_| Value::Other)
    }

    /// A table's next field.
    fn named(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        Some((self.shortstr()?, self.value()?))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(&'a [u8]),
    Number(i64),
    Table(Fields<'a>),
    Array(Fields<'a>),
    Nothing,
    Other,
}

/// What is kept of a content header.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub body_bytes: u64,
    pub correlation_id: Option<Vec<u8>>,
    pub reply_to: Option<Vec<u8>>,
    pub message_id: Option<Vec<u8>>,
    pub traceparent: Traceparent,
    pub tracestate: Option<String>,
    pub celery: celery::Headers,
    /// Times that a consumer refused it (`x-death`) or gave it back (`x-delivery-count` of quorum queues).
    pub attempts: Option<u32>,
    /// Exchange and routing key by which it was put before its first death.
    pub first_put: Option<(Vec<u8>, Vec<u8>)>,
    /// The delayed exchange keeps it.
    pub is_delayed: bool,
    /// Nothing of it was cut.
    pub whole: bool,
}

impl Properties {
    /// Of a content header; `None` when not even the body's size is there.
    pub(super) fn of(payload: &[u8], whole: bool) -> Option<Self> {
        let mut fields = Fields(payload);
        let (_class, _weight) = (fields.short()?, fields.short()?);
        let mut properties = Self {
            body_bytes: fields.longlong()?,
            ..Self::default()
        };
        properties.whole = properties.read(fields).is_some() && whole;
        Some(properties)
    }

    fn read(&mut self, mut fields: Fields<'_>) -> Option<()> {
        let flags = fields.short()?;
        let mut more = flags;
        while more & 1 != 0 {
            more = fields.short()?;
        }
        let is_set = |bit: u8| flags >> bit & 1 != 0;
        let text = |bit: u8, fields: &mut Fields<'_>| {
            Some(if is_set(bit) {
                Some(fields.shortstr()?.to_vec())
            } else {
                None
            })
        };
        for bit in [15, 14] {
            if is_set(bit) {
                fields.shortstr()?;
            }
        }
        if is_set(13) {
            let len = fields.long()? as usize;
            let is_cut = len > fields.0.len();
            self.headers(Fields(fields.take(len.min(fields.0.len()))?));
            if is_cut {
                return None;
            }
        }
        for bit in [12, 11] {
            if is_set(bit) {
                fields.octet()?;
            }
        }
        self.correlation_id = text(10, &mut fields)?;
        self.reply_to = text(9, &mut fields)?;
        let _expiration = text(8, &mut fields)?;
        self.message_id = text(7, &mut fields)?;
        Some(())
    }

    fn headers(&mut self, mut fields: Fields<'_>) {
        let mut delivered = None;
        while let Some((name, value)) = fields.named() {
            match (name, value) {
                (_, Value::Text(text)) if name.eq_ignore_ascii_case(b"traceparent") => {
                    self.traceparent.add(text);
                }
                (_, Value::Text(text)) if name.eq_ignore_ascii_case(b"tracestate") => {
                    let text = std::str::from_utf8(text).ok();
                    let text = text.filter(|text| tracestate_is_valid(text));
                    self.tracestate = text.map(str::to_owned);
                }
                (b"x-death", Value::Array(deaths)) => self.deaths(deaths),
                (b"x-delivery-count", Value::Number(count)) => {
                    delivered = u32::try_from(count).ok()
                }
                (b"x-delay", Value::Number(delay)) => self.is_delayed = delay > 0,
                _ => self.celery.add(name, value),
            }
        }
        if let Some(count) = delivered {
            self.attempts = Some(self.attempts.unwrap_or(0).saturating_add(count));
        }
        if !matches!(self.traceparent, Traceparent::Valid(_)) {
            self.tracestate = None;
        }
    }

    /// The newest death stands first, and each queue and reason once with a count.
    fn deaths(&mut self, mut deaths: Fields<'_>) {
        while let Some(Value::Table(mut death)) = deaths.value() {
            let (mut count, mut reason, mut exchange, mut key) = (0, &b""[..], None, None);
            while let Some((name, value)) = death.named() {
                match (name, value) {
                    (b"count", Value::Number(number)) => count = u32::try_from(number).unwrap_or(0),
                    (b"reason", Value::Text(text)) => reason = text,
                    (b"exchange", Value::Text(text)) => exchange = Some(text),
                    (b"routing-keys", Value::Array(mut keys)) => {
                        if let Some(Value::Text(text)) = keys.value() {
                            key = Some(text);
                        }
                    }
                    _ => {}
                }
            }
            // What expired or found no room was not tried.
            if matches!(reason, b"rejected" | b"delivery_limit") {
                self.attempts = Some(self.attempts.unwrap_or(0).saturating_add(count));
            }
            if let (Some(exchange), Some(key)) = (exchange, key) {
                let short = |text: &[u8]| text[..text.len().min(255)].to_vec();
                self.first_put = Some((short(exchange), short(key)));
            }
        }
    }

    pub(super) fn held(&self) -> usize {
        let len = |text: &Option<Vec<u8>>| text.as_ref().map_or(0, Vec::len);
        len(&self.correlation_id)
            + len(&self.reply_to)
            + len(&self.message_id)
            + self.tracestate.as_ref().map_or(0, String::len)
            + self
                .first_put
                .as_ref()
                .map_or(0, |put| put.0.len() + put.1.len())
            + self.celery.held()
    }

    /// `messaging.message.id` and the like.
    pub(super) fn text(bytes: &Option<Vec<u8>>) -> Option<String> {
        bytes.as_deref().and_then(clip::some_name)
    }
}
