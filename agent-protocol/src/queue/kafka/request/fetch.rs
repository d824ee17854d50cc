//! Fetch requests: where the client reads from.
//!
//! In: the elements of a request. Out: positions, in `Shared`. Always holds: a session's later requests say only what changed, so positions
//! stay until a request begins a new session. Refuses: followers.

use super::{Asked, At, ToBroker, Used};
use crate::queue::Event;
use crate::queue::kafka::topics::said;
use crate::queue::kafka::wire::element;

impl ToBroker<'_> {
    pub(super) fn fetch(&mut self, view: &[u8]) -> Used {
        let (version, flexible) = (self.request.version, self.request.flexible);
        match self.request.at {
            At::Fetch => {
                let ((replica, is_whole, count), used) = element(view, flexible, |reader| {
                    let replica = if version <= 14 { reader.i32()? } else { -1 };
                    reader.raw(13)?; // Waiting time, least and most bytes, isolation.
                    let mut is_whole = true;
                    if version >= 7 {
                        reader.i32()?;
                        is_whole = reader.i32()? <= 0; // The session's epoch.
                    }
                    Ok((replica, is_whole, reader.count()?))
                })?;
                if replica >= 0 {
                    return self.rest();
                }
                if is_whole {
                    self.shared.positions.clear();
                }
                self.request.topics_left = count;
                self.request.at = At::FetchTopic;
                self.ask(Asked::Fetch);
                if self.shared.tells_fetches {
                    (self.out)(Event::Fetching);
                }
                Ok(used)
            }
            At::FetchTopic if self.request.topics_left == 0 => {
                self.request.at = At::Forgotten;
                Ok(0)
            }
            At::FetchTopic => {
                let ((topic, count), used) = element(view, flexible, |reader| {
                    Ok((self.topic(reader, version >= 13)?, reader.count()?))
                })?;
                self.request.topic = topic;
                self.request.topics_left -= 1;
                self.request.parts_left = count;
                self.request.at = At::FetchPart;
                Ok(used)
            }
            At::FetchPart if self.request.parts_left == 0 => {
                self.request.at = At::FetchTopicEnd;
                Ok(0)
            }
            At::FetchPart => {
                let ((partition, offset), used) = element(view, flexible, |reader| {
                    let partition = reader.i32()?;
                    if version >= 9 {
                        reader.i32()?;
                    }
                    let offset = reader.i64()?;
                    if version >= 12 {
                        reader.i32()?;
                    }
                    if version >= 5 {
                        reader.i64()?;
                    }
                    reader.i32()?;
                    reader.tags()?;
                    Ok((partition, offset))
                })?;
                self.request.parts_left -= 1;
                let word = said(&self.request.topic);
                self.shared.fetches(word, partition, offset);
                Ok(used)
            }
            _ => {
                let ((), used) = element(view, flexible, |reader| reader.tags())?;
                self.request.at = At::FetchTopic;
                Ok(used)
            }
        }
    }

    /// From version 15 on the last fields say whether a follower asks.
    pub(super) fn fetch_end(&mut self, view: &[u8]) -> Used {
        let flexible = self.request.flexible;
        match self.request.at {
            At::Forgotten if self.request.version < 15 => self.rest(),
            At::Forgotten => {
                let (count, used) = element(view, flexible, |reader| reader.count())?;
                self.request.topics_left = count;
                self.request.at = At::ForgottenTopic;
                Ok(used)
            }
            At::ForgottenTopic if self.request.topics_left == 0 => {
                self.request.at = At::FetchEnd;
                Ok(0)
            }
            At::ForgottenTopic => {
                let ((), used) = element(view, flexible, |reader| {
                    reader.uuid()?;
                    reader.numbers()?;
                    reader.tags()
                })?;
                self.request.topics_left -= 1;
                Ok(used)
            }
            _ => {
                let (is_follower, _) = element(view, flexible, |reader| {
                    reader.string()?; // Rack.
                    let mut is_follower = false;
                    reader.each_tag(&mut |tag, _| is_follower |= tag == 1)?;
                    Ok(is_follower)
                })?;
                if is_follower {
                    self.shared.forget_last(self.request.correlation);
                }
                self.rest()
            }
        }
    }
}
