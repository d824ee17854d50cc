//! What a broker answers.
//!
//! In: answers, element by element, and from [`Shared`] what they answer. Out: events; names of topics. Always holds: an element changes
//! the state only when it is whole. Refuses: answers to requests that were not seen.

mod fetch;
mod metadata;

use super::records::{RECORDS_MAX, Records};
use super::shared::{Asked, Part, Shared};
use super::sniff::Api;
use super::topics::Topic;
use super::wire::{Read, Reader, element, error_word};
use crate::queue::lane::{Head, Side, Start, Step};
use crate::queue::{Event, Placed};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Head,
    Tags,
    Produce,
    ProduceTopic,
    ProducePart,
    ProduceTopicEnd,
    Fetch,
    FetchTopic,
    FetchPart,
    Aborted,
    FetchRecords,
    Records,
    FetchPartEnd,
    FetchTopicEnd,
    Metadata,
    Broker,
    Cluster,
    Topic,
    TopicPart,
    TopicEnd,
}

/// Where the reading stands.
#[derive(Debug, Default)]
pub(super) struct Response {
    at: At,
    after_tags: At,
    version: i16,
    flexible: bool,
    topics_left: u32,
    parts_left: u32,
    /// Also brokers of metadata.
    others_left: u32,
    topic: Topic,
    partition: i32,
    asked: Vec<Part>,
    aborted: Vec<(i64, i64)>,
    too_many_aborted: bool,
    budget: u32,
    records: Records,
}

impl Response {
    pub(super) fn held(&self) -> usize {
        let asked: usize = self.asked.iter().map(|part| 1 + part.deltas.len()).sum();
        self.records.held() + asked + self.aborted.capacity() + self.topic.name.len()
    }
}

/// The direction to the client.
pub(super) struct ToClient<'a> {
    pub(super) response: &'a mut Response,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut dyn FnMut(Event),
}

impl Side for ToClient<'_> {
    const START_BYTES: usize = 8;

    fn starts(&self, view: &[u8]) -> Start {
        let Some(([_, _, _, _, correlation @ ..], _)) = view.split_first_chunk::<8>() else {
            return if view.len() == 4 && view[0] == 0 {
                Start::Maybe
            } else {
                Start::No
            };
        };
        if self.shared.is_awaited(i32::from_be_bytes(*correlation)) {
            Start::Yes
        } else {
            Start::No
        }
    }

    fn head(&mut self, view: &[u8]) -> Head {
        match view.first_chunk().map(|len| i32::from_be_bytes(*len)) {
            None => Head::More,
            Some(len @ 4..) => Head::Message {
                head: 4,
                body: len as u64,
            },
            Some(_) => Head::Not,
        }
    }

    fn step(&mut self, view: &[u8], _: u64) -> Step {
        let step = match self.response.at {
            At::Head => self.response_head(view),
            At::Tags => self.tags(view, self.response.after_tags),
            At::Produce | At::ProduceTopic | At::ProducePart => self.produce(view),
            At::ProduceTopicEnd => self.tags(view, At::ProduceTopic),
            At::Fetch | At::FetchTopic | At::FetchPart => self.fetch(view),
            At::Aborted | At::FetchRecords => self.fetch_part(view),
            At::Records => return self.records(view),
            At::FetchPartEnd => self.tags(view, At::FetchPart),
            At::FetchTopicEnd => self.tags(view, At::FetchTopic),
            At::Metadata | At::Broker | At::Cluster => self.metadata(view),
            At::Topic | At::TopicPart | At::TopicEnd => self.topics(view),
        };
        match step {
            Ok(used) => Step::Took { used, skip: 0 },
            Err(step) => step,
        }
    }

    fn end(&mut self) {
        self.reset();
    }

    fn cut(&mut self, why: &'static str) {
        if self.response.at == At::Records {
            let (records, mut gets) = self.gets();
            records.cut(&mut gets);
        }
        self.reset();
        (self.out)(Event::Unparsed(why));
    }
}

type Used = Result<usize, Step>;

