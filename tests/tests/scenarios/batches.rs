//! Messages that a thread takes several at a time: its calls are nobody's children, and linked to the messages that they may be for.

use std::time::Duration;

use suture_tests::check::{Complaints, of_process, unique};
use suture_tests::client::get_all;
use suture_tests::scene::unique_ids;
use suture_tests::span::listing;
use suture_tests::victims::jobs::{Library, crew};
use suture_tests::victims::leaf;
use suture_tests::{Kind, ReceivedSpan, Scene};

#[test]
fn calls_of_a_thread_that_took_several_messages_are_linked_to_each_of_them() {
    const MESSAGES: usize = 5;
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let crew = crew(Library::Lists, &leaf, 1).unwrap();
    let ids = unique_ids(MESSAGES);
    let paths: Vec<String> = ids.iter().map(|id| format!("/put/batch/{id}")).collect();
    get_all(crew.shop.port, &paths, MESSAGES).unwrap();
    let pids = [crew.worker.pid()];
    let is_call = |span: &&ReceivedSpan| {
        span.kind == Kind::Client && of_process(span, &pids) && span.path().starts_with("/leaf/")
    };
    let _ = scene.receiver().wait_until(
        |spans| spans.iter().filter(is_call).count() >= 2 * MESSAGES,
        Duration::from_secs(15),
    );
    scene.receiver().settle(Duration::from_millis(500));
    let ended = agent.stop().unwrap();
    let spans = scene.receiver().spans();
    let mut complaints = Complaints::default();
    let mut linked = 0;
    for id in &ids {
        let path = format!("/put/batch/{id}");
        let served = complaints.only(&path, &spans, |span| {
            span.kind == Kind::Server && span.path() == path
        });
        let Some(served) = served else { continue };
        let work = complaints.only("work", &spans, |span| {
            span.kind == Kind::Consumer && span.trace_id == served.trace_id
        });
        let Some(work) = work else { continue };
        for nth in 0..2 {
            let path = format!("/leaf/{id}/{nth}");
            let call = complaints.only(&path, &spans, |span| is_call(&span) && span.path() == path);
            let Some(call) = call else { continue };
            let names_it = call
                .links
                .iter()
                .any(|link| link.span_id == work.span_id && link.trace_id == work.trace_id);
            let is_child = call.parent.as_ref() == Some(&work.span_id);
            // The first may have been taken alone.
            complaints.unless(is_child || call.parent.is_none() && names_it, || {
                format!(
                    "{} is neither under {} nor linked to it",
                    call.line(),
                    work.line()
                )
            });
            let evidence: Vec<_> = call
                .links
                .iter()
                .map(|link| link.attributes.get("suture.link.evidence").cloned())
                .collect();
            complaints.unless(
                evidence
                    .iter()
                    .all(|found| format!("{found:?}").contains("batch")),
                || format!("{evidence:?}"),
            );
            linked += usize::from(!call.links.is_empty());
        }
    }
    complaints.unless(linked > 0, || {
        format!(
            "nothing is linked: {}\nthe agent said:\n{}",
            listing(spans.iter().filter(is_call)),
            ended.stderr
        )
    });
    unique(&mut complaints, &spans);
    complaints.verdict("a batch").unwrap();
}
