//! Settings seen from outside: what leaves the host, ignored paths, samplers, io_uring named.

use std::process::Command;

use suture_tests::Scene;
use suture_tests::check::{Complaints, collect};
use suture_tests::curl::curl_ok;
use suture_tests::process::Folder;
use suture_tests::scene::{unique_id, unique_ids};
use suture_tests::span::listing;
use suture_tests::victims::leaf;
use suture_tests::victims::python::{http_server, interpreter};

#[test]
fn secrets_never_leave_the_host() {
    let scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let id = unique_id();
    let secret = "s3cr3t-of-a-user";
    let flags = [
        "-H".to_owned(),
        format!("Authorization: Bearer {secret}"),
        "-H".to_owned(),
        format!("Cookie: session={secret}"),
        "--data-binary".to_owned(),
        format!("card={secret}"),
        "-u".to_owned(),
        format!("user:{secret}"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    curl_ok(
        &format!("{}/echo/{id}?token={secret}&{secret}", victim.url()),
        &flags,
        200,
    )
    .unwrap();
    let spans = collect(scene.receiver(), &[&id], 2);
    let ended = agent.stop().unwrap();
    let mut complaints = Complaints::default();
    complaints.unless(spans.len() == 2, || format!("{} spans", spans.len()));
    let leaks: Vec<_> = spans
        .iter()
        .filter(|span| format!("{span:?}").contains(secret))
        .collect();
    complaints.unless(leaks.is_empty(), || listing(leaks.iter().copied()));
    complaints.unless(
        !ended.stderr.contains(secret) && !ended.stdout.contains(secret),
        || ended.stderr.clone(),
    );
    complaints.verdict("secrets").unwrap();
}

#[test]
fn ignored_paths_make_no_spans() {
    let scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    let folder = Folder::new().unwrap();
    let id = unique_id();
    let settings = format!("[http]\nignore_paths = [\"/health/{id}\", \"/probe/{id}/*\"]\n");
    let file = folder
        .write("suture.toml", settings)
        .unwrap()
        .display()
        .to_string();
    let agent = scene.agent().args(&["--config", &file]).start().unwrap();
    for path in ["/health/ID", "/health/ID/deep", "/probe/ID/a/b", "/leaf/ID"] {
        curl_ok(
            &format!("{}{}", victim.url(), path.replace("ID", &id)),
            &[],
            200,
        )
        .unwrap();
    }
    let spans = collect(scene.receiver(), &[&id], 4);
    agent.stop().unwrap();
    let mut complaints = Complaints::default();
    for (path, expect) in [
        ("/health/ID", 0),
        ("/health/ID/deep", 2),
        ("/probe/ID/a/b", 0),
        ("/leaf/ID", 2),
    ] {
        let path = path.replace("ID", &id);
        let count = spans.iter().filter(|span| span.path() == path).count();
        complaints.unless(count == expect, || {
            format!("{count} spans of {path}, expected {expect}")
        });
    }
    complaints.verdict("ignored paths").unwrap();
}

#[test]
fn samplers_keep_or_drop_whole_traces() {
    // (sampler, its argument, may a trace be kept?, may a trace be dropped?)
    let cases = [
        ("always_on", "", true, false),
        ("always_off", "", false, true),
        ("parentbased_traceidratio", "0.5", true, true),
    ];
    for (sampler, argument, kept, dropped) in cases {
        let scene = Scene::open().unwrap();
        let leaf = leaf().unwrap();
        let victim = http_server(Some(&leaf)).unwrap();
        let agent = scene
            .agent()
            .env("OTEL_TRACES_SAMPLER", sampler)
            .env("OTEL_TRACES_SAMPLER_ARG", argument)
            .start()
            .unwrap();
        let ids = unique_ids(40);
        for id in &ids {
            curl_ok(&format!("{}/work/{id}", victim.url()), &[], 200).unwrap();
        }
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let spans = collect(
            scene.receiver(),
            &names,
            if kept && !dropped { 4 } else { 0 },
        );
        agent.stop().unwrap();
        let mut complaints = Complaints::default();
        let mut whole = 0;
        for id in &ids {
            let count = spans
                .iter()
                .filter(|span| span.path().contains(id.as_str()))
                .count();
            complaints.unless(count == 0 || count == 4, || {
                format!("{sampler}: {count} of 4 spans of a trace")
            });
            complaints.unless(kept || count == 0, || {
                format!("{sampler} let a trace through")
            });
            complaints.unless(dropped || count == 4, || {
                format!("{sampler} dropped a trace")
            });
            whole += usize::from(count == 4);
        }
        if kept && dropped {
            // Half of the traces, at random: all or none of them would come once in 2^(n-1) runs.
            complaints.unless(whole > 0 && whole < ids.len(), || {
                format!("{whole} of {} traces kept", ids.len())
            });
        }
        complaints.verdict(sampler).unwrap();
    }
}

#[test]
fn a_process_that_uses_io_uring_is_counted_and_named() {
    let scene = Scene::open().unwrap();
    let agent = scene.agent().start().unwrap();
    // io_uring_setup(1 entry, zeroed io_uring_params of 120 bytes); syscall 425 on every architecture.
    let script = "import ctypes, sys, time; p = ctypes.create_string_buffer(120); \
                  fd = ctypes.CDLL(None, use_errno=True).syscall(425, 1, p); \
                  time.sleep(0.5); \
                  sys.exit(0 if fd >= 0 else ctypes.get_errno())";
    let done = Command::new(interpreter().unwrap())
        .args(["-c", script])
        .status()
        .unwrap();
    assert!(
        done.success(),
        "this kernel refuses io_uring_setup (errno {:?}): the scenario needs it",
        done.code()
    );
    std::thread::sleep(suture_tests::scene::scaled(
        std::time::Duration::from_millis(500),
    ));
    let ended = agent.stop().unwrap();
    let line = ended.stderr.lines().find(|line| line.contains("io_uring"));
    assert!(
        line.is_some_and(|line| line.contains("python")),
        "io_uring is not named with its process:\n{}",
        ended.stderr
    );
}
