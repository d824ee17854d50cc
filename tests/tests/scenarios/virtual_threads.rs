//! Java's virtual threads, of the releases that `tests/victims/setup.sh` installs.

use suture_tests::Scene;
use suture_tests::victims::compiled;

use super::parents::{Expected, Parent, of_calls};

const RELEASES: [u32; 2] = [21, 25];
const OWN: Expected = Expected {
    calls: 2,
    parent: Parent::Its,
    is_asked_ahead: true,
};
const OTHERS: Expected = Expected {
    parent: Parent::ItsOrNone,
    ..OWN
};

/// Sends requests to `/NAME/ID` of `Threads KIND`; returns how many calls had their parent.
fn calls_have_parents(
    release: u32,
    (kind, options): (&str, &[&str]),
    name: &str,
    expected: Expected,
    in_flight: usize,
) -> usize {
    let scene = Scene::open().unwrap();
    let leaf = compiled::go_late(4).unwrap();
    let victim = compiled::java_threads(release, kind, options, &leaf).unwrap();
    println!("Java {release}");
    of_calls(&scene, &victim, name, expected, in_flight)
}

const CONNECTIONS: (&str, &[&str]) = ("connections", &[]);

#[test]
fn what_a_virtual_thread_calls_is_its_requests() {
    for release in RELEASES {
        for in_flight in [1, 64] {
            calls_have_parents(release, CONNECTIONS, "calls", OWN, in_flight);
        }
    }
}

#[test]
fn while_garbage_is_collected_all_the_time_no_parent_is_wrong() {
    // What 25 keeps is no object. 21's objects are not read while they may move.
    for (release, expected) in [(21, OTHERS), (25, OWN)] {
        let program: (&str, &[&str]) = ("connections", &["collect"]);
        let right = calls_have_parents(release, program, "calls", expected, 16);
        assert!(right > 0, "{release}");
    }
}

#[test]
fn what_others_call_for_it_is_never_another_requests() {
    for (name, calls) in [("children", 2), ("thread", 1), ("worker", 1)] {
        for release in RELEASES {
            let expected = Expected { calls, ..OTHERS };
            calls_have_parents(release, CONNECTIONS, name, expected, 64);
        }
    }
}

#[test]
fn what_an_event_loop_in_a_virtual_thread_calls_is_no_requests() {
    for release in RELEASES {
        // With one request at a time nothing but its waits tells it from a thread for that request.
        for in_flight in [1, 64] {
            let expected = Expected { calls: 1, ..OTHERS };
            let right = calls_have_parents(release, ("loop", &[]), "loop", expected, in_flight);
            assert_eq!(right, 0);
        }
    }
}
