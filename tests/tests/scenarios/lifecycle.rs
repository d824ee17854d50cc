//! The agent's own life: start, refuse, end, be killed; what it says in words.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use suture_tests::agent::{AgentCommand, binary, suture, suture_output};
use suture_tests::check::{Complaints, collect, unique};
use suture_tests::curl::curl_ok;
use suture_tests::process::{Folder, free_port, program, signal};
use suture_tests::scene::{scaled, unique_id, unique_ids};
use suture_tests::victims::{Serving, Victim, leaf};
use suture_tests::{Kind, Scene};

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Requires exit code 2, and stderr that is one short message with all of `words`, and no panic.
fn check_refuses(command: &mut Command, words: &[&str]) {
    let output = suture_output(command).unwrap();
    let stderr = stderr_of(&output);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{command:?} must exit with 2; stderr:\n{stderr}"
    );
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert!(
        (1..=4).contains(&lines.len()),
        "one clear sentence is expected from {command:?}, not:\n{stderr}"
    );
    // Scripts wait for `ready`; a refusal must not look like it.
    assert!(
        !stderr.contains("ready"),
        "a refusal that contains `ready` is taken for a start:\n{stderr}"
    );
    assert!(
        !stderr.contains("panicked") && !stderr.contains('\u{1b}'),
        "{command:?}:\n{stderr}"
    );
    for word in words {
        assert!(
            stderr.to_lowercase().contains(&word.to_lowercase()),
            "stderr of {command:?} lacks {word:?}:\n{stderr}"
        );
    }
}

