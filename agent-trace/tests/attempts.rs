//! Random programs that make the same call again and again: no link is wrong, and none is missing where calls do not overlap.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use proptest::prelude::{
    ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use support::End;
use support::calls::{BUSY, GET, OK, Scene};

/// What happens next: a call of a parent begins, or its oldest open one ends.
#[derive(Clone, Copy, Debug)]
enum Next {
    Call(u8),
    End(u8, bool),
}

#[derive(Clone, Copy, Debug)]
struct Call {
    parent: u8,
    n: u8,
    began: usize,
    ended: usize,
    failed: bool,
}

fn next(overlaps: bool) -> impl Strategy<Value = Vec<Next>> {
    let one = prop_oneof![
        (1..=3_u8).prop_map(Next::Call),
        (1..=3_u8, any::<bool>()).prop_map(|(parent, failed)| Next::End(parent, failed)),
    ];
    prop::collection::vec(one, 1..60).prop_map(move |steps| {
        let mut open = [0_u8; 4];
        let mut kept = Vec::new();
        for step in steps {
            let (Next::Call(parent) | Next::End(parent, _)) = step;
            let count = &mut open[usize::from(parent)];
            match step {
                Next::Call(_) if overlaps || *count == 0 => *count += 1,
                Next::End(..) if *count > 0 => *count -= 1,
                _ => continue,
            }
            kept.push(step);
        }
        kept
    })
}

/// Plays it; the calls as they were, and `(span, the one it is linked to, number)`.
fn play(steps: &[Next]) -> (Vec<Call>, Vec<(u8, u8, i64)>) {
    let mut scene = Scene::new();
    for parent in 1..=3 {
        scene.serve(parent);
    }
    let mut calls: Vec<Call> = Vec::new();
    let mut open: Vec<(u8, u8, End)> = Vec::new();
    let end = |scene: &mut Scene, calls: &mut Vec<Call>, n: u8, client: End, at: usize, failed| {
        scene.end(client, if failed { BUSY } else { OK });
        let call = calls.iter_mut().find(|call| call.n == n).unwrap();
        (call.ended, call.failed) = (at, failed);
    };
    for (at, step) in steps.iter().enumerate() {
        match *step {
            Next::Call(parent) => {
                let n = 10 + calls.len() as u8;
                open.push((parent, n, scene.begin(parent, n, GET)));
                calls.push(Call {
                    parent,
                    n,
                    began: at,
                    ended: usize::MAX,
                    failed: false,
                });
            }
            Next::End(parent, failed) => {
                let index = open.iter().position(|(of, ..)| *of == parent).unwrap();
                let (_, n, client) = open.remove(index);
                end(&mut scene, &mut calls, n, client, at, failed);
            }
        }
        scene.world.wait(20);
    }
    for (_, n, client) in open {
        end(&mut scene, &mut calls, n, client, steps.len(), false);
    }
    let outcome = scene.run();
    let mut links = Vec::new();
    for span in &outcome.spans {
        for link in &span.links {
            let number = support::text(span, "http.request.resend_count");
            links.push((
                span.span_id.0[0],
                link.span_id.0[0],
                number.parse().unwrap(),
            ));
        }
    }
    links.sort_unstable();
    (calls, links)
}

/// The equal call of its parent that ended last before it began.
fn before(calls: &[Call], call: &Call) -> Option<Call> {
    calls
        .iter()
        .filter(|other| other.parent == call.parent && other.ended < call.began)
        .max_by_key(|other| other.ended)
        .copied()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn calls_one_after_the_other_are_linked_exactly(steps in next(false)) {
        let (calls, links) = play(&steps);
        let mut expected: Vec<(u8, u8, i64)> = Vec::new();
        for call in &calls {
            if let Some(other) = before(&calls, call).filter(|other| other.failed) {
                let number = expected
                    .iter()
                    .find(|(n, ..)| *n == other.n)
                    .map_or(0, |(.., number)| *number);
                expected.push((call.n, other.n, number + 1));
            }
        }
        prop_assert_eq!(links, expected);
    }

    #[test]
    fn calls_beside_each_other_are_never_linked_wrongly(steps in next(true)) {
        let (calls, links) = play(&steps);
        for (n, to, _) in links {
            let call = calls.iter().find(|call| call.n == n).unwrap();
            let other = before(&calls, call);
            prop_assert!(
                other.is_some_and(|other| other.n == to && other.failed),
                "{n} is linked to {to}, and not to {other:?}: {calls:?}"
            );
        }
    }
}
