//! Messages that come a second time: attempts of jobs, deliveries, records of logs.
//!
//! In: deliveries, and how they ended. Out: of each the one before it, and how many there were. Always holds: bounded, the oldest goes first.
//! Refuses: to take a job for the attempt of another that had its id and succeeded, where its library says that it is new.

use agent_common::abi::{ProcessKey, SocketKey};
use agent_protocol::queue::{Key, Message};

use super::logs::Fetched;
use super::units::{At, UnitKey};
use crate::exchange::{Exchange, Outcome};
use crate::semconv;
use crate::shared::Shared;
use crate::span::SpanId;

/// The latest attempt of a job.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    span: SpanId,
    /// How many came before it.
    number: u32,
    /// It is over, and nobody said that it failed.
    has_succeeded: bool,
}

impl Shared {
    /// The message is an attempt of this job.
    pub(super) fn is_attempt(&mut self, job: Key, exchange: &mut Exchange, is_again: bool) {
        let (consumer, at_ns) = (exchange.ids.span, exchange.start_ktime_ns);
        let Some(parcel) = &mut exchange.message else {
            return;
        };
        // An id that is used once more, when the job that had it is done, is another job's.
        let is_first = parcel.retries == Some(0) && !is_again;
        let before = self.work.attempts.get(&job).copied();
        let before = before.filter(|before| !(is_first && before.has_succeeded));
        let counted = parcel
            .retries
            .or(before.map(|before| before.number.saturating_add(1)));
        parcel.before = before.map(|before| before.span);
        parcel.retries = counted.filter(|retries| *retries > 0 || before.is_some());
        let attempt = Attempt {
            span: consumer,
            number: counted.unwrap_or(0),
            has_succeeded: false,
        };
        self.work.attempts.put(job, attempt, at_ns);
    }

    /// The attempt of the job with one of these keys is over, and nobody said that it failed.
    pub(super) fn has_succeeded(&mut self, keys: &[Key], consumer: SpanId) {
        let job = keys.iter().find(|key| key.is_of_a_job());
        if let Some(attempt) = job.and_then(|job| self.work.attempts.get_mut(job)) {
            attempt.has_succeeded |= attempt.span == consumer;
        }
    }

    /// Whether a record of a log is one that its client has already: returns the consumer then. One that it works on again is linked to its delivery
    /// before, which is over.
    pub(super) fn fetched(
        &mut self,
        exchange: &mut Exchange,
        unit: Option<UnitKey>,
        socket: SocketKey,
    ) -> Option<SpanId> {
        let (consumer, at_ns) = (exchange.ids.span, exchange.start_ktime_ns);
        let parcel = exchange.message.as_deref_mut()?;
        let again = match self
            .work
            .logs
            .fetched((exchange.process, socket), parcel, at_ns)
        {
            Fetched::Known(before) => {
                if let (Some(unit), Some(open)) = (unit, self.work.open.get_mut(&before)) {
                    open.unit = Some(unit);
                    self.work.set_unit(unit, At::Working(before));
                }
                return Some(before);
            }
            Fetched::Again(before, number) => Some((before, number)),
            Fetched::New => None,
        };
        if let Some((before, number)) = again {
            (parcel.before, parcel.retries) = (Some(before), Some(number));
        }
        let number = again.map_or(0, |(_, number)| number);
        let reader = (exchange.process, socket);
        self.work.logs.is(reader, parcel, (consumer, number, at_ns));
        if let Some((before, _)) = again {
            self.end_work(before, Outcome::Failed(semconv::ERROR_RETRIED), at_ns);
        }
        None
    }

    /// Links a message that is no job's, and that its broker delivers once more, to the delivery before.
    pub(super) fn delivered_again(
        &mut self,
        producer: SpanId,
        exchange: &mut Exchange,
        is_again: bool,
    ) {
        let Some(parcel) = exchange.message.as_deref_mut() else {
            return;
        };
        if parcel.job.is_some() {
            return;
        }
        let to = (producer, parcel.recipient());
        let mut before = self.work.deliveries.get(&to).copied();
        if let (true, None) = (is_again, before) {
            // A dead letter lies in another queue than the one where it was refused.
            let refused = self.work.refused.get(&producer).copied().flatten();
            before = refused.map(|span| (span, 0));
        }
        // A group is given a record of a log once, but when the member that had it is gone, has given it back or went back to it.
        let has_moved = parcel.offset.is_some() && parcel.group.is_some();
        let at_ns = exchange.start_ktime_ns;
        let mut moved = None;
        if let Some((span, number)) = before
            && (has_moved || is_again && parcel.before.is_none())
        {
            parcel.before = Some(span);
            parcel.retries = match parcel.retries {
                Some(retries) if !has_moved => Some(retries),
                _ => Some(number + 1),
            };
            moved = Some(span).filter(|_| has_moved);
        }
        let latest = (exchange.ids.span, parcel.retries.unwrap_or(0));
        self.work.deliveries.put(to, latest, at_ns);
        if let Some(before) = moved {
            self.work.logs.moved(before, at_ns);
            self.end_work(before, Outcome::Failed(semconv::ERROR_RETRIED), at_ns);
        }
    }

    /// A connection with a broker was closed.
    pub(crate) fn broker_left(&mut self, socket: SocketKey, at_ns: u64) {
        self.work.logs.closed(socket, at_ns);
    }

    /// The latest attempt of the job that a message is of.
    pub(crate) fn attempt_of(&self, keys: &[Key]) -> Option<SpanId> {
        let job = keys.iter().find(|key| key.is_of_a_job())?;
        self.work.attempts.get(job).map(|attempt| attempt.span)
    }

    /// The attempt that puts its job to be tried again: by the message's number it is the next one, and its process is at work on the one before.
    pub(crate) fn attempt_retried(&self, put: &Message, by: ProcessKey) -> Option<SpanId> {
        let job = put.job.as_ref()?;
        let attempt = *self.work.attempts.get(&job.key)?;
        let open = self.work.open.get(&attempt.span)?;
        let is_next = job.retries? == attempt.number.checked_add(1)?;
        (is_next && open.exchange.process == by).then_some(attempt.span)
    }
}
