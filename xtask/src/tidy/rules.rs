//! What every source file must keep to, as far as its text shows it.
//!
//! In: a file's place in the workspace and its text. Out: what breaks a rule, with its line. Always holds: a rule reads
//! code, never the inside of strings or comments (except the rules about comments).

use super::source::{self, Line};

/// What breaks a rule, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Counted from 1; 0 for the whole file.
    pub line: usize,
    /// What, and what to do.
    pub what: String,
    /// Only a warning.
    pub warning: bool,
}

/// Lines from which a file is warned about, and beyond which it fails.
const LONG: (usize, usize) = (400, 500);

/// Files that may be longer, with the reason.
const MAY_BE_LONG: &[(&str, &str)] = &[];

/// Words that say nothing about what a thing is.
const EMPTY_WORDS: &[&str] = &[
    "manager", "helper", "helpers", "util", "utils", "info", "data",
];

/// Macros and attributes that must not stay.
const LEFT_OVER: &[(&str, &str)] = &[
    ("todo!", "a stub is a defect"),
    ("unimplemented!", "a stub is a defect"),
    ("dbg!", "left-over debugging"),
    ("#[ignore", "a test that cannot run must fail"),
];

/// Address types of `std::net` that do no I/O.
const PURE_NET: &[&str] = &[
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
    "AddrParseError",
];

/// A path that only some places may name.
struct Fence {
    /// The path's first segments.
    path: &'static str,
    /// Files to which the rule applies: under one of these.
    inside: &'static [&'static str],
    /// Files that may name it all the same: under one of these.
    but: &'static [&'static str],
    /// Why.
    why: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        path: "aya",
        inside: &[
            "agent/src/",
            "agent-trace/",
            "agent-protocol/",
            "agent-common/",
        ],
        but: &["agent/src/attach/", "agent/src/capture/"],
        why: "only attach and capture know how BPF is loaded and read",
    },
    Fence {
        path: "aya_log",
        inside: &[
            "agent/src/",
            "agent-trace/",
            "agent-protocol/",
            "agent-common/",
        ],
        but: &["agent/src/attach/", "agent/src/capture/"],
        why: "only attach and capture know how BPF is loaded and read",
    },
    Fence {
        path: "tokio",
        inside: &[
            "agent-trace/",
            "agent-protocol/",
            "agent-common/",
            "agent-ebpf/",
        ],
        but: &[],
        why: "only the agent has a runtime; everything below it is pure",
    },
    Fence {
        path: "opentelemetry_proto",
        inside: &["agent/src/", "agent-trace/", "agent-protocol/"],
        but: &["agent/src/export/", "agent/src/view/json"],
        why: "OTLP's types end at export; everything before has spans of its own",
    },
    Fence {
        path: "std::fs",
        inside: &["agent-trace/src/", "agent-protocol/src/"],
        but: &[],
        why: "pure crates do no I/O",
    },
    Fence {
        path: "std::env",
        inside: &["agent-trace/src/", "agent-protocol/src/"],
        but: &[],
        why: "settings are arguments of pure crates",
    },
    Fence {
        path: "std::net",
        inside: &["agent-trace/src/", "agent-protocol/src/"],
        but: &[],
        why: "pure crates do no I/O (address types may be used)",
    },
    Fence {
        path: "std::time::Instant",
        inside: &["agent-trace/src/", "agent-protocol/src/"],
        but: &[],
        why: "time is an argument of pure crates",
    },
    Fence {
        path: "std::time::SystemTime",
        inside: &["agent-trace/src/", "agent-protocol/src/"],
        but: &[],
        why: "time is an argument of pure crates",
    },
];

/// Everything that breaks a rule in one file.
pub fn check(file: &str, text: &str) -> Vec<Finding> {
    let lines = source::lines(text);
    let mut found = vec![];
    opening(text, &mut found);
    length(file, text.lines().count(), &mut found);
    words(file, &lines, &mut found);
    names(file, &lines, &mut found);
    safety(&lines, &mut found);
    if file.starts_with("agent-ebpf/") {
        bounds(&lines, &mut found);
    }
    if file.ends_with("semconv.rs") {
        keys_once(&lines, &mut found);
    }
    fences(file, &lines, &mut found);
    found.sort_by_key(|finding| finding.line);
    found
}

fn finding(line: usize, what: impl Into<String>) -> Finding {
    Finding {
        line,
        what: what.into(),
        warning: false,
    }
}

fn opening(text: &str, found: &mut Vec<Finding>) {
    let first = text
        .lines()
        .find(|line| !line.starts_with("#!"))
        .unwrap_or("");
    if !first.starts_with("//!") {
        found.push(finding(
            1,
            "a file opens with //!: what comes in, what goes out, what holds, what it refuses",
        ));
    }
}

fn length(file: &str, lines: usize, found: &mut Vec<Finding>) {
    let excused = MAY_BE_LONG.iter().any(|(name, _)| *name == file);
    if lines > LONG.1 && !excused {
        found.push(finding(
            0,
            format!("{lines} lines, more than {}; split it by topic", LONG.1),
        ));
    } else if lines > LONG.0 && !excused {
        found.push(Finding {
            line: 0,
            what: format!("{lines} lines, more than {}", LONG.0),
            warning: true,
        });
    }
}

