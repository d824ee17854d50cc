//! Attributes in the making, written into the buffers of spans that were handed out before.
//!
//! In: keys and values; spans that nobody needs any more. Out: the attributes of one span. Always holds: a span whose
//! predecessor was given back costs no allocation unless it is larger; what is kept is bounded. Refuses: nothing.

use std::borrow::Cow;

use crate::span::{Span, Value};

/// Attributes of an ordinary span; one allocation holds them.
const ATTRIBUTES: usize = 26;
/// Buffers for texts that are kept: more than one span has.
const TEXTS_MAX: usize = 32;
/// Largest such buffer, bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// Attributes in the making, and buffers of spans that were given back.
#[derive(Default)]
pub(super) struct Attributes {
    list: Vec<(&'static str, Value)>,
    buffers: Vec<String>,
}

impl Attributes {
    /// The span is not needed any more.
    pub(super) fn take_back(&mut self, span: Span) {
        let mut list = span.attributes;
        self.keep(span.name);
        for (_, value) in list.drain(..) {
            if let Value::Str(Cow::Owned(text)) = value {
                self.keep(text);
            }
        }
        self.list = list;
    }

    fn keep(&mut self, mut text: String) {
        if self.buffers.len() < TEXTS_MAX && text.capacity() <= TEXT_BYTES_MAX {
            text.clear();
            self.buffers.push(text);
        }
    }

    /// The attributes so far, in the order they were added; the next ones belong to another span.
    pub(super) fn finish(&mut self) -> Vec<(&'static str, Value)> {
        std::mem::take(&mut self.list)
    }

    /// An empty text; give it to [`Attributes::written`] once it is complete.
    pub(super) fn buffer(&mut self) -> String {
        self.buffers.pop().unwrap_or_default()
    }

    pub(super) fn written(&mut self, key: &'static str, text: String) {
        self.push(key, Value::Str(Cow::Owned(text)));
    }

    pub(super) fn text(&mut self, key: &'static str, text: &str) {
        let mut copy = self.buffer();
        copy.push_str(text);
        self.written(key, copy);
    }

    pub(super) fn fixed(&mut self, key: &'static str, text: &'static str) {
        self.push(key, Value::Str(Cow::Borrowed(text)));
    }

    pub(super) fn int(&mut self, key: &'static str, value: impl Into<i64>) {
        self.push(key, Value::Int(value.into()));
    }

    pub(super) fn size(&mut self, key: &'static str, bytes: u64) {
        self.push(key, Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX)));
    }

    pub(super) fn yes(&mut self, key: &'static str) {
        self.push(key, Value::Bool(true));
    }

    pub(super) fn list(&mut self, key: &'static str, texts: Vec<String>) {
        self.push(key, Value::List(texts));
    }

    fn push(&mut self, key: &'static str, value: Value) {
        if self.list.capacity() == 0 {
            self.list.reserve(ATTRIBUTES);
        }
        self.list.push((key, value));
    }
}