#[test]
fn it_gets_ready_and_ends_with_0_on_sigterm_and_sigint() {
    for number in [libc::SIGTERM, libc::SIGINT] {
        let scene = Scene::open().unwrap();
        let mut agent = scene.agent().start().unwrap();
        assert!(agent.is_running());
        if number == libc::SIGINT {
            signal(agent.pid(), number);
            std::thread::sleep(scaled(Duration::from_secs(2)));
        }
        let ended = agent.stop().unwrap();
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[test]
fn a_second_instance_refuses_and_the_first_goes_on() {
    let scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    let mut first = scene.agent().start().unwrap();
    check_refuses(
        &mut suture(&["run", "--print", "none"]).unwrap(),
        &["run", &first.pid().to_string()],
    );
    assert!(first.is_running());
    let id = unique_id();
    curl_ok(&format!("{}/leaf/{id}", victim.url()), &[], 200).unwrap();
    assert_eq!(collect(scene.receiver(), &[&id], 2).len(), 2);
    first.stop().unwrap();
}

#[test]
fn killed_with_sigkill_it_leaves_nothing_and_starts_again() {
    let scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    let agent = scene.agent().start().unwrap();
    let ids = unique_ids(3);
    let fetch = |id: &str| curl_ok(&format!("{}/leaf/{id}", victim.url()), &[], 200).unwrap();
    fetch(&ids[0]);
    let _ = collect(scene.receiver(), &[&ids[0]], 2);
    agent.kill().unwrap();
    fetch(&ids[1]);
    let again = scene.agent().start().unwrap();
    fetch(&ids[2]);
    let _ = collect(scene.receiver(), &[&ids[2]], 2);
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let spans = collect(scene.receiver(), &names, 0);
    again.stop().unwrap();
    let mut complaints = Complaints::default();
    for (id, expect) in ids.iter().zip([2, 0, 2]) {
        let count = spans
            .iter()
            .filter(|span| span.path().contains(id.as_str()))
            .count();
        complaints.unless(count == expect, || {
            format!("{count} spans of {id}, expected {expect}")
        });
    }
    unique(&mut complaints, &spans);
    complaints.verdict("killed and started again").unwrap();
}

/// What its process' first thread does must not end the process for the agent: neither its end, nor another thread's exec.
#[test]
fn a_process_goes_on_without_its_first_thread() {
    for way in ["main-ends", "thread-becomes"] {
        let scene = Scene::open().unwrap();
        let port = free_port().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oddio"));
        command.args([way, &port.to_string()]);
        let victim = Victim::start("oddio", Serving::Thread, port, &mut command, None).unwrap();
        let agent = scene.agent();
        let agent = agent.args(&["--pid", &victim.pid().to_string()]);
        let agent = agent.start().unwrap();
        let ids = unique_ids(2);
        curl_ok(&format!("{}/turn/{}", victim.url(), ids[0]), &[], 200).unwrap();
        std::thread::sleep(scaled(Duration::from_millis(500)));
        curl_ok(&format!("{}/leaf/{}", victim.url(), ids[1]), &[], 200).unwrap();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let spans = collect(scene.receiver(), &names, 2);
        agent.stop().unwrap();
        let mut complaints = Complaints::default();
        for id in &names {
            complaints.only(&format!("{way}: SERVER span of {id}"), &spans, |span| {
                span.kind == Kind::Server && span.path().contains(id)
            });
        }
        complaints.verdict(way).unwrap();
    }
}

#[test]
fn bad_options_and_configuration_exit_with_2_and_say_where() {
    let _scene = Scene::open().unwrap();
    let folder = Folder::new().unwrap();
    let bad_key = folder
        .write(
            "key.toml",
            "[print]\nformat = \"none\"\n\n[capture]\nhead_bites = 4096\n",
        )
        .unwrap();
    let bad_value = folder
        .write("value.toml", "[capture]\nhead_bytes = 999999999\n")
        .unwrap();
    let no_toml = folder.write("broken.toml", "= = =\n").unwrap();
    let absent = folder.path().join("absent.toml");
    let text = |path: &std::path::Path| path.display().to_string();
    let cases: Vec<(Vec<String>, Vec<&str>)> = vec![
        (
            vec!["--otlp-endpoint".into(), "not a url".into()],
            vec!["endpoint"],
        ),
        (
            vec!["--otlp-endpoint".into(), "ftp://127.0.0.1:1".into()],
            vec!["endpoint", "http"],
        ),
        (
            vec!["--print".into(), "loudly".into()],
            vec!["print", "tree", "json", "none"],
        ),
        (vec!["--port".into(), "99999".into()], vec!["port"]),
        (
            vec!["--config".into(), text(&bad_key)],
            vec!["key.toml", "5", "head_bites", "head_bytes"],
        ),
        (
            vec!["--config".into(), text(&bad_value)],
            vec!["value.toml", "2", "head_bytes"],
        ),
        (
            vec!["--config".into(), text(&no_toml)],
            vec!["broken.toml", "1"],
        ),
        (vec!["--config".into(), text(&absent)], vec!["absent.toml"]),
    ];
    for (arguments, words) in cases {
        let mut command = suture(&["run"]).unwrap();
        let output = suture_output(command.args(&arguments)).unwrap();
        let stderr = stderr_of(&output);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}; stderr:\n{stderr}"
        );
        for word in words {
            assert!(
                stderr.contains(word),
                "{arguments:?}: stderr lacks {word:?}:\n{stderr}"
            );
        }
    }
    let mut command = suture(&["run", "--print", "none"]).unwrap();
    check_refuses(
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
        &["OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"],
    );
}

#[test]
fn without_privileges_it_says_so_in_one_sentence() {
    let _scene = Scene::open().unwrap();
    // A copy that an ordinary user may read and execute.
    let folder = Folder::new().unwrap();
    let copy = folder.path().join("suture");
    std::fs::copy(binary().unwrap(), &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut nobody = Command::new(program(&["setpriv"], "util-linux").unwrap());
    nobody
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
        ])
        .arg(&copy);
    check_refuses(nobody.args(["run", "--print", "none"]), &["root"]);
    let mut bounded = Command::new(program(&["setpriv"], "util-linux").unwrap());
    bounded
        .args([
            "--bounding-set=-bpf,-sys_admin",
            "--inh-caps=-bpf,-sys_admin",
        ])
        .arg(&copy);
    check_refuses(bounded.args(["run", "--print", "none"]), &["CAP_"]);
}

