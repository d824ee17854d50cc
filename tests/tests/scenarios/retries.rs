//! Calls that are made again: attempts of libraries, loops, curl, nginx and axios; and requests with a key.

use std::collections::HashMap;

use suture_tests::check::{Complaints, collect, of_process};
use suture_tests::curl::curl_ok;
use suture_tests::process::{Folder, free_port};
use suture_tests::scene::unique_id;
use suture_tests::span::{ReceivedLink, listing};
use suture_tests::victims::Victim;
use suture_tests::victims::nginx::{Behind, nginx};
use suture_tests::victims::python::http_server;
use suture_tests::victims::retries::{axios_retry, flaky, shop};
use suture_tests::{Kind, ReceivedSpan, Scene, Value};

/// Customers that pay at once.
const CUSTOMERS: usize = 12;

fn evidence(link: &ReceivedLink) -> &str {
    match link.attributes.get("suture.link.evidence") {
        Some(Value::Str(text)) => text,
        _ => "",
    }
}

/// What must be true of every link, whoever made the calls.
fn right_links(complaints: &mut Complaints, spans: &[ReceivedSpan]) {
    for span in spans {
        for link in &span.links {
            let other = spans
                .iter()
                .find(|other| other.span_id == link.span_id && other.trace_id == link.trace_id);
            let Some(other) = other else {
                complaints.unless(false, || {
                    format!("linked to a span that is not there: {}", span.line())
                });
                continue;
            };
            if evidence(link) == "retry" {
                let same = other.parent == span.parent
                    && other.kind == Kind::Client
                    && other.resource_int("process.pid") == span.resource_int("process.pid")
                    && other.end <= span.start;
                complaints.unless(same, || format!("WRONG LINK: {}", listing([span, other])));
            }
        }
    }
}

/// The attempts of each parent among `calls`, in order.
fn by_parent<'a>(
    calls: impl Iterator<Item = &'a ReceivedSpan>,
) -> HashMap<Option<Vec<u8>>, Vec<&'a ReceivedSpan>> {
    let mut parents: HashMap<_, Vec<_>> = HashMap::new();
    for call in calls {
        parents.entry(call.parent.clone()).or_default().push(call);
    }
    for attempts in parents.values_mut() {
        attempts.sort_by_key(|span| span.start);
    }
    parents
}

/// Requires that each attempt but the first is linked to the one before and numbered.
fn chained(complaints: &mut Complaints, what: &str, attempts: &[&ReceivedSpan], count: usize) {
    complaints.unless(attempts.len() == count, || {
        format!(
            "{what}: {} attempts instead of {count}: {}",
            attempts.len(),
            listing(attempts.iter().copied())
        )
    });
    let mut before: Option<&ReceivedSpan> = None;
    for (n, attempt) in attempts.iter().enumerate() {
        let links: Vec<(Vec<u8>, &str)> = attempt
            .links
            .iter()
            .map(|link| (link.span_id.clone(), evidence(link)))
            .collect();
        let expected: Vec<_> = before
            .map(|span| (span.span_id.clone(), "retry"))
            .into_iter()
            .collect();
        complaints.equal(
            &format!("{what}: links of attempt {n}"),
            attempt,
            links,
            expected,
        );
        let is_http = attempt.name != "connect";
        let number = (n > 0 && is_http).then_some(n as i64);
        complaints.equal(
            &format!("{what}: number of attempt {n}"),
            attempt,
            attempt.int("http.request.resend_count"),
            number,
        );
        before = Some(attempt);
    }
}

/// All customers ask at once; the body of each answer must be `expected`.
fn all_customers(shop: &Victim, path: &str, expected: &str) {
    let url = shop.url();
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..CUSTOMERS)
            .map(|customer| {
                let url = format!("{url}{path}?customer={customer}");
                scope.spawn(move || curl_ok(&url, &[], 200).unwrap().body)
            })
            .collect();
        for call in calls {
            assert_eq!(call.join().unwrap(), expected, "{path}");
        }
    });
}

