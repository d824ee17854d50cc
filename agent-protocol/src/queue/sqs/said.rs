//! What one text of a call says: of the queue, and of each message.
//!
//! In: members of a request or an answer. Out: [`Said`]. Always holds: at most [`ENTRIES_MAX`] messages; of a body its length only.
//! Refuses: entries whose object is not over (`is_whole`).

use super::field::Field;
use super::json::Told;
use super::xray;
use crate::queue::job::name_of;
use crate::tracecontext::{self, Traceparent};

/// SQS allows ten in one call.
const ENTRIES_MAX: usize = 16;

/// One message.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// Its name within its batch.
    pub(super) id: Option<String>,
    pub(super) message_id: Option<String>,
    pub(super) receipt: Option<Vec<u8>>,
    pub(super) visibility: Option<u64>,
    pub(super) is_delayed: bool,
    pub(super) body_bytes: u64,
    /// How often it was delivered.
    pub(super) receives: Option<u32>,
    traceparent: Traceparent,
    tracestate: Option<String>,
    xray: Traceparent,
    /// All of it was seen.
    pub(super) is_whole: bool,
}

impl Entry {
    /// Bytes held.
    fn held(&self) -> usize {
        let texts = [&self.id, &self.message_id, &self.tracestate];
        let texts = texts.into_iter().flatten().map(String::capacity);
        size_of::<Self>() + texts.sum::<usize>() + self.receipt.as_ref().map_or(0, Vec::capacity)
    }

    /// The context in it: W3C's, else X-Ray's.
    pub(super) fn context(&self) -> (Traceparent, Option<String>) {
        match self.traceparent {
            Traceparent::Absent => (self.xray, None),
            valid @ Traceparent::Valid(_) => {
                let state = self.tracestate.clone();
                (
                    valid,
                    state.filter(|state| tracecontext::tracestate_is_valid(state)),
                )
            }
            invalid @ Traceparent::Invalid(_) => (invalid, None),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) url: Option<String>,
    /// Of calls about one message.
    pub(super) top: Entry,
    pub(super) entries: Vec<Entry>,
    /// Why the first of those failed that did.
    pub(super) failed: Option<String>,
    /// More messages than there can be: the rest is not looked at.
    is_full: bool,
}

impl Said {
    /// The queue's name: the last part of its URL.
    pub(super) fn queue(&self) -> Option<&str> {
        let path = self.url.as_deref()?.split(['?', '#']).next()?;
        let name = path.trim_end_matches('/').rsplit('/').next()?;
        (!name.is_empty()).then_some(name)
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        let texts = [&self.url, &self.failed];
        let entries = self.entries.iter().chain([&self.top]).map(Entry::held);
        texts
            .into_iter()
            .flatten()
            .map(String::capacity)
            .sum::<usize>()
            + entries.sum::<usize>()
    }

    /// Messages of which all was seen.
    pub(super) fn whole(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_whole)
    }

    fn entry(&mut self, path: &[Field]) -> Option<(&mut Entry, usize)> {
        match path {
            [
                Field::Entries | Field::Messages | Field::Successful,
                Field::Item,
                ..,
            ] => {
                let entry = self.entries.last_mut().filter(|_| !self.is_full)?;
                Some((entry, 2))
            }
            [Field::Failed, ..] => None,
            _ => Some((&mut self.top, 0)),
        }
    }
}

fn is_entry(path: &[Field]) -> bool {
    matches!(
        path,
        [
            Field::Entries | Field::Messages | Field::Successful,
            Field::Item
        ]
    )
}

impl Told for Said {
    fn wants(&self, path: &[Field]) -> bool {
        !matches!(
            path.last(),
            Some(Field::Body | Field::Other | Field::Item) | None
        )
    }

    fn text(&mut self, path: &[Field], text: Option<&[u8]>, len: u64) {
        if let ([Field::Failed, Field::Item, Field::Code], None, Some(code)) =
            (path, &self.failed, text)
        {
            self.failed = Some(name_of(code));
            return;
        }
        if let ([Field::QueueUrl], Some(url)) = (path, text) {
            self.url = Some(String::from_utf8_lossy(url).into_owned());
            return;
        }
        let Some((entry, level)) = self.entry(path) else {
            return;
        };
        match (path.get(level..).unwrap_or_default(), text) {
            ([Field::Body], _) => entry.body_bytes = len,
            ([Field::Id], Some(id)) => entry.id = Some(name_of(id)),
            ([Field::MessageId], Some(id)) => entry.message_id = Some(name_of(id)),
            ([Field::ReceiptHandle], Some(handle)) => entry.receipt = Some(handle.to_vec()),
            (
                [
                    Field::MessageAttributes,
                    Field::Traceparent,
                    Field::StringValue,
                ],
                Some(value),
            ) => {
                entry.traceparent.add(value);
            }
            (
                [
                    Field::MessageAttributes,
                    Field::Tracestate,
                    Field::StringValue,
                ],
                Some(value),
            ) => {
                entry.tracestate = Some(String::from_utf8_lossy(value).into_owned());
            }
            (
                [Field::SystemAttributes, Field::AwsTraceHeader]
                | [
                    Field::SystemAttributes | Field::MessageAttributes,
                    Field::AwsTraceHeader,
                    Field::StringValue,
                ],
                Some(value),
            ) => entry.xray = xray::context(value),
            ([Field::SystemAttributes, Field::ReceiveCount], Some(count)) => {
                entry.receives = number(count);
            }
            _ => {}
        }
    }

    fn bare(&mut self, path: &[Field], text: &[u8]) {
        let Some((entry, level)) = self.entry(path) else {
            return;
        };
        match path.get(level..).unwrap_or_default() {
            [Field::VisibilityTimeout] => entry.visibility = number(text),
            [Field::DelaySeconds] => entry.is_delayed = number(text).is_some_and(|s: u64| s > 0),
            _ => {}
        }
    }

    fn opened(&mut self, path: &[Field]) {
        if is_entry(path) {
            self.is_full = self.entries.len() >= ENTRIES_MAX;
            if !self.is_full {
                self.entries.push(Entry::default());
            }
        }
    }

    fn closed(&mut self, path: &[Field]) {
        if path.is_empty() {
            self.top.is_whole = true;
        } else if is_entry(path)
            && !self.is_full
            && let Some(entry) = self.entries.last_mut()
        {
            entry.is_whole = true;
        }
    }
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
