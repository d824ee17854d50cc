//! What a client asks its server.
//!
//! In: messages of the frontend, element by element. Out: `Sent` and `Fetching` when a statement is run; in [`Shared`] what the answers
//! need. Always holds: a query's text is looked at where it lies, at most the limit's bytes of it, and not kept; of parameters only those
//! that a statement names are looked at. Refuses: encrypted connections; `COPY`.

mod bind;

use std::collections::HashMap;
use std::sync::Arc;

use super::response::types;
use super::shared::{Op, Run, Shared, texts};
use super::sniff::{CANCEL, GSSENC, SSL, STARTUP_MAX, is_postgres};
use super::statement::{Kind, Statement, statements};
use crate::queue::lane::{Head, Side, Start, Step};
use crate::queue::{Event, NAME_MAX, Sent};

/// Rows of one `INSERT` that are told.
const SENT_MAX: u32 = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Message,
    StartupPair,
    BindFormats,
    BindValues,
    Value,
    BindResults,
}

/// Where the reading stands.
#[derive(Debug, Default)]
pub(super) struct Request {
    at: At,
    is_started: bool,
    tag: u8,
    has_database: bool,
    /// What is bound, and as which portal.
    portal: Arc<[u8]>,
    run: Option<Box<Run>>,
    /// Bit n: the n-th parameter is binary.
    formats: u64,
    types: Arc<[u32]>,
    values_left: u16,
    number: u16,
    portals: HashMap<Arc<[u8]>, Box<Run>>,
}

impl Request {
    pub(super) fn new(is_started: bool) -> Self {
        Self {
            is_started,
            ..Self::default()
        }
    }

    pub(super) fn held(&self) -> usize {
        let names: usize = self.portals.keys().map(|name| 1 + name.len()).sum();
        names + self.portal.len()
    }
}

/// The direction to the server.
pub(super) struct ToServer<'a> {
    pub(super) request: &'a mut Request,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut dyn FnMut(Event),
}

impl Side for ToServer<'_> {
    const START_BYTES: usize = 24;

    fn starts(&self, view: &[u8]) -> Start {
        match view {
            [] => Start::Maybe,
            [0, ..] => Start::No,
            _ if view.len() < 5 && view[0].is_ascii_uppercase() => Start::Maybe,
            _ if is_postgres(view) => Start::Yes,
            _ => Start::No,
        }
    }

    fn head(&mut self, view: &[u8]) -> Head {
        if !self.request.is_started {
            let Some(len) = view.first_chunk::<4>() else {
                return Head::More;
            };
            return match u32::from_be_bytes(*len) {
                len @ 8..=STARTUP_MAX => Head::Message {
                    head: 4,
                    body: u64::from(len - 4),
                },
                _ => Head::Not,
            };
        }
        let Some([tag, len @ ..]) = view.first_chunk::<5>() else {
            return Head::More;
        };
        let len = u32::from_be_bytes(*len);
        if !b"QPBEDCSHXFpdcf".contains(tag) || !(4..=i32::MAX as u32).contains(&len) {
            return Head::Not;
        }
        self.request.tag = *tag;
        self.shared.ask();
        if *tag == b'S' {
            self.shared.push(Op::Ready);
        }
        Head::Message {
            head: 5,
            body: u64::from(len - 4),
        }
    }

    fn step(&mut self, view: &[u8], left: u64) -> Step {
        let step = match self.request.at {
            At::Message if !self.request.is_started => self.startup(view),
            At::Message => self.message(view, left),
            At::StartupPair => self.startup_pair(view),
            At::BindFormats => self.bind_formats(view),
            At::BindValues => self.bind_values(view),
            At::Value => return self.value(view),
            At::BindResults => self.bind_results(view),
        };
        match step {
            Ok(used) => Step::Took { used, skip: 0 },
            Err(step) => step,
        }
    }

    fn end(&mut self) {
        if self.request.at == At::StartupPair {
            self.request.is_started = true;
        }
        self.request.at = At::Message;
    }

    fn cut(&mut self, why: &'static str) {
        match (self.request.at, self.request.tag) {
            (At::StartupPair, _) => self.request.is_started = true,
            // What is asked is not known, but that something is.
            (At::Message, b'Q') => {
                self.shared.push(Op::Run(None));
                self.shared.push(Op::Ready);
            }
            (At::Message, b'E') => self.shared.push(Op::Run(None)),
            (At::Message, b'D') => self.shared.push(Op::Describe(Arc::from(&b"\0"[..]))),
            // A statement or portal of that name may be another now.
            (At::Message, b'P') => self.shared.prepared.clear(),
            (_, b'B') => self.request.portals.clear(),
            _ => {}
        }
        self.request.at = At::Message;
        (self.out)(Event::Unparsed(why));
    }

    fn fell(&mut self) {
        self.shared.lose();
        self.request.portals.clear();
        self.shared.prepared.clear();
        self.request.is_started = true;
    }
}