#[test]
fn attempts_of_one_payment_are_linked_and_those_of_two_customers_never() {
    let scene = Scene::open().unwrap();
    let bank = flaky().unwrap();
    let gone = free_port().unwrap();
    let shop = shop(&bank, gone).unwrap();
    let agent = scene.agent().start().unwrap();
    // (how, attempts of each customer, are they linked?, answer)
    let cases = [
        ("pay/503/2", 3, true, "200"),
        ("pay/close/2", 3, true, "200"),
        ("pay/hang/1", 2, true, "200"),
        ("loop/429/3", 4, true, "paid"),
        ("loop/close/1", 2, true, "paid"),
        ("pay/200/0", 1, true, "200"),
        ("next/503/1", 2, false, "[503, 200]"),
    ];
    let mut ids = Vec::new();
    for (how, _, _, answer) in cases {
        let id = unique_id();
        all_customers(&shop, &format!("/{how}/{id}"), answer);
        ids.push(id);
    }
    let gone_id = unique_id();
    let body = curl_ok(&format!("{}/gone/{gone_id}", shop.url()), &[], 200)
        .unwrap()
        .body;
    assert_eq!(body, "ConnectionError");
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let spans = collect(scene.receiver(), &names, 6 * CUSTOMERS);
    let connects: Vec<ReceivedSpan> = scene
        .receiver()
        .settle(std::time::Duration::from_millis(600))
        .into_iter()
        .filter(|span| span.name == "connect" && span.int("server.port") == Some(i64::from(gone)))
        .collect();
    let pids = shop.pids();
    agent.stop().unwrap();

    let mut complaints = Complaints::default();
    right_links(&mut complaints, &spans);
    for ((how, count, linked, _), id) in cases.iter().zip(&ids) {
        let calls = spans.iter().filter(|span| {
            span.kind == Kind::Client
                && of_process(span, &pids)
                && span.path().ends_with(id.as_str())
        });
        let parents = by_parent(calls);
        complaints.unless(
            parents.len() == CUSTOMERS && !parents.contains_key(&None),
            || {
                format!(
                    "{how}: calls of {} parents instead of {CUSTOMERS}",
                    parents.len()
                )
            },
        );
        for attempts in parents.values() {
            if *linked {
                chained(&mut complaints, how, attempts, *count);
            } else {
                for attempt in attempts {
                    complaints.unless(attempt.links.is_empty(), || {
                        format!("{how}: {}", attempt.line())
                    });
                }
            }
        }
    }
    for span in spans
        .iter()
        .filter(|span| span.kind == Kind::Server || !of_process(span, &pids))
    {
        complaints.unless(span.links.is_empty(), || format!("linked: {}", span.line()));
    }
    right_links(&mut complaints, &connects);
    for attempts in by_parent(connects.iter()).values() {
        chained(&mut complaints, "a port where nobody listens", attempts, 3);
    }
    complaints.unless(!connects.is_empty(), || "no attempts to connect".to_owned());
    complaints.verdict("attempts").unwrap();
}

#[test]
fn curl_s_attempts_are_linked_only_by_an_idempotency_key() {
    let scene = Scene::open().unwrap();
    let bank = flaky().unwrap();
    let agent = scene.agent().start().unwrap();
    let (plain, keyed) = (unique_id(), unique_id());
    let key = format!("Idempotency-Key: {}", unique_id());
    let flags = ["--retry", "3", "--retry-delay", "1"];
    for (id, more) in [(&plain, &[][..]), (&keyed, &["-H", &key][..])] {
        // curl prints the bodies of all attempts.
        let flags = [&flags[..], more].concat();
        curl_ok(&format!("{}/fail/503/1/{id}", bank.url()), &flags, 200).unwrap();
    }
    let spans = collect(scene.receiver(), &[&plain, &keyed], 4);
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    right_links(&mut complaints, &spans);
    let calls = |id: &str| {
        let mut calls: Vec<&ReceivedSpan> = spans
            .iter()
            .filter(|span| span.kind == Kind::Client && span.path().ends_with(id))
            .collect();
        calls.sort_by_key(|span| span.start);
        calls
    };
    complaints.unless(calls(&plain).len() == 2, || listing(calls(&plain)));
    for call in calls(&plain) {
        complaints.unless(call.links.is_empty(), || {
            format!("a root without a key: {}", call.line())
        });
    }
    chained(&mut complaints, "with a key", &calls(&keyed), 2);
    for span in spans.iter().filter(|span| span.kind == Kind::Server) {
        complaints.unless(span.links.is_empty(), || {
            format!("only the call is linked: {}", span.line())
        });
    }
    complaints.verdict("curl --retry").unwrap();
}

