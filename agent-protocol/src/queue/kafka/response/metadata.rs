//! Metadata responses: names of topics.
//!
//! In: the elements of a response. Out: names, in `Topics`. Always holds: nothing of the cluster but topics is kept. Refuses: nothing.

use super::{At, ToClient, Used};
use crate::queue::kafka::wire::element;

impl ToClient<'_> {
    /// Versions from 10 on, which say topics' ids; all are flexible.
    pub(super) fn metadata(&mut self, view: &[u8]) -> Used {
        match self.response.at {
            At::Metadata => {
                let (count, used) = element(view, true, |reader| {
                    reader.i32()?; // Throttle.
                    reader.count()
                })?;
                self.response.others_left = count;
                self.response.at = At::Broker;
                Ok(used)
            }
            At::Broker if self.response.others_left == 0 => {
                self.response.at = At::Cluster;
                Ok(0)
            }
            At::Broker => {
                let ((), used) = element(view, true, |reader| {
                    reader.i32()?;
                    reader.string()?; // Host.
                    reader.i32()?;
                    reader.string()?; // Rack.
                    reader.tags()
                })?;
                self.response.others_left -= 1;
                Ok(used)
            }
            _ => {
                let (count, used) = element(view, true, |reader| {
                    reader.string()?; // The cluster's id.
                    reader.i32()?; // Controller.
                    reader.count()
                })?;
                self.response.topics_left = count;
                self.response.at = At::Topic;
                Ok(used)
            }
        }
    }

    pub(super) fn topics(&mut self, view: &[u8]) -> Used {
        match self.response.at {
            At::Topic if self.response.topics_left == 0 => self.rest(),
            At::Topic => {
                let ((name, id, count), used) = element(view, true, |reader| {
                    reader.i16()?;
                    let (name, id) = (reader.string()?, reader.uuid()?);
                    reader.i8()?;
                    Ok((name, id, reader.count()?))
                })?;
                self.shared.topics.learn(id, name);
                self.response.topics_left -= 1;
                self.response.parts_left = count;
                self.response.at = At::TopicPart;
                Ok(used)
            }
            At::TopicPart if self.response.parts_left == 0 => {
                self.response.at = At::TopicEnd;
                Ok(0)
            }
            At::TopicPart => {
                let ((), used) = element(view, true, |reader| {
                    reader.raw(2 + 4 + 4 + 4)?; // Error, partition, leader and its epoch.
                    reader.numbers()?;
                    reader.numbers()?;
                    reader.numbers()?;
                    reader.tags()
                })?;
                self.response.parts_left -= 1;
                Ok(used)
            }
            _ => {
                let ((), used) = element(view, true, |reader| {
                    reader.i32()?;
                    reader.tags()
                })?;
                self.response.at = At::Topic;
                Ok(used)
            }
        }
    }
}