fn words(file: &str, lines: &[Line], found: &mut Vec<Finding>) {
    for (at, line) in lines.iter().enumerate() {
        for (word, why) in LEFT_OVER {
            if line.code.contains(word) {
                found.push(finding(at + 1, format!("{word}: {why}")));
            }
        }
        if line.code.contains("::*") {
            found.push(finding(
                at + 1,
                "a glob import hides where a name comes from; name what is used",
            ));
        }
    }
    let stem = file
        .rsplit('/')
        .next()
        .unwrap_or(file)
        .trim_end_matches(".rs");
    if let Some(word) = empty_word(stem) {
        found.push(finding(
            0,
            format!("the file's name says `{word}`, which says nothing; name what it is"),
        ));
    }
}

/// The word of a name, in snake_case or CamelCase, that is one of [`EMPTY_WORDS`].
fn empty_word(name: &str) -> Option<&'static str> {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    EMPTY_WORDS
        .iter()
        .copied()
        .find(|empty| snake.split('_').any(|word| word == *empty))
}

fn names(_file: &str, lines: &[Line], found: &mut Vec<Finding>) {
    const BEFORE: &[&str] = &["mod", "struct", "enum", "union", "trait", "type", "fn"];
    for (at, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line
            .code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .collect();
        for pair in words.windows(2) {
            let [before, name] = pair else { continue };
            if let Some(word) = empty_word(name).filter(|_| BEFORE.contains(before)) {
                found.push(finding(
                    at + 1,
                    format!("`{name}` says `{word}`, which says nothing; name what it is"),
                ));
            }
        }
    }
}

/// Is there `word` in the comments right above line `at`, or in it? Code of the same statement may stand between.
fn commented(lines: &[Line], at: usize, word: &str) -> bool {
    if lines
        .get(at)
        .is_some_and(|line| line.comment.contains(word))
    {
        return true;
    }
    let mut above = at;
    while let Some(line) = above.checked_sub(1).and_then(|i| lines.get(i)) {
        above -= 1;
        let code = line.code.trim();
        if line.comment.contains(word) {
            return true;
        }
        let blank = code.is_empty() && line.comment.is_empty();
        let ends_statement = code.ends_with([';', '}', '{']);
        if blank || ends_statement {
            return false;
        }
    }
    false
}

fn safety(lines: &[Line], found: &mut Vec<Finding>) {
    for (at, line) in lines.iter().enumerate() {
        let code = line.code.as_str();
        let needs_proof = code.contains("unsafe {") || code.contains("unsafe impl");
        if needs_proof && !commented(lines, at, "SAFETY:") {
            found.push(finding(
                at + 1,
                "unsafe without a `// SAFETY:` proof above it",
            ));
        }
    }
}

fn bounds(lines: &[Line], found: &mut Vec<Finding>) {
    for (at, line) in lines.iter().enumerate() {
        let mut code = line.code.trim();
        if let Some((label, rest)) = code.split_once(": ")
            && label.starts_with('\'')
        {
            code = rest;
        }
        let is_loop =
            code.starts_with("for ") || code.starts_with("while ") || code.starts_with("loop {");
        if (is_loop || code.contains(" loop {")) && !commented(lines, at, "BOUND:") {
            found.push(finding(
                at + 1,
                "a loop in BPF without a `// BOUND:` comment that says when it ends",
            ));
        }
    }
}

/// Attribute keys are dotted; their well-known values (`_OTHER`) are not, and may recur.
fn keys_once(lines: &[Line], found: &mut Vec<Finding>) {
    let mut seen: Vec<&str> = vec![];
    let mut in_const = false;
    for (at, line) in lines.iter().enumerate() {
        if line.code.contains("#[cfg(test)]") {
            return;
        }
        in_const |= line.code.contains("const ");
        for key in line
            .strings
            .iter()
            .filter(|key| in_const && key.contains('.'))
        {
            if seen.contains(&key.as_str()) {
                found.push(finding(
                    at + 1,
                    format!("the key \"{key}\" has a const already"),
                ));
            }
            seen.push(key);
        }
        in_const &= !line.code.trim_end().ends_with(';');
    }
}

fn fences(file: &str, lines: &[Line], found: &mut Vec<Finding>) {
    for (line, path) in source::paths(lines) {
        for fence in FENCES {
            let applies = fence.inside.iter().any(|place| file.starts_with(place))
                && !fence.but.iter().any(|place| file.starts_with(place));
            let path_after = path.strip_prefix(fence.path);
            let named = path_after.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            let pure = fence.path == "std::net"
                && path_after
                    .and_then(|rest| rest.split("::").nth(1))
                    .is_some_and(|name| PURE_NET.contains(&name));
            if applies && named && !pure {
                found.push(finding(
                    line,
                    format!("`{path}` must not be named here: {}", fence.why),
                ));
            }
        }
    }
}
