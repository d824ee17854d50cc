//! Produce requests.
//!
//! In: the elements of a request. Out: `Sent` for each record; in `Shared` what the answer needs. Always holds: each partition of a request
//! is an operation. Refuses: nothing.

use super::{Asked, At, ToBroker, Used};
use crate::queue::kafka::batch::Batch;
use crate::queue::kafka::records::{Around, Found, RECORDS_MAX, Records, Sink};
use crate::queue::kafka::shared::{Part, Shared};
use crate::queue::kafka::topics::Topic;
use crate::queue::kafka::wire::element;
use crate::queue::lane::Step;
use crate::queue::{Event, Keyer, Message, Sent};

/// Messages on their way.
pub(super) struct Puts<'a> {
    shared: &'a mut Shared,
    topic: &'a Topic,
    partition: i32,
    operation: u32,
    is_unanswered: bool,
    out: &'a mut dyn FnMut(Event),
}

impl Sink for Puts<'_> {
    fn record(&mut self, batch: &Batch, delta: i32, found: Found) {
        if let Some(part) = self.shared.last_part(self.operation) {
            part.deltas.push(delta);
        }
        let word = self.topic.word();
        let mut keys = vec![batch.key(&self.shared.keyer, word, self.partition, delta)];
        keys.extend(found.payload);
        (self.out)(Event::Sent(Sent {
            operation: self.operation,
            name: "produce",
            destination: self.topic.name.to_string(),
            is_unanswered: self.is_unanswered,
            message: Message {
                keys,
                traceparent: found.traceparent,
                tracestate: found.tracestate,
                body_bytes: found.body_bytes,
                partition: Some(self.partition),
                key: found.key,
                ..Message::default()
            },
            ..Sent::default()
        }));
    }

    fn unparsed(&mut self, why: &'static str) {
        (self.out)(Event::Unparsed(why));
    }

    fn is_void(&mut self, _: &Batch) -> bool {
        false
    }

    fn first(&self, _: &Batch) -> i32 {
        0
    }
}

impl ToBroker<'_> {
    pub(super) fn produce(&mut self, view: &[u8]) -> Used {
        let flexible = self.request.flexible;
        match self.request.at {
            At::Produce => {
                let ((acks, count), used) = element(view, flexible, |reader| {
                    reader.string()?; // The transaction's id.
                    let acks = reader.i16()?;
                    reader.i32()?; // Time-out.
                    Ok((acks, reader.count()?))
                })?;
                self.request.topics_left = count;
                self.request.is_answered = acks != 0;
                self.request.at = At::ProduceTopic;
                if acks != 0 {
                    self.ask(Asked::Produce(Vec::new()));
                }
                Ok(used)
            }
            At::ProduceTopic if self.request.topics_left == 0 => self.rest(),
            At::ProduceTopic => {
                let has_ids = self.request.version >= 13;
                let ((topic, count), used) = element(view, flexible, |reader| {
                    Ok((self.topic(reader, has_ids)?, reader.count()?))
                })?;
                self.request.topic = topic;
                self.request.topics_left -= 1;
                self.request.parts_left = count;
                self.request.at = At::ProducePart;
                Ok(used)
            }
            _ if self.request.parts_left == 0 => {
                self.request.at = At::ProduceTopicEnd;
                Ok(0)
            }
            _ => {
                let ((partition, bytes), used) = element(view, flexible, |reader| {
                    Ok((reader.i32()?, reader.count()?))
                })?;
                self.request.parts_left -= 1;
                self.request.partition = partition;
                self.request.operation = self.shared.operation();
                if self.request.is_answered {
                    self.shared.add_part(Part {
                        topic: self.request.topic.clone(),
                        partition,
                        operation: self.request.operation,
                        deltas: Vec::new(),
                    });
                }
                self.request.records.begin(bytes, RECORDS_MAX);
                self.request.at = At::Records;
                Ok(used)
            }
        }
    }

    pub(super) fn puts(&mut self) -> (&mut Records, Puts<'_>, (Keyer, Topic, usize)) {
        let request = &mut *self.request;
        let around = (
            self.shared.keyer,
            request.topic.clone(),
            self.shared.limits.message_bytes,
        );
        let puts = Puts {
            topic: &request.topic,
            partition: request.partition,
            operation: request.operation,
            is_unanswered: !request.is_answered,
            shared: &mut *self.shared,
            out: &mut *self.out,
        };
        (&mut request.records, puts, around)
    }

    pub(super) fn records(&mut self, view: &[u8]) -> Step {
        let (records, mut puts, (keyer, topic, limit)) = self.puts();
        let step = if records.is_over() {
            Step::Took { used: 0, skip: 0 }
        } else {
            let around = Around {
                keyer: &keyer,
                destination: topic.name.as_bytes(),
                limit,
            };
            records.step(view, &around, &mut puts)
        };
        if self.request.records.is_over() {
            self.request.at = At::ProducePartEnd;
        }
        step
    }

    pub(super) fn produce_end(&mut self, view: &[u8]) -> Used {
        let ((), used) = element(view, self.request.flexible, |reader| reader.tags())?;
        self.request.at = match self.request.at {
            At::ProducePartEnd => At::ProducePart,
            _ => At::ProduceTopic,
        };
        Ok(used)
    }
}
