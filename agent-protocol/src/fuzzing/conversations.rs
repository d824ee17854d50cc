//! What every conversation of a queue must hold on any bytes.
//!
//! In: a list of steps as recordings in `tests/queue_peers` have them: a byte that says which way and what, four bytes of length, bytes.
//! Out: a panic when a property is broken: pieces cut at every byte must give the same events, names and keys stay bounded, and so does
//! memory.

use crate::queue::{
    Conversation, Event, KEYS_MAX, Keyer, Limits, Message, NAME_MAX, Way, amqp, mqtt, nats, redis,
    sqs,
};
use crate::stream::{Begin, Input};

/// Steps of one input.
const STEPS_MAX: usize = 512;
/// What a conversation may hold beside what its limits say: contents in progress on many channels.
const HELD_MAX: usize = 512 * 1024;

/// `queue::amqp::Client`.
pub fn amqp(bytes: &[u8]) {
    hold(bytes, &|begin, limits| {
        Box::new(amqp::Client::new(begin, limits, Keyer::new([7; 16])))
    });
}

/// `queue::nats::Client`.
pub fn nats(bytes: &[u8]) {
    hold(bytes, &|begin, limits| {
        Box::new(nats::Client::new(begin, limits, Keyer::new([7; 16])))
    });
}

/// `queue::mqtt::Client`.
pub fn mqtt(bytes: &[u8]) {
    hold(bytes, &|begin, limits| {
        Box::new(mqtt::Client::new(begin, limits, Keyer::new([7; 16])))
    });
}

/// `queue::redis::Client`.
pub fn redis(bytes: &[u8]) {
    hold(bytes, &|begin, limits| {
        Box::new(redis::Client::new(begin, limits, Keyer::new([7; 16])))
    });
}

/// `queue::sqs::Call`, for each action.
pub fn sqs(bytes: &[u8]) {
    for action in sqs::Action::ALL {
        hold(bytes, &move |_, _| {
            Box::new(sqs::Call::new(action, Keyer::new([7; 16])))
        });
    }
}

type Make = dyn Fn(Begin, Limits) -> Box<dyn Conversation>;

/// Limits that are soon reached.
pub(super) const SMALL: Limits = Limits {
    message_bytes: 64,
    in_flight: 4,
};

fn hold(bytes: &[u8], make: &Make) {
    let steps = steps(bytes);
    for limits in [Limits::default(), SMALL] {
        for begin in [Begin::Boundary, Begin::Midstream] {
            let whole = run(&steps, make(begin, limits), limits, usize::MAX);
            for most in [1, 7] {
                let cut = run(&steps, make(begin, limits), limits, most);
                assert!(
                    whole == cut,
                    "whole and cut differ:\n{}\n{whole:#?}\n{cut:#?}",
                    bytes.escape_ascii()
                );
            }
        }
    }
}

fn run(
    steps: &[(Way, Input<'_>)],
    mut conversation: Box<dyn Conversation>,
    limits: Limits,
    most: usize,
) -> Vec<Event> {
    let most_held = HELD_MAX + 8 * limits.message_bytes + 1024 * limits.in_flight;
    let mut events = Vec::new();
    for (way, input) in steps {
        feed(*input, most, &mut |input| {
            conversation.push(*way, input, &mut |event| events.push(event));
        });
        let held = conversation.held();
        assert!(held <= most_held, "{held} are held, {most_held} may be");
    }
    for event in &events {
        bounded(event);
    }
    events
}

/// Gives an input in pieces of at most so many bytes.
pub(super) fn feed<'a>(input: Input<'a>, most: usize, push: &mut dyn FnMut(Input<'a>)) {
    match input {
        Input::Bytes([]) => push(input),
        Input::Bytes(bytes) => bytes
            .chunks(most.min(bytes.len()))
            .for_each(|piece| push(Input::Bytes(piece))),
        hole => push(hole),
    }
}

/// Texts and keys are bounded, and the surest key stands first.
pub(super) fn bounded(event: &Event) {
    let (destination, message): (&String, &Message) = match event {
        Event::Sent(sent) => (&sent.destination, &sent.message),
        Event::Delivered(delivered) => (&delivered.destination, &delivered.message),
        Event::Assigned(to) => {
            assert!(to.group.len() <= NAME_MAX && to.destination.len() <= NAME_MAX);
            return;
        }
        Event::Committed(committed) => {
            assert!(committed.group.len() <= NAME_MAX && committed.destination.len() <= NAME_MAX);
            return;
        }
        Event::Placed(placed) => {
            assert!(placed.keys.len() <= KEYS_MAX);
            return;
        }
        _ => return,
    };
    let names = [
        &message.id,
        &message.conversation,
        &message.key,
        &message.group,
    ];
    let names = names.into_iter().flatten().chain([destination]);
    let names = names.chain(message.job.as_ref().map(|job| &job.name));
    for name in names {
        assert!(name.len() <= NAME_MAX, "{} bytes of a name", name.len());
    }
    assert!(message.keys.len() <= KEYS_MAX);
    assert!(
        message.keys.is_sorted_by_key(|key| key.kind),
        "the surest key stands first"
    );
}

/// Reads the steps of an input.
pub(super) fn steps(bytes: &[u8]) -> Vec<(Way, Input<'_>)> {
    let (mut rest, mut steps) = (bytes, Vec::new());
    while let [what, l3, l2, l1, l0, after @ ..] = rest
        && steps.len() < STEPS_MAX
    {
        let way = if what & 1 == 0 {
            Way::ToBroker
        } else {
            Way::ToClient
        };
        let len = u32::from_be_bytes([*l3, *l2, *l1, *l0]);
        let piece = &after[..after.len().min(len as usize)];
        let (input, moved) = match what >> 1 & 7 {
            5 => {
                let tail = &piece[..piece.len().min(8)];
                let len = u64::from(len);
                (Input::Unseen { len, tail }, tail.len())
            }
            6 => {
                let len = Some(u64::from(len));
                (Input::Lost { len }, 0)
            }
            7 => (Input::Lost { len: None }, 0),
            _ => (Input::Bytes(piece), piece.len()),
        };
        steps.push((way, input));
        rest = &after[moved..];
    }
    steps
}
