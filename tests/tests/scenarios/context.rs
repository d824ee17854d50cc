//! Trace context in headers: valid, invalid, not sampled, and passed on by a proxy.

use suture_tests::check::{Complaints, collect, of_process, well_formed};
use suture_tests::curl::curl_ok;
use suture_tests::scene::unique_id;
use suture_tests::victims::leaf;
use suture_tests::victims::nginx::{Behind, nginx};
use suture_tests::victims::python::http_server;
use suture_tests::{Kind, Scene};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn traceparent_by_the_rules_of_w3c() {
    // (header, is the header's parent the SERVER span's parent?)
    let long = format!("01-{TRACE}-{PARENT}-01-what-the-future-adds");
    let cases = [
        (format!("00-{TRACE}-{PARENT}-01"), true),
        (long, true),
        (format!("00-{TRACE}-{PARENT}-03"), true),
        (format!("00-{TRACE}-{PARENT}-01-extra"), false),
        (format!("ff-{TRACE}-{PARENT}-01"), false),
        (format!("00-{}-{PARENT}-01", "0".repeat(32)), false),
        (format!("00-{TRACE}-{}-01", "0".repeat(16)), false),
        (format!("00-{}-{PARENT}-01", TRACE.to_uppercase()), false),
        (format!("00-{TRACE}-{PARENT}"), false),
        ("nonsense".to_owned(), false),
    ];
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let victim = http_server(Some(&leaf)).unwrap();
    let agent = scene.agent().start().unwrap();
    let mut sent = Vec::new();
    for (header, valid) in &cases {
        let id = unique_id();
        let flags = [
            "-H",
            &format!("traceparent: {header}"),
            "-H",
            "tracestate: vendor=value",
        ];
        let outcome = curl_ok(&format!("{}/work/{id}", victim.url()), &flags, 200).unwrap();
        sent.push((id, outcome.pid, header, *valid));
    }
    let names: Vec<&str> = sent.iter().map(|(id, ..)| id.as_str()).collect();
    let spans = collect(scene.receiver(), &names, 4);
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    for (id, client, header, valid) in &sent {
        let served = complaints.only(
            &format!("SERVER span with traceparent {header}"),
            &spans,
            |span| span.kind == Kind::Server && span.path() == format!("/work/{id}"),
        );
        let Some(served) = served else { continue };
        well_formed(&mut complaints, served);
        if *valid {
            complaints.equal("trace id", served, served.trace_id.clone(), bytes(TRACE));
            complaints.equal("parent", served, served.parent.clone(), Some(bytes(PARENT)));
            complaints.equal("evidence", served, served.evidence(), "header");
            complaints.equal(
                "tracestate",
                served,
                served.trace_state.as_str(),
                "vendor=value",
            );
        } else {
            let caller = complaints.only(
                &format!("curl's CLIENT span with traceparent {header}"),
                &spans,
                |span| span.kind == Kind::Client && of_process(span, &[*client]),
            );
            let Some(caller) = caller else { continue };
            complaints.equal(
                "parent",
                served,
                served.parent.clone(),
                Some(caller.span_id.clone()),
            );
            complaints.equal("evidence", served, served.evidence(), "socket");
        }
        // The call made while serving follows, whatever the parent is.
        let calling = complaints.only("CLIENT span to the leaf", &spans, |span| {
            span.kind == Kind::Client && span.path() == format!("/leaf/{id}/0")
        });
        if let Some(calling) = calling {
            complaints.equal(
                "parent",
                calling,
                calling.parent.clone(),
                Some(served.span_id.clone()),
            );
            complaints.equal(
                "trace id",
                calling,
                calling.trace_id.clone(),
                served.trace_id.clone(),
            );
        }
    }
    complaints.verdict("traceparent").unwrap();
}

#[test]
fn a_trace_that_is_not_sampled_is_not_exported() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let victim = http_server(Some(&leaf)).unwrap();
    let agent = scene.agent().start().unwrap();
    let (unsampled, sampled) = (unique_id(), unique_id());
    for (id, flags) in [(&unsampled, "00"), (&sampled, "01")] {
        let header = format!("traceparent: 00-{TRACE}-{PARENT}-{flags}");
        curl_ok(
            &format!("{}/work/{id}", victim.url()),
            &["-H", &header],
            200,
        )
        .unwrap();
    }
    let of_sampled = collect(scene.receiver(), &[&sampled], 3);
    let of_unsampled = collect(scene.receiver(), &[&unsampled], 0);
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    complaints.unless(of_sampled.len() >= 3, || {
        format!("{} spans of the sampled trace", of_sampled.len())
    });
    for span in of_unsampled
        .iter()
        .filter(|span| span.kind == Kind::Server || span.path().starts_with("/leaf/"))
    {
        complaints.unless(false, || {
            format!("exported though sampled=0: {}", span.line())
        });
    }
    complaints.verdict("sampled=0").unwrap();
}

#[test]
fn nginx_passing_a_traceparent_on_does_not_skip_itself() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let behind = http_server(Some(&leaf)).unwrap();
    let front = nginx(1, &Behind::Proxy(&behind)).unwrap();
    let agent = scene.agent().start().unwrap();
    let id = unique_id();
    let header = format!("traceparent: 00-{TRACE}-{PARENT}-01");
    curl_ok(&format!("{}/work/{id}", front.url()), &["-H", &header], 200).unwrap();
    let spans = collect(scene.receiver(), &[&id], 5);
    let (front_pids, behind_pids) = (front.pids(), behind.pids());
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    let work = format!("/work/{id}");
    let mut find = |what: &str, kind: Kind, pids: &[u32]| {
        complaints
            .only(what, &spans, |span| {
                span.kind == kind && span.path() == work && of_process(span, pids)
            })
            .cloned()
    };
    let at_front = find("nginx's SERVER span", Kind::Server, &front_pids);
    let from_front = find("nginx's CLIENT span", Kind::Client, &front_pids);
    let at_behind = find("SERVER span behind nginx", Kind::Server, &behind_pids);
    if let (Some(at_front), Some(from_front), Some(at_behind)) = (at_front, from_front, at_behind) {
        for span in [&at_front, &from_front, &at_behind] {
            complaints.equal("trace id", span, span.trace_id.clone(), bytes(TRACE));
        }
        complaints.equal(
            "parent",
            &at_front,
            at_front.parent.clone(),
            Some(bytes(PARENT)),
        );
        complaints.equal(
            "parent",
            &from_front,
            from_front.parent.clone(),
            Some(at_front.span_id.clone()),
        );
        complaints.equal(
            "parent",
            &at_behind,
            at_behind.parent.clone(),
            Some(from_front.span_id.clone()),
        );
        complaints.equal("evidence", &at_behind, at_behind.evidence(), "socket");
    }
    complaints.verdict("traceparent through nginx").unwrap();
}