#[test]
fn doctor_says_what_this_kernel_allows() {
    let _scene = Scene::open().unwrap();
    let output = suture_output(&mut suture(&["doctor"]).unwrap()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{text}\n{}",
        stderr_of(&output)
    );
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for word in [release.trim(), "BTF", "ring buffer", "tracepoint"] {
        assert!(
            text.to_lowercase().contains(&word.to_lowercase()),
            "doctor does not mention {word:?}:\n{text}"
        );
    }
}

#[test]
fn a_recording_replays_to_the_same_bytes_without_root() {
    let _scene = Scene::open().unwrap();
    let victim = leaf().unwrap();
    let folder = Folder::new().unwrap();
    let file = folder.path().join("host.suture");
    let path = file.display().to_string();
    let agent = AgentCommand::plain(&["record", &path]).start().unwrap();
    let ids = unique_ids(5);
    for id in &ids {
        let secret = [
            "-H",
            "Authorization: Bearer s3cr3t-in-a-header",
            "-H",
            "Cookie: session=s3cr3t-in-a-cookie",
        ];
        curl_ok(&format!("{}/leaf/{id}", victim.url()), &secret, 200).unwrap();
    }
    std::thread::sleep(scaled(Duration::from_millis(500)));
    agent.stop().unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "a recording is its owner's alone");
    let recorded = std::fs::read(&file).unwrap();
    let has = |needle: &[u8]| {
        recorded
            .windows(needle.len())
            .any(|window| window == needle)
    };
    assert!(
        !has(b"s3cr3t-in-a-header") && !has(b"s3cr3t-in-a-cookie"),
        "secrets must be masked in a recording"
    );
    // Anybody may replay a recording he can read.
    let copy = folder.path().join("suture");
    std::fs::copy(binary().unwrap(), &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let replay = |print: &str| {
        let mut command = Command::new(program(&["setpriv"], "util-linux").unwrap());
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy);
        let output = suture_output(command.args(["replay", &path, "--print", print])).unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "replay --print {print}: {}",
            stderr_of(&output)
        );
        output.stdout
    };
    for print in ["json", "tree"] {
        let (first, second) = (replay(print), replay(print));
        assert_eq!(
            first, second,
            "replay --print {print} must give the same bytes each time"
        );
        let text = String::from_utf8(first).unwrap();
        if print == "json" {
            for id in &ids {
                // The path stands in the CLIENT span's url.full and the SERVER span's url.path.
                assert!(
                    text.matches(id.as_str()).count() >= 2,
                    "{id} is not in the replayed spans:\n{text}"
                );
            }
        }
        assert!(!text.is_empty());
    }
}

#[test]
fn the_views_print_every_span() {
    for print in ["tree", "json"] {
        let scene = Scene::open().unwrap();
        let victim = leaf().unwrap();
        let endpoint = scene.receiver().grpc_endpoint();
        let agent = AgentCommand::plain(&["run", "--print", print, "--otlp-endpoint", &endpoint])
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .start()
            .unwrap();
        let id = unique_id();
        curl_ok(&format!("{}/leaf/{id}", victim.url()), &[], 200).unwrap();
        let spans = collect(scene.receiver(), &[&id], 2);
        assert_eq!(
            spans
                .iter()
                .filter(|span| span.kind == Kind::Server)
                .count(),
            1
        );
        let printed = agent.stop().unwrap().stdout;
        if print == "json" {
            let mut found = 0;
            for line in printed.lines() {
                let object: serde_json::Value =
                    serde_json::from_str(line).expect("each line is one JSON object");
                assert!(
                    object.get("resourceSpans").is_some(),
                    "not OTLP JSON: {line}"
                );
                found += line.matches(id.as_str()).count();
            }
            assert!(found >= 2, "both spans of {id} are printed:\n{printed}");
        } else {
            assert!(
                printed.contains("curl") && printed.contains("GET"),
                "the tree shows services and names:\n{printed}"
            );
            assert!(!printed.contains('\u{1b}'), "no colour in a pipe");
            for line in printed.lines() {
                assert!(line.chars().count() <= 100, "over 100 columns: {line}");
            }
        }
    }
}
