//! What conversations whose messages say their length first must hold on any bytes.
//!
//! In: a list of steps: a byte that says which way and what (as `conversations` has them), four bytes of length, bytes. Out: a panic when a
//! property is broken: without holes, pieces cut at every byte give the same events; with holes, as well as without, texts and keys stay
//! bounded, and so does memory.

use super::conversations::{SMALL, bounded, feed, steps};
use crate::queue::{Conversation, Event, Keyer, Limits, Way, kafka, postgres};
use crate::stream::{Begin, Input};

/// `queue::kafka::Client`.
pub fn kafka(bytes: &[u8]) {
    hold(bytes, &|begin, limits| {
        Box::new(kafka::Client::new(begin, limits, Keyer::new([7; 16])))
    });
    let short = &bytes[..bytes.len().min(24)];
    assert_eq!(kafka::is_kafka(bytes), kafka::is_kafka(short));
}

/// `queue::postgres::Client`.
pub fn postgres(bytes: &[u8]) {
    hold(bytes, &|begin, limits| {
        Box::new(postgres::Client::new(begin, limits, Keyer::new([7; 16])))
    });
    let short = &bytes[..bytes.len().min(24)];
    assert_eq!(postgres::is_postgres(bytes), postgres::is_postgres(short));
}

/// A conversation that says when it was out of step: from there on it depends on where pieces begin what it finds.
trait Watched: Conversation {
    fn fell(&self) -> bool;
}

impl Watched for kafka::Client {
    fn fell(&self) -> bool {
        Self::fell(self)
    }
}

impl Watched for postgres::Client {
    fn fell(&self) -> bool {
        Self::fell(self)
    }
}

type Make = dyn Fn(Begin, Limits) -> Box<dyn Watched>;

fn hold(bytes: &[u8], make: &Make) {
    let all = steps(bytes);
    let mut seen = all.clone();
    seen.retain(|(_, input)| matches!(input, Input::Bytes(_)));
    for limits in [Limits::default(), SMALL] {
        let whole = run(
            &seen,
            make(Begin::Boundary, limits),
            limits,
            Some(usize::MAX),
        );
        for most in [1, 7] {
            let cut = run(&seen, make(Begin::Boundary, limits), limits, Some(most));
            assert!(
                whole == cut,
                "whole and cut differ:\n{}\n{whole:#?}\n{cut:#?}",
                bytes.escape_ascii()
            );
        }
        for begin in [Begin::Boundary, Begin::Midstream] {
            run(&all, make(begin, limits), limits, None);
        }
    }
}

fn run(
    steps: &[(Way, Input<'_>)],
    mut conversation: Box<dyn Watched>,
    limits: Limits,
    most: Option<usize>,
) -> Vec<Event> {
    let (is_compared, most) = (most.is_some(), most.unwrap_or(usize::MAX));
    let mut in_step = 0;
    // A piece of each direction, the names of what is awaited, and room.
    let most_held = 16 * 1024 + 4 * limits.message_bytes + 512 * limits.in_flight;
    let mut events = Vec::new();
    for (way, input) in steps {
        feed(*input, most, &mut |input| {
            conversation.push(*way, input, &mut |event| events.push(event));
        });
        if conversation.fell() && is_compared {
            break;
        }
        in_step = events.len();
        let held = conversation.held();
        assert!(held <= most_held, "{held} are held, {most_held} may be");
    }
    events.iter().for_each(bounded);
    if is_compared {
        events.truncate(in_step);
    }
    events
}
