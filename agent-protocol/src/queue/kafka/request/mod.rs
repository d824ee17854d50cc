//! What a client asks its broker.
//!
//! In: requests, element by element. Out: events, and in [`Shared`] what the answers need. Always holds: an element changes the state only
//! when it is whole. Refuses: versions that are not in [`super`]'s table, fetches of a broker's followers.

mod fetch;
mod group;
mod produce;

use super::records::Records;
use super::shared::{Asked, Pending, Shared};
use super::sniff::{Api, is_plausible};
use super::topics::Topic;
use super::wire::{Read, Reader, Stop, element};
use crate::queue::Event;
use crate::queue::lane::{Head, Side, Start, Step};

/// Largest request a broker takes (`socket.request.max.bytes`).
pub(super) const REQUEST_MAX: u32 = 104_857_600;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Head,
    Produce,
    ProduceTopic,
    ProducePart,
    Records,
    ProducePartEnd,
    ProduceTopicEnd,
    Fetch,
    FetchTopic,
    FetchPart,
    FetchTopicEnd,
    Forgotten,
    ForgottenTopic,
    FetchEnd,
    Commit,
    TransactionCommit,
    Assigned,
    CommitTopic,
    CommitPart,
    CommitTopicEnd,
    Group,
}

/// Where the reading stands.
#[derive(Debug, Default)]
pub(super) struct Request {
    at: At,
    version: i16,
    flexible: bool,
    correlation: i32,
    topics_left: u32,
    parts_left: u32,
    topic: Topic,
    partition: i32,
    is_answered: bool,
    operation: u32,
    records: Records,
    group: String,
    /// A commit says topics' ids, and leaders' epochs.
    has_ids: bool,
    has_epochs: bool,
    /// It only asks how far its group is.
    asks: bool,
}

impl Request {
    pub(super) fn held(&self) -> usize {
        self.records.held() + self.group.capacity() + self.topic.name.len()
    }
}

/// The direction to the broker.
pub(super) struct ToBroker<'a> {
    pub(super) request: &'a mut Request,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut dyn FnMut(Event),
}

impl Side for ToBroker<'_> {
    const START_BYTES: usize = 24;

    fn starts(&self, view: &[u8]) -> Start {
        if super::is_kafka(view) {
            Start::Yes
        } else if view.len() < 14 && view.first() == Some(&0) {
            Start::Maybe
        } else {
            Start::No
        }
    }

    fn head(&mut self, view: &[u8]) -> Head {
        match view.first_chunk() {
            None => Head::More,
            Some(&len) => match u32::from_be_bytes(len) {
                len @ 8..=REQUEST_MAX => Head::Message {
                    head: 4,
                    body: u64::from(len),
                },
                _ => Head::Not,
            },
        }
    }

    fn step(&mut self, view: &[u8], _: u64) -> Step {
        let step = match self.request.at {
            At::Head => self.request_head(view),
            At::Produce | At::ProduceTopic | At::ProducePart => self.produce(view),
            At::Records => return self.records(view),
            At::ProducePartEnd | At::ProduceTopicEnd => self.produce_end(view),
            At::Fetch | At::FetchTopic | At::FetchPart | At::FetchTopicEnd => self.fetch(view),
            At::Forgotten | At::ForgottenTopic | At::FetchEnd => self.fetch_end(view),
            At::Commit => self.commit(view),
            At::TransactionCommit => self.transaction_commit(view),
            At::Assigned => self.assigned(view),
            At::CommitTopic | At::CommitPart | At::CommitTopicEnd => self.commit_part(view),
            At::Group => self.group(view),
        };
        match step {
            Ok(used) => Step::Took { used, skip: 0 },
            Err(step) => step,
        }
    }

    fn end(&mut self) {
        self.request.at = At::Head;
    }

    fn cut(&mut self, why: &'static str) {
        if self.request.at == At::Records {
            let (records, mut puts, _) = self.puts();
            records.cut(&mut puts);
        }
        self.request.at = At::Head;
        (self.out)(Event::Unparsed(why));
    }
}

type Used = Result<usize, Step>;

impl ToBroker<'_> {
    fn rest(&mut self) -> Used {
        self.request.at = At::Head;
        Err(Step::Rest)
    }

    fn request_head(&mut self, view: &[u8]) -> Used {
        let ((api, version, correlation), used) = element(view, false, |reader| {
            let (api, version, correlation) = (reader.i16()?, reader.i16()?, reader.i32()?);
            is_plausible(api, version, correlation, b"").ok_or(Stop::Broken)?;
            let client = reader.old_string()?;
            let api = is_plausible(api, version, correlation, client).ok_or(Stop::Broken)?;
            reader.flexible = api.is_flexible(version);
            reader.tags()?;
            Ok((api, version, correlation))
        })
        .map_err(|step| match step {
            Step::Broken(_) => Step::Broken("header"),
            step => step,
        })?;
        let request = &mut *self.request;
        request.version = version;
        request.correlation = correlation;
        request.flexible = api.is_flexible(version);
        let is_read = api.is_read(version);
        request.at = match api {
            Api::Produce if is_read => At::Produce,
            Api::Fetch if is_read => At::Fetch,
            Api::OffsetCommit if is_read => At::Commit,
            Api::TxnOffsetCommit if is_read => At::TransactionCommit,
            Api::OffsetFetch if is_read => At::Assigned,
            Api::JoinGroup | Api::Heartbeat | Api::SyncGroup | Api::ConsumerGroupHeartbeat => {
                At::Group
            }
            Api::Metadata if is_read => {
                self.ask(Asked::Metadata);
                return self.rest();
            }
            Api::Produce | Api::Fetch | Api::OffsetCommit | Api::TxnOffsetCommit => {
                (self.out)(Event::Unparsed("version"));
                return self.rest();
            }
            Api::Metadata | Api::OffsetFetch | Api::Other => return self.rest(),
        };
        Ok(used)
    }

    fn ask(&mut self, asked: Asked) {
        self.shared.await_answer(Pending {
            correlation: self.request.correlation,
            version: self.request.version,
            asked,
        });
    }

    fn topic(&self, reader: &mut Reader<'_>, has_ids: bool) -> Read<Topic> {
        if has_ids {
            Ok(self.shared.topics.of_id(reader.uuid()?))
        } else {
            Ok(self.shared.topics.named(reader.string()?))
        }
    }
}
