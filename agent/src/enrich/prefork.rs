//! Worker programs whose main process hands jobs to forked children over pipes.
//!
//! In: a tgid. Out: whether it is one, with what it forked. Always holds: only programs whose words on the pipe are known
//! (`agent_protocol::queue::billiard`). Refuses: nothing; a process that is gone is none.

use super::proc_root::ProcRoot;

/// Arguments among which the program's name stands: `celery …`, `python -m celery …`, `python /usr/bin/celery …`.
const ARGUMENTS: usize = 4;

/// The process and what it forked, if it is the main process of a Celery worker with a prefork pool; else nothing.
pub fn family(root: &ProcRoot, tgid: u32) -> Vec<u32> {
    if !is_celery(&root.args(tgid).unwrap_or_default()) {
        return Vec::new();
    }
    std::iter::once(tgid)
        .chain(root.descendants(tgid))
        .collect()
}

/// A worker's command line, or what setproctitle makes of it (Celery 5: `[celeryd: celery@host:MainProcess] -active- (…)`).
fn is_celery(args: &[String]) -> bool {
    let Some(first) = args.first() else {
        return false;
    };
    if first.starts_with("[celeryd: ") {
        return true;
    }
    let is_named = args
        .iter()
        .take(ARGUMENTS)
        .any(|argument| argument.rsplit('/').next() == Some("celery"));
    is_named && args.iter().any(|argument| argument == "worker")
}

#[cfg(test)]
mod tests {
    use super::is_celery;

    #[test]
    fn celery_workers_are_known_by_their_arguments() {
        for (line, expected) in [
            (
                "/srv/venv/bin/python /srv/venv/bin/celery -A shop worker -c 4",
                true,
            ),
            ("python3 -m celery -A shop worker", true),
            ("celery worker", true),
            (
                "[celeryd: celery@host:MainProcess] -active- (worker -c 2)",
                true,
            ),
            ("python3 /usr/bin/celery -A shop beat", false),
            ("grep celery", false),
            ("", false),
        ] {
            let args: Vec<String> = if line.starts_with('[') {
                vec![line.to_owned()]
            } else {
                line.split_whitespace().map(str::to_owned).collect()
            };
            assert_eq!(is_celery(&args), expected, "{line}");
        }
    }
}
