//! Fetch responses: what the client's application gets.
//!
//! In: the elements of a response. Out: `Delivered` for each record. Always holds: records before the position that was asked for are not
//! given, nor those of transactions that were aborted when the client asked for committed ones. Refuses: nothing.

use super::{At, ToClient, Used};
use crate::queue::kafka::batch::Batch;
use crate::queue::kafka::records::{Around, Found, Records, Sink};
use crate::queue::kafka::shared::Shared;
use crate::queue::kafka::topics::{Topic, said};
use crate::queue::kafka::wire::element;
use crate::queue::lane::Step;
use crate::queue::{Delivered, Event, KEYS_MAX, Message};

/// Most aborted transactions of one partition that are known by their producers; if there are more, no transaction is believed.
const ABORTED_MAX: usize = 64;

/// Messages that arrive.
pub(super) struct Gets<'a> {
    shared: &'a Shared,
    topic: &'a Topic,
    partition: i32,
    position: i64,
    aborted: &'a mut Vec<(i64, i64)>,
    too_many_aborted: bool,
    out: &'a mut dyn FnMut(Event),
}

impl Sink for Gets<'_> {
    fn record(&mut self, batch: &Batch, delta: i32, found: Found) {
        let offset = batch.base_offset.wrapping_add(i64::from(delta));
        let keyer = &self.shared.keyer;
        let mut keys = self.topic.places(keyer, self.partition, offset);
        keys.push(batch.key(keyer, self.topic.word(), self.partition, delta));
        keys.extend(found.payload);
        keys.truncate(KEYS_MAX);
        let group = &self.shared.group;
        (self.out)(Event::Delivered(Delivered {
            name: "fetch",
            destination: self.topic.name.to_string(),
            message: Message {
                keys,
                traceparent: found.traceparent,
                tracestate: found.tracestate,
                body_bytes: found.body_bytes,
                partition: Some(self.partition),
                offset: Some(offset),
                key: found.key,
                group: Some(group.clone()).filter(|group| !group.is_empty()),
                ..Message::default()
            },
            ..Delivered::default()
        }));
    }

    fn unparsed(&mut self, why: &'static str) {
        (self.out)(Event::Unparsed(why));
    }

    fn is_void(&mut self, batch: &Batch) -> bool {
        if !batch.is_transactional {
            return false;
        }
        let of_it = |&(producer, first): &(i64, i64)| {
            producer == batch.producer && first <= batch.base_offset
        };
        if batch.is_control {
            // The marker ends the transaction.
            if let Some(index) = self.aborted.iter().position(of_it) {
                self.aborted.swap_remove(index);
            }
            return true;
        }
        if self.too_many_aborted {
            self.unparsed("aborted");
        }
        self.too_many_aborted || self.aborted.iter().any(of_it)
    }

    fn first(&self, batch: &Batch) -> i32 {
        let before = self.position.saturating_sub(batch.base_offset);
        i32::try_from(before.max(0)).unwrap_or(i32::MAX)
    }
}

impl ToClient<'_> {
    pub(super) fn fetch(&mut self, view: &[u8]) -> Used {
        let (version, flexible) = (self.response.version, self.response.flexible);
        match self.response.at {
            At::Fetch => {
                let (count, used) = element(view, flexible, |reader| {
                    reader.i32()?; // Throttle.
                    if version >= 7 {
                        reader.i16()?;
                        reader.i32()?;
                    }
                    reader.count()
                })?;
                self.response.topics_left = count;
                self.response.at = At::FetchTopic;
                Ok(used)
            }
            At::FetchTopic => self.next_topic(view, At::FetchPart),
            _ if self.response.parts_left == 0 => {
                self.response.at = At::FetchTopicEnd;
                Ok(0)
            }
            _ => {
                let ((partition, count), used) = element(view, flexible, |reader| {
                    let partition = reader.i32()?;
                    reader.raw(2 + 8 + 8)?; // Error, high watermark, last stable offset.
                    if version >= 5 {
                        reader.i64()?;
                    }
                    Ok((partition, reader.count()?))
                })?;
                self.response.parts_left -= 1;
                self.response.partition = partition;
                self.response.others_left = count;
                self.response.aborted.clear();
                self.response.too_many_aborted = count as usize > ABORTED_MAX;
                self.response.at = At::Aborted;
                Ok(used)
            }
        }
    }

    pub(super) fn fetch_part(&mut self, view: &[u8]) -> Used {
        let (version, flexible) = (self.response.version, self.response.flexible);
        if self.response.at == At::FetchRecords {
            let (bytes, used) = element(view, flexible, |reader| {
                if version >= 11 {
                    reader.i32()?;
                }
                reader.count()
            })?;
            self.response.records.begin(bytes, self.response.budget);
            self.response.at = At::Records;
            return Ok(used);
        }
        if self.response.others_left == 0 {
            self.response.at = At::FetchRecords;
            return Ok(0);
        }
        let (aborted, used) = element(view, flexible, |reader| {
            let aborted = (reader.i64()?, reader.i64()?);
            reader.tags()?;
            Ok(aborted)
        })?;
        self.response.others_left -= 1;
        if self.response.aborted.len() < ABORTED_MAX {
            self.response.aborted.push(aborted);
        }
        Ok(used)
    }

    pub(super) fn gets(&mut self) -> (&mut Records, Gets<'_>) {
        let response = &mut *self.response;
        let place = (said(&response.topic), response.partition);
        let gets = Gets {
            position: self.shared.positions.get(&place).copied().unwrap_or(0),
            shared: &*self.shared,
            topic: &response.topic,
            partition: response.partition,
            aborted: &mut response.aborted,
            too_many_aborted: response.too_many_aborted,
            out: &mut *self.out,
        };
        (&mut response.records, gets)
    }

    pub(super) fn records(&mut self, view: &[u8]) -> Step {
        let (records, mut gets) = self.gets();
        let step = if records.is_over() {
            Step::Took { used: 0, skip: 0 }
        } else {
            let (keyer, topic) = (gets.shared.keyer, gets.topic.clone());
            let around = Around {
                keyer: &keyer,
                destination: topic.name.as_bytes(),
                limit: gets.shared.limits.message_bytes,
            };
            records.step(view, &around, &mut gets)
        };
        if records.is_over() {
            self.response.budget = self.response.records.budget();
            self.response.at = At::FetchPartEnd;
        }
        step
    }
}
