//! The batches of a produce request or a fetch response.
//!
//! In: the front of a `records` field, piece by piece. Out: a [`Found`] for each record, to a [`Sink`]. Always holds: of a record at most
//! its longest wanted field is held; no more than a budget of records is given; a batch whose records cannot be read (compressed and too
//! large, or unseen) still gives its records by their place and by the batch, when none is missing in it. Refuses: message sets of
//! before 0.11 (magic 0 and 1), control batches.

mod parts;

use super::batch::{Batch, read_batch};
use super::unpack::unpack;
use super::wire::element;
use crate::queue::lane::Step;
use crate::queue::{Key, Keyer};
use crate::tracecontext::{Traceparent, tracestate_is_valid};

/// Records that are given of one partition of a produce request, or of one fetch response; the others are only counted.
pub const RECORDS_MAX: u32 = 100;
/// Bytes of a batch before its records.
const HEAD_BYTES: u64 = 61;
/// Of these, what the batch's own length counts.
const COUNTED_BYTES: i32 = 49;
/// Most bytes a compressed batch is unpacked to; records beyond are known by the batch alone.
const UNPACKED_MAX: usize = 64 * 1024;

/// Who wants the records.
pub(super) trait Sink {
    /// A record, `delta` after the batch's base offset.
    fn record(&mut self, batch: &Batch, delta: i32, found: Found);
    /// Records or batches that are not given.
    fn unparsed(&mut self, why: &'static str);
    /// The batch's records are not for the application (its transaction was aborted).
    fn is_void(&mut self, batch: &Batch) -> bool;
    /// Records before this delta were not asked for: brokers send whole batches.
    fn first(&self, batch: &Batch) -> i32;
}

/// What is kept of a record.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) payload: Option<Key>,
    pub(super) traceparent: Traceparent,
    pub(super) tracestate: Option<String>,
    pub(super) key: Option<String>,
    pub(super) body_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Batch,
    Packed,
    Record,
    Key(i64),
    ValueLen,
    Value(u64),
    Headers,
    HeaderName,
    HeaderValue(Wanted),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Traceparent,
    Tracestate,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Records {
    at: At,
    /// Bytes of the field, of the batch's records and of the record that are to come.
    left: u64,
    batch_left: u64,
    record_left: u64,
    batch: Batch,
    /// Records of this batch that were given, and how many more may be.
    given: i32,
    budget: u32,
    delta: i32,
    headers_left: u32,
    found: Found,
    state: String,
}

/// What stays the same for a field.
pub(super) struct Around<'a> {
    pub(super) keyer: &'a Keyer,
    /// Of the topic, as the payload's destination; empty when it is not known.
    pub(super) destination: &'a [u8],
    pub(super) limit: usize,
}

impl Records {
    /// Begins a field of so many bytes.
    pub(super) fn begin(&mut self, bytes: u32, budget: u32) {
        self.left = u64::from(bytes);
        self.at = At::Batch;
        self.batch_left = 0;
        self.budget = budget;
    }

    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    pub(super) fn budget(&self) -> u32 {
        self.budget
    }

    pub(super) fn held(&self) -> usize {
        self.state.capacity() + self.found.key.as_ref().map_or(0, String::capacity)
    }