impl ToClient<'_> {
    fn reset(&mut self) {
        self.response.at = At::Head;
        self.response.asked = Vec::new();
        self.response.aborted = Vec::new();
    }

    fn rest(&mut self) -> Used {
        self.reset();
        Err(Step::Rest)
    }

    fn tags(&mut self, view: &[u8], next: At) -> Used {
        let ((), used) = element(view, self.response.flexible, |reader| reader.tags())?;
        self.response.at = next;
        Ok(used)
    }

    fn response_head(&mut self, view: &[u8]) -> Used {
        let (correlation, used) = element(view, false, |reader| reader.i32())?;
        let Some(pending) = self.shared.answered(correlation) else {
            return self.rest();
        };
        let response = &mut *self.response;
        response.version = pending.version;
        response.budget = RECORDS_MAX;
        let (api, next) = match pending.asked {
            Asked::Produce(parts) => {
                response.asked = parts;
                (Api::Produce, At::Produce)
            }
            Asked::Fetch => (Api::Fetch, At::Fetch),
            Asked::Metadata => (Api::Metadata, At::Metadata),
        };
        response.flexible = api.is_flexible(pending.version);
        response.after_tags = next;
        response.at = At::Tags;
        Ok(used)
    }

    fn topic(&self, reader: &mut Reader<'_>) -> Read<Topic> {
        if self.response.version >= 13 {
            Ok(self.shared.topics.of_id(reader.uuid()?))
        } else {
            Ok(self.shared.topics.named(reader.string()?))
        }
    }

    /// The topic of a produce or fetch response, and its partitions.
    fn next_topic(&mut self, view: &[u8], next: At) -> Used {
        if self.response.topics_left == 0 {
            return self.rest();
        }
        let ((topic, count), used) = element(view, self.response.flexible, |reader| {
            Ok((self.topic(reader)?, reader.count()?))
        })?;
        self.response.topic = topic;
        self.response.topics_left -= 1;
        self.response.parts_left = count;
        self.response.at = next;
        Ok(used)
    }

    fn produce(&mut self, view: &[u8]) -> Used {
        let (version, flexible) = (self.response.version, self.response.flexible);
        match self.response.at {
            At::Produce => {
                let (count, used) = element(view, flexible, |reader| reader.count())?;
                self.response.topics_left = count;
                self.response.at = At::ProduceTopic;
                Ok(used)
            }
            At::ProduceTopic => self.next_topic(view, At::ProducePart),
            _ if self.response.parts_left == 0 => {
                self.response.at = At::ProduceTopicEnd;
                Ok(0)
            }
            _ => {
                let ((partition, code, base), used) = element(view, flexible, |reader| {
                    let read = (reader.i32()?, reader.i16()?, reader.i64()?);
                    reader.i64()?; // The broker's time.
                    if version >= 5 {
                        reader.i64()?;
                    }
                    if version >= 8 {
                        for _ in 0..reader.count()? {
                            reader.i32()?;
                            reader.string()?;
                            reader.tags()?;
                        }
                        reader.string()?;
                    }
                    reader.tags()?;
                    Ok(read)
                })?;
                self.response.parts_left -= 1;
                self.answer(partition, code, base);
                Ok(used)
            }
        }
    }

    fn answer(&mut self, partition: i32, code: i16, base: i64) {
        let topic = &self.response.topic;
        let is_it = |part: &Part| {
            part.partition == partition
                && match topic.id {
                    Some(id) => part.topic.id == Some(id),
                    None => part.topic.name == topic.name,
                }
        };
        let Some(index) = self.response.asked.iter().position(is_it) else {
            return;
        };
        let part = self.response.asked.swap_remove(index);
        let error = error_word(code);
        if error.is_none() && base >= 0 {
            for (nth, delta) in (0..).zip(&part.deltas) {
                let offset = base.wrapping_add(i64::from(*delta));
                (self.out)(Event::Placed(Placed {
                    operation: part.operation,
                    nth,
                    keys: topic.places(&self.shared.keyer, partition, offset),
                    offset: Some(offset),
                    id: None,
                }));
            }
        }
        (self.out)(Event::Answered {
            operation: part.operation,
            error,
        });
    }
}