type Used = Result<usize, Step>;

/// A string up to its zero, and what follows.
fn text(view: &[u8]) -> Result<(&[u8], &[u8]), Step> {
    let len = view.iter().position(|&byte| byte == 0).ok_or(Step::More)?;
    Ok((&view[..len], &view[len + 1..]))
}

impl ToServer<'_> {
    fn rest(&mut self) -> Used {
        self.request.at = At::Message;
        Err(Step::Rest)
    }

    fn startup(&mut self, view: &[u8]) -> Used {
        let code = view.first_chunk::<4>().ok_or(Step::More)?;
        match u32::from_be_bytes(*code) {
            SSL | GSSENC => {
                self.shared.asked_encryption = self.shared.asked_encryption.saturating_add(1);
                self.rest()
            }
            CANCEL => self.rest(),
            code if code >> 16 == 3 => {
                self.request.at = At::StartupPair;
                Ok(4)
            }
            _ => Err(Step::Broken("startup")),
        }
    }

    fn startup_pair(&mut self, view: &[u8]) -> Used {
        let (name, after) = text(view)?;
        if name.is_empty() {
            self.request.is_started = true;
            return self.rest();
        }
        let (value, after) = text(after)?;
        // The database's name is the user's unless it is said.
        let is_database = name == b"database";
        if is_database || name == b"user" && !self.request.has_database {
            self.request.has_database |= is_database;
            self.shared.database = value[..value.len().min(NAME_MAX)].to_vec();
        }
        Ok(view.len() - after.len())
    }

    fn message(&mut self, view: &[u8], left: u64) -> Used {
        match self.request.tag {
            b'Q' => self.query(view, left),
            b'P' => self.parse(view, left),
            b'B' => self.bind(view),
            b'E' => self.execute(view),
            b'D' => {
                let (what, name) = view.split_first().ok_or(Step::More)?;
                let (name, _) = text(name)?;
                let statement = match what {
                    b'S' => Some(Arc::from(name)),
                    _ => self
                        .request
                        .portals
                        .get(name)
                        .and_then(|run| run.prepared.clone()),
                };
                let statement = statement.unwrap_or_else(|| Arc::from(&b"\0"[..]));
                self.shared.push(Op::Describe(statement));
                self.rest()
            }
            b'C' => {
                let (what, name) = view.split_first().ok_or(Step::More)?;
                let (name, _) = text(name)?;
                match what {
                    b'S' => drop(self.shared.prepared.remove(name)),
                    _ => drop(self.request.portals.remove(name)),
                }
                self.rest()
            }
            b'F' => {
                self.shared.push(Op::Run(None));
                self.shared.push(Op::Ready);
                self.rest()
            }
            _ => self.rest(),
        }
    }

    /// The text that is there of a query: all, or as much as may be held.
    fn sql<'v>(&self, view: &'v [u8], left: u64) -> Result<&'v [u8], Step> {
        let most = self.shared.limits.message_bytes;
        if (view.len() as u64) < left && view.len() < most {
            return Err(Step::More);
        }
        Ok(view.split(|&byte| byte == 0).next().unwrap_or_default())
    }

    fn query(&mut self, view: &[u8], left: u64) -> Used {
        let all = statements(self.sql(view, left)?);
        if all.is_empty() {
            self.shared.push(Op::Run(None));
        }
        for statement in all {
            let run = (statement.kind != Kind::Other).then(|| {
                Box::new(Run {
                    values: texts(&statement),
                    outcome: statement.outcome,
                    statement: Arc::new(statement),
                    ..Run::default()
                })
            });
            self.run(run);
        }
        self.shared.push(Op::Ready);
        self.rest()
    }

    fn parse(&mut self, view: &[u8], left: u64) -> Used {
        let (name, after) = text(view)?;
        let is_cut = view.len() >= self.shared.limits.message_bytes;
        if (view.len() as u64) < left && !is_cut {
            return Err(Step::More);
        }
        let (sql, rest) = text(after).unwrap_or((after, b""));
        let types = types(rest, self.shared.limits.message_bytes).unwrap_or_default();
        let statement = statements(sql).into_iter().next();
        self.shared.prepare(name, statement, types);
        self.rest()
    }

    fn execute(&mut self, view: &[u8]) -> Used {
        let (portal, _) = text(view)?;
        let run = self.request.portals.get(portal).cloned();
        self.run(run);
        self.rest()
    }

    /// A statement is run.
    fn run(&mut self, run: Option<Box<Run>>) {
        let Some(mut run) = run else {
            self.shared.push(Op::Run(None));
            return;
        };
        match run.statement.kind {
            Kind::Insert | Kind::Defer | Kind::Send => {
                run.operation = self.shared.operation();
                run.sent = run.statement.rows.clamp(1, SENT_MAX);
                for _ in 0..run.sent {
                    (self.out)(Event::Sent(sent(&run)));
                }
                if run.statement.rows > SENT_MAX {
                    (self.out)(Event::Unparsed("rows"));
                }
            }
            Kind::Fetch | Kind::FetchJob | Kind::Read => (self.out)(Event::Fetching),
            _ => {}
        }
        self.shared.push(Op::Run(Some(run)));
    }
}