    pub(super) fn step(&mut self, view: &[u8], around: &Around<'_>, sink: &mut dyn Sink) -> Step {
        let view = &view[..view
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX))];
        let step = match self.at {
            At::Batch => self.begin_batch(view, around, sink),
            At::Packed => self.packed(view, around, sink),
            _ => self.in_record(view, around, sink),
        };
        if let Step::Took { used, skip } = step {
            match self.left.checked_sub(used as u64 + skip) {
                Some(left) => self.left = left,
                None => return Step::Broken("records"),
            }
        }
        match step {
            // What cannot come inside of the field is not waited for.
            Step::More if view.len() as u64 == self.left => Step::Broken("records"),
            step => step,
        }
    }

    /// Nothing more of the batch will come: its other records are known by the batch.
    pub(super) fn cut(&mut self, sink: &mut dyn Sink) {
        if self.at != At::Batch {
            self.blind(sink);
        }
        self.left = 0;
    }

    fn begin_batch(&mut self, view: &[u8], around: &Around<'_>, sink: &mut dyn Sink) -> Step {
        let skip_all = Step::Took {
            used: 0,
            skip: self.left,
        };
        // A broker cuts the last batch where its limit of bytes is.
        if self.left < HEAD_BYTES {
            return skip_all;
        }
        let ((batch, len, magic), used) = match element(view, false, read_batch) {
            Ok(read) => read,
            Err(step) => return step,
        };
        let (Some(body), true) = (len.checked_sub(COUNTED_BYTES), len >= COUNTED_BYTES) else {
            return Step::Broken("batch");
        };
        let body = body as u64;
        if self.left - HEAD_BYTES < body {
            return skip_all;
        }
        if self.budget == 0 {
            sink.unparsed("records");
            return skip_all;
        }
        let skip_batch = Step::Took { used, skip: body };
        if magic != 2 {
            sink.unparsed("message_set");
            return skip_batch;
        }
        if batch.count < 0 || batch.last_delta < 0 {
            return Step::Broken("batch");
        }
        self.batch = batch;
        self.given = 0;
        if sink.is_void(&batch) || batch.is_control || batch.count == 0 {
            return skip_batch;
        }
        if batch.packing != 0 && body > around.limit as u64 {
            self.blind(sink);
            return skip_batch;
        }
        self.batch_left = body;
        self.at = if batch.packing == 0 {
            At::Record
        } else {
            At::Packed
        };
        Step::Took { used, skip: 0 }
    }

    /// The records of the batch that were not read, when none is missing in it: then they follow each other.
    fn blind(&mut self, sink: &mut dyn Sink) {
        self.at = At::Batch;
        if self.batch.last_delta.checked_add(1) != Some(self.batch.count) {
            sink.unparsed("records");
            return;
        }
        self.given = self.given.max(sink.first(&self.batch));
        while self.given < self.batch.count {
            if self.budget == 0 {
                sink.unparsed("records");
                return;
            }
            self.budget -= 1;
            sink.record(&self.batch, self.given, Found::default());
            self.given += 1;
        }
    }

    fn packed(&mut self, view: &[u8], around: &Around<'_>, sink: &mut dyn Sink) -> Step {
        let body = self.batch_left as usize;
        let Some(packed) = view.get(..body) else {
            return Step::More;
        };
        let took = Step::Took {
            used: body,
            skip: 0,
        };
        let plain = unpack(self.batch.packing, packed, UNPACKED_MAX).unwrap_or_default();
        self.at = At::Record;
        // Where the output was cut, the last record is cut; a batch that says more than it has ends there too.
        self.batch_left = plain.len() as u64;
        let mut rest = &plain[..];
        while self.at != At::Batch {
            match self.in_record(rest, around, sink) {
                Step::Took { used, skip } => {
                    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                    rest = rest.get(used.saturating_add(skip)..).unwrap_or_default();
                }
                _ => self.blind(sink),
            }
        }
        took
    }

    fn in_record(&mut self, view: &[u8], around: &Around<'_>, sink: &mut dyn Sink) -> Step {
        if self.at == At::Record && self.budget == 0 {
            sink.unparsed("records");
            self.at = At::Batch;
            return Step::Took {
                used: 0,
                skip: std::mem::take(&mut self.batch_left),
            };
        }
        let most = usize::try_from(self.batch_left).unwrap_or(usize::MAX);
        let view = &view[..view.len().min(most)];
        let step = match self.at {
            At::Record => self.record(view),
            At::Key(len) => self.key(view, len),
            At::ValueLen => self.value_len(view, around),
            At::Value(len) => self.value(view, len, around),
            At::Headers => self.headers(view),
            At::HeaderName => self.header_name(view),
            At::HeaderValue(wanted) => self.header_value(view, wanted),
            At::Batch | At::Packed => Err(Step::Broken("records")),
        };
        let (used, skip) = match step {
            Ok(read) => read,
            Err(Step::More) if view.len() as u64 == self.batch_left => {
                return Step::Broken("record");
            }
            Err(step) => return step,
        };
        let moved = used as u64 + skip;
        let (Some(batch_left), Some(record_left)) = (
            self.batch_left.checked_sub(moved),
            self.record_left.checked_sub(moved),
        ) else {
            return Step::Broken("record");
        };
        self.batch_left = batch_left;
        self.record_left = record_left;
        // After the count of headers, or after the last one's value.
        if self.at != At::HeaderName || self.headers_left > 0 {
            return Step::Took { used, skip };
        }
        let rest = std::mem::take(&mut self.record_left);
        let Some(batch_left) = self.batch_left.checked_sub(rest) else {
            return Step::Broken("record");
        };
        self.batch_left = batch_left;
        self.give(sink);
        let mut skip = skip + rest;
        if self.at == At::Batch {
            skip += std::mem::take(&mut self.batch_left);
        }
        Step::Took { used, skip }
    }

    fn give(&mut self, sink: &mut dyn Sink) {
        let mut found = std::mem::take(&mut self.found);
        let state = std::mem::take(&mut self.state);
        if matches!(found.traceparent, Traceparent::Valid(_)) && tracestate_is_valid(&state) {
            found.tracestate = Some(state).filter(|state| !state.is_empty());
        }
        self.given = self.given.saturating_add(1);
        if self.delta >= sink.first(&self.batch) {
            self.budget = self.budget.saturating_sub(1);
            sink.record(&self.batch, self.delta, found);
        }
        self.at = if self.given >= self.batch.count || self.batch_left == 0 {
            At::Batch
        } else {
            At::Record
        };
    }
}
