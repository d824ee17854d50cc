//! What conversations whose messages say their length first must hold on any bytes.
//!
//! In: a list of steps: a byte that says which way and what (as `conversations` has them), four bytes of length, bytes. Out: a panic when a
//! property is broken: without holes, pieces cut at every byte give the same events; with holes, as well as without, texts and keys stay
//! bounded, and so does memory.

use crate::queue::{
    Conversation, Event, KEYS_MAX, Keyer, Limits, Message, NAME_MAX, Way, kafka, postgres,
};
use crate::stream::{Begin, Input};

/// Steps of one input.
const STEPS_MAX: usize = 512;

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
    let small = Limits {
        message_bytes: 64,
        in_flight: 4,
    };
    let all = steps(bytes);
    let mut seen = all.clone();
    seen.retain(|(_, input)| matches!(input, Input::Bytes(_)));
    for limits in [Limits::default(), small] {
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
        let mut push = |input| conversation.push(*way, input, &mut |event| events.push(event));
        match input {
            Input::Bytes([]) => push(*input),
            Input::Bytes(bytes) => bytes
                .chunks(most.min(bytes.len()))
                .for_each(|piece| push(Input::Bytes(piece))),
            hole => push(*hole),
        }
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

fn bounded(event: &Event) {
    let (name, message): (&String, &Message) = match event {
        Event::Sent(sent) => (&sent.destination, &sent.message),
        Event::Delivered(delivered) => (&delivered.destination, &delivered.message),
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
    let texts = [&message.id, &message.key, &message.group];
    for text in texts.into_iter().flatten().chain([name]) {
        assert!(text.len() <= NAME_MAX, "{} bytes of a text", text.len());
    }
    assert!(message.keys.len() <= KEYS_MAX);
    assert!(
        message.keys.is_sorted_by_key(|key| key.kind),
        "the surest key stands first"
    );
}

fn steps(bytes: &[u8]) -> Vec<(Way, Input<'_>)> {
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
