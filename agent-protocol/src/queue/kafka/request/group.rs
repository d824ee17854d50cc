//! Offset commits, and whatever says for which group a client works.
//!
//! In: the elements of a request. Out: `Committed`, `Assigned`, `Group`. Always holds: a commit is told when it is asked for, by whoever asks, also one
//! that counts only if its transaction does. Refuses: other groups than the first of a request that asks how far several are.

use super::{At, ToBroker, Used};
use crate::queue::kafka::topics::text;
use crate::queue::kafka::wire::element;
use crate::queue::{Assigned, Committed, Event};

impl ToBroker<'_> {
    pub(super) fn commit(&mut self, view: &[u8]) -> Used {
        let version = self.request.version;
        let ((group, count), used) = element(view, self.request.flexible, |reader| {
            let group = text(reader.string()?);
            reader.i32()?; // Generation.
            reader.string()?; // Member.
            if version >= 7 {
                reader.string()?;
            }
            if version <= 4 {
                reader.i64()?;
            }
            Ok((group, reader.count()?))
        })?;
        self.begin_commit(group, count, (version >= 10, version >= 6));
        Ok(used)
    }

    /// The same as a part of a transaction (`TxnOffsetCommit`).
    pub(super) fn transaction_commit(&mut self, view: &[u8]) -> Used {
        let version = self.request.version;
        let ((group, count), used) = element(view, self.request.flexible, |reader| {
            reader.string()?; // The transaction's id.
            let group = text(reader.string()?);
            reader.raw(8 + 2)?; // Producer and its epoch.
            if version >= 3 {
                reader.i32()?;
                reader.string()?;
                reader.string()?;
            }
            Ok((group, reader.count()?))
        })?;
        self.begin_commit(group, count, (false, version >= 2));
        Ok(used)
    }

    /// `OffsetFetch`: what a member asks when it was given partitions, before it fetches from them.
    pub(super) fn assigned(&mut self, view: &[u8]) -> Used {
        let version = self.request.version;
        let ((group, count), used) = element(view, self.request.flexible, |reader| {
            if version >= 8 && reader.count()? == 0 {
                return Ok((String::new(), 0));
            }
            let group = text(reader.string()?);
            if version >= 9 {
                reader.string()?; // Member.
                reader.i32()?;
            }
            Ok((group, reader.count()?))
        })?;
        // (Who only asks, to watch it, does not work for the group.)
        self.begin(group, count, (version >= 10, false));
        self.request.asks = true;
        Ok(used)
    }

    fn begin_commit(&mut self, group: String, count: u32, has: (bool, bool)) {
        self.works_for(&group);
        self.begin(group, count, has);
    }

    fn begin(&mut self, group: String, count: u32, has: (bool, bool)) {
        self.request.group = group;
        self.request.asks = false;
        self.request.topics_left = count;
        (self.request.has_ids, self.request.has_epochs) = has;
        self.request.at = At::CommitTopic;
    }

    pub(super) fn commit_part(&mut self, view: &[u8]) -> Used {
        let flexible = self.request.flexible;
        let (has_ids, has_epochs) = (self.request.has_ids, self.request.has_epochs);
        let asks = self.request.asks;
        match self.request.at {
            At::CommitTopic if self.request.topics_left == 0 => self.rest(),
            At::CommitTopic => {
                let ((topic, count), used) = element(view, flexible, |reader| {
                    Ok((self.topic(reader, has_ids)?, reader.count()?))
                })?;
                self.request.topic = topic;
                self.request.topics_left -= 1;
                self.request.parts_left = count;
                self.request.at = At::CommitPart;
                Ok(used)
            }
            At::CommitPart if self.request.parts_left == 0 => {
                self.request.at = At::CommitTopicEnd;
                Ok(0)
            }
            At::CommitPart => {
                let ((partition, offset), used) = element(view, flexible, |reader| {
                    if asks {
                        return Ok((reader.i32()?, 0));
                    }
                    let (partition, offset) = (reader.i32()?, reader.i64()?);
                    if has_epochs {
                        reader.i32()?;
                    }
                    reader.string()?;
                    reader.tags()?;
                    Ok((partition, offset))
                })?;
                self.request.parts_left -= 1;
                let group = self.request.group.clone();
                let destination = self.request.topic.name.to_string();
                (self.out)(if asks {
                    Event::Assigned(Assigned {
                        group,
                        destination,
                        partition,
                    })
                } else {
                    Event::Committed(Committed {
                        group,
                        destination,
                        partition,
                        offset,
                    })
                });
                Ok(used)
            }
            _ => {
                let ((), used) = element(view, flexible, |reader| reader.tags())?;
                self.request.at = At::CommitTopic;
                Ok(used)
            }
        }
    }

    pub(super) fn group(&mut self, view: &[u8]) -> Used {
        let (group, _) = element(view, self.request.flexible, |reader| {
            Ok(text(reader.string()?))
        })?;
        self.works_for(&group);
        self.rest()
    }

    fn works_for(&mut self, group: &str) {
        if !group.is_empty() && self.shared.group != group {
            self.shared.group = group.to_owned();
            (self.out)(Event::Group(group.to_owned()));
        }
    }
}