#[test]
fn nginx_s_next_upstream_is_nobody_else_s() {
    let scene = Scene::open().unwrap();
    let (bank, gone) = (flaky().unwrap(), free_port().unwrap());
    let well = http_server(None).unwrap();
    let front = nginx(1, &Behind::Upstreams(&[gone, bank.port, well.port])).unwrap();
    let agent = scene.agent().start().unwrap();
    let ids: Vec<String> = (0..CUSTOMERS).map(|_| unique_id()).collect();
    std::thread::scope(|scope| {
        for id in &ids {
            let url = format!("{}/fail/503/1/{id}", front.url());
            // http.server does not know the path: 404 is an answer all the same.
            scope.spawn(move || suture_tests::curl::curl(&url, &[]).unwrap());
        }
    });
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let spans = collect(scene.receiver(), &names, 5);
    let pids = front.pids();
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    right_links(&mut complaints, &spans);
    let (mut roots, mut children) = (0, 0);
    for span in spans
        .iter()
        .filter(|span| span.kind == Kind::Client && of_process(span, &pids))
    {
        let Some(parent) = &span.parent else {
            roots += 1;
            complaints.unless(span.links.is_empty(), || {
                format!("a linked root: {}", span.line())
            });
            continue;
        };
        children += 1;
        let of = spans.iter().find(|other| &other.span_id == parent);
        complaints.unless(of.is_some_and(|of| of.path() == span.path()), || {
            format!("WRONG PARENT: {}", span.line())
        });
    }
    println!("nginx: {children} calls with their parent, {roots} roots");
    complaints.unless(roots + children > CUSTOMERS, || {
        "nothing was tried again".to_owned()
    });
    complaints.verdict("proxy_next_upstream").unwrap();
}

#[test]
fn axios_retry_s_roots_are_not_linked() {
    let scene = Scene::open().unwrap();
    let bank = flaky().unwrap();
    let caller = axios_retry(&bank).unwrap();
    let agent = scene.agent().start().unwrap();
    let id = unique_id();
    all_customers_of_axios(&caller, &id);
    let spans = collect(scene.receiver(), &[&id], 8 * CUSTOMERS);
    let pids = caller.pids();
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    let calls: Vec<&ReceivedSpan> = spans
        .iter()
        .filter(|span| span.kind == Kind::Client && of_process(span, &pids))
        .collect();
    complaints.unless(calls.len() == 3 * CUSTOMERS, || {
        format!("{} calls", calls.len())
    });
    for span in &spans {
        complaints.unless(span.links.is_empty(), || format!("linked: {}", span.line()));
    }
    complaints.verdict("axios-retry").unwrap();
}

fn all_customers_of_axios(caller: &Victim, id: &str) {
    let url = format!("{}/pay/503/2/{id}", caller.url());
    std::thread::scope(|scope| {
        for customer in 0..CUSTOMERS {
            let (url, header) = (&url, format!("X-Customer: {customer}"));
            scope.spawn(move || curl_ok(url, &["-H", &header], 200).unwrap());
        }
    });
}

#[test]
fn a_webhook_with_the_same_key_is_linked_to_what_caused_it() {
    let scene = Scene::open().unwrap();
    let server = http_server(None).unwrap();
    let folder = Folder::new().unwrap();
    let agent = scene
        .agent()
        .configured(&folder, "[correlation]\nkeys = [\"X-Payment\"]\n")
        .unwrap()
        .start()
        .unwrap();
    let (first, hook, other) = (unique_id(), unique_id(), unique_id());
    let value = format!("payment-{}", unique_id());
    for (id, value) in [
        (&first, value.clone()),
        (&hook, value.clone()),
        (&other, format!("{value}-2")),
    ] {
        let header = format!("x-payment: {value}");
        curl_ok(
            &format!("{}/leaf/{id}/0", server.url()),
            &["-H", &header],
            200,
        )
        .unwrap();
        std::thread::sleep(suture_tests::scene::scaled(
            std::time::Duration::from_millis(500),
        ));
    }
    let spans = collect(scene.receiver(), &[&first, &hook, &other], 2);
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    let caller = |id: &str| {
        spans
            .iter()
            .find(|span| span.kind == Kind::Client && span.path().contains(id))
            .unwrap()
    };
    for span in &spans {
        let links: Vec<_> = span
            .links
            .iter()
            .map(|link| (link.span_id.clone(), evidence(link)))
            .collect();
        let expected = if span.span_id == caller(&hook).span_id {
            vec![(caller(&first).span_id.clone(), "key")]
        } else {
            Vec::new()
        };
        complaints.equal("links", span, links, expected);
        complaints.unless(!format!("{span:?}").contains(&value), || {
            format!("the key left: {}", span.line())
        });
    }
    complaints.unless(spans.len() == 6, || listing(&spans));
    complaints.verdict("a webhook").unwrap();
}