/// What a statement puts.
pub(super) fn sent(run: &Run) -> Sent {
    let statement: &Statement = &run.statement;
    let (name, destination) = match statement.kind {
        Kind::Defer => ("defer", deferred_queue(&run.values[0])),
        Kind::Send => ("send", run.values[0].as_str()),
        _ => ("insert", statement.table.as_str()),
    };
    Sent {
        operation: run.operation,
        name,
        destination: destination.to_owned(),
        is_delayed: statement.kind == Kind::Defer && is_deferred(&run.values[0]),
        is_candidate: statement.kind == Kind::Insert,
        ..Sent::default()
    }
}

/// The queue of procrastinate's first job: `{"(queue,task,…)"}` or `(queue,…)`, else its table.
fn deferred_queue(jobs: &str) -> &str {
    let row = jobs.trim_start_matches(['{', '"', '\\']).strip_prefix('(');
    let queue = row.and_then(|row| row.split_once(','));
    match queue {
        Some((queue, _)) => queue.trim_matches(['"', '\\']),
        None if !jobs.is_empty() && !jobs.contains(['{', '(']) => jobs,
        None => "procrastinate_jobs",
    }
}

/// The last of procrastinate's jobs has a time, the last field of its row. A list that was cut says nothing.
fn is_deferred(jobs: &str) -> bool {
    jobs.ends_with(")\"}") && !jobs.ends_with(",)\"}")
}

#[cfg(test)]
mod tests {
    use super::{deferred_queue, is_deferred};

    #[test]
    fn a_list_of_jobs_says_queue_and_time() {
        for (jobs, queue, deferred) in [
            (r#"{"(mail,welcome,0,,,\"{}\",)"}"#, "mail", false),
            (
                r#"{"(mail,welcome,0,,,\"{}\",\"2026-11-27 10:00:00+00\")"}"#,
                "mail",
                true,
            ),
            (r#"{"(\"a b\",welcome,0,,,\"{}\",)"}"#, "a b", false),
            (r#"{"(mail,welcome,0,,,\"{\"\"to"#, "mail", false),
            ("mail", "mail", false),
            ("{}", "procrastinate_jobs", false),
            ("", "procrastinate_jobs", false),
        ] {
            assert_eq!(
                (deferred_queue(jobs), is_deferred(jobs)),
                (queue, deferred),
                "{jobs}"
            );
        }
    }
}
