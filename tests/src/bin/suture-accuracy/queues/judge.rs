//! Exported spans compared with what was put.
//!
//! In: all spans of a session, the window of one load, its jobs. Out: how many messages, deliveries, calls and retries have their true parents.
//! Always holds: a request's SERVER span and a worker's CLIENT span name the job in their paths; what lies between has no name, so that it is judged by
//! the trace it is in, by the calls below it, and by what its key or topic says. Roots that no path names fill, one for one, the places that are empty.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use suture_tests::{Kind, ReceivedSpan, jobs};

use crate::score::Score;

/// How long after its last call work may end, ns.
const LATE_NS: u64 = 300_000_000;
/// Examples that are shown.
const EXAMPLES: usize = 3;

/// A job that was put.
pub struct Job {
    /// In the paths.
    pub id: String,
    /// The word before it.
    pub kind: &'static str,
    /// Whether its first attempt fails.
    pub fails_once: bool,
    /// Calls of an attempt that succeeds, when none fails.
    pub calls: usize,
    /// Whether its retry is put again by the worker.
    pub is_put_again: bool,
}

impl Job {
    fn attempts(&self) -> usize {
        1 + usize::from(self.fails_once)
    }

    fn path(&self) -> String {
        format!("/put/{}/{}", self.kind, self.id)
    }

    /// `/leaf/ID/N` for each of its calls, and the attempt that makes it.
    pub fn steps(&self) -> Vec<(String, usize)> {
        let count = if self.fails_once { 2 } else { self.calls };
        (0..count)
            .map(|step| {
                let attempt = if self.fails_once { step } else { 0 };
                (format!("/leaf/{}/{step}", self.id), attempt)
            })
            .collect()
    }
}

impl Score {
    /// `due` places, of which some are right or wrong already; `linked` and `roots` are spans nobody named.
    fn filled(mut self, due: usize, linked: usize, roots: usize) -> Self {
        let empty = due.saturating_sub(self.right + self.wrong);
        self.link = linked.min(empty);
        self.root = roots.min(empty - self.link);
        self.missing = empty - self.link - self.root;
        self.doubled += linked + roots - self.link - self.root;
        self
    }
}

/// What one load gave.
#[derive(Default)]
pub struct Measured {
    /// PRODUCER spans: children of their request, or of the attempt that put the next.
    pub puts: Score,
    /// CONSUMER spans: children of the message's PRODUCER.
    pub work: Score,
    /// CLIENT spans of workers: children of the attempt that made them.
    pub calls: Score,
    /// Of these, how many are in the trace of the request that put the job.
    pub whole: usize,
    /// Attempts after the first: linked to the one before.
    pub links: Score,
    /// CONSUMER spans that end long after what was done for them, or whose end was not seen.
    pub late: usize,
    /// Some of what is not right.
    pub examples: Vec<String>,
}

impl Measured {
    fn say(&mut self, what: &str, id: &str, span: Option<&ReceivedSpan>) {
        if self.examples.len() < EXAMPLES {
            let line = span.map(ReceivedSpan::line).unwrap_or_default();
            let line = line.split(" ms {").next().unwrap_or_default();
            self.examples.push(format!("{what}: {id} {line}"));
        }
    }
}

/// The spans of a session.
pub struct Session<'a> {
    port: u16,
    by_id: HashMap<&'a [u8], &'a ReceivedSpan>,
    by_path: HashMap<&'a str, Vec<&'a ReceivedSpan>>,
    messages: Vec<&'a ReceivedSpan>,
    below: HashMap<&'a [u8], Vec<&'a ReceivedSpan>>,
}

/// Whose call a path is.
fn named(path: &str) -> &str {
    path.split('/').nth(2).unwrap_or_default()
}

/// The job that a message names by itself: in the key of Kafka's, AMQP's correlation id, in the subject or topic of others.
fn said(span: &ReceivedSpan) -> Option<&str> {
    let named = [
        "messaging.kafka.message.key",
        "messaging.message.conversation_id",
    ];
    let named = named.map(|key| span.text(key));
    // (Celery's correlation id is its job's, longer than ours.)
    if let Some(id) = named.into_iter().find(|id| id.len() == 16) {
        return Some(id);
    }
    let destination = span.text("messaging.destination.name");
    let (_, last) = destination.split_once(['.', '/'])?;
    (last.len() == 16).then_some(last)
}

impl<'a> Session<'a> {
    /// Sorts them; `port` is the broker's.
    pub fn sort(spans: &'a [ReceivedSpan], port: u16) -> Self {
        let mut session = Self {
            port,
            by_id: HashMap::new(),
            by_path: HashMap::new(),
            messages: Vec::new(),
            below: HashMap::new(),
        };
        for span in spans {
            session.by_id.insert(&span.span_id, span);
            if let Some(parent) = &span.parent {
                session.below.entry(parent).or_default().push(span);
            }
            if jobs::is_message(span, port) {
                session.messages.push(span);
            } else if matches!(span.kind, Kind::Client | Kind::Server) && !span.path().is_empty() {
                session.by_path.entry(span.path()).or_default().push(span);
            }
        }
        session.messages.sort_by_key(|span| span.start);
        session
    }

    fn parent(&self, span: &ReceivedSpan) -> Option<&'a ReceivedSpan> {
        let parent = self.by_id.get(span.parent.as_deref()?)?;
        (parent.trace_id == span.trace_id).then_some(*parent)
    }

    fn at(&self, path: &str, kind: Kind) -> Vec<&'a ReceivedSpan> {
        let of_path = self.by_path.get(path).map_or(&[][..], Vec::as_slice);
        of_path
            .iter()
            .copied()
            .filter(|span| span.kind == kind)
            .collect()
    }

    /// The jobs that the calls of a delivery name.
    fn names(&self, work: &ReceivedSpan) -> BTreeSet<&'a str> {
        let below = self.below.get(work.span_id.as_slice());
        below
            .into_iter()
            .flatten()
            .filter(|span| span.kind == Kind::Client && span.path().starts_with("/leaf/"))
            .map(|span| named(span.path()))
            .collect()
    }

    /// Judges the load whose spans of messages began in `window` (ns).
    pub fn judge(&self, window: &Range<u64>, jobs: &[Job]) -> Measured {
        let mut measured = Measured::default();
        let mut traces: BTreeMap<&[u8], &Job> = BTreeMap::new();
        let mut served = HashMap::new();
        for job in jobs {
            match self.at(&job.path(), Kind::Server).as_slice() {
                [only] => {
                    traces.insert(&only.trace_id, job);
                    served.insert(job.id.as_str(), *only);
                }
                others => measured.say(
                    &format!("{} SERVER spans", others.len()),
                    &job.path(),
                    others.first().copied(),
                ),
            }
        }
        self.judge_messages(&mut measured, window, jobs, &traces);
        self.judge_traces(&mut measured, window);
        for job in jobs {
            let trace = served.get(job.id.as_str()).map(|span| &span.trace_id);
            let attempts = self.attempts(trace, &job.id);
            self.judge_links(&mut measured, job, &attempts);
            for step in job.steps() {
                let whole = self.judge_call(&mut measured, job, &attempts, &step);
                measured.whole += usize::from(whole.is_some() && whole == trace);
            }
        }
        measured
    }

    /// The job that work names: of a message that was cut the key may be missing, and its PRODUCER says it.
    fn said(&self, work: &'a ReceivedSpan) -> Option<&'a str> {
        said(work).or_else(|| said(self.parent(work)?))
    }

    /// Work in the trace of the request, or that names the job itself.
    fn attempts(&self, trace: Option<&Vec<u8>>, id: &str) -> Vec<&'a ReceivedSpan> {
        let of = |span: &&&ReceivedSpan| {
            span.kind == Kind::Consumer
                && (trace == Some(&span.trace_id) || self.said(span) == Some(id))
        };
        self.messages.iter().filter(of).copied().collect()
    }

    /// Whether nobody saw the end of this work, or something else was taken for it.
    fn is_late(&self, work: &ReceivedSpan) -> bool {
        let below = self.below.get(work.span_id.as_slice());
        let last = below.into_iter().flatten().map(|span| span.end).max();
        let is_late = last.is_some_and(|last| last.saturating_add(LATE_NS) < work.end);
        is_late || work.attributes.contains_key("suture.unfinished")
    }

    fn judge_messages(
        &self,
        measured: &mut Measured,
        window: &Range<u64>,
        jobs: &[Job],
        traces: &BTreeMap<&[u8], &Job>,
    ) {
        let (mut puts, mut work) = (Score::default(), Score::default());
        let (mut due_puts, mut due_work) = (0, 0);
        for job in jobs {
            due_puts += 1 + usize::from(job.fails_once && job.is_put_again);
            due_work += job.attempts();
        }
        let (mut linked, mut root_puts, mut root_work) = (0, 0, 0);
        let mut seen: HashMap<(&str, Kind), usize> = HashMap::new();
        let is_ours = |span: &&&ReceivedSpan| {
            traces.contains_key(span.trace_id.as_slice()) || window.contains(&span.start)
        };
        for span in self.messages.iter().filter(is_ours) {
            let job = traces.get(span.trace_id.as_slice()).copied();
            let parent = self.parent(span);
            let fits = |kind: Kind| parent.is_some_and(|parent| parent.kind == kind);
            let is_put = span.kind == Kind::Producer;
            if span.parent.is_none() {
                let links = span.links.iter().any(|link| {
                    self.by_id
                        .get(link.span_id.as_slice())
                        .is_some_and(|to| to.kind == Kind::Producer)
                });
                match (is_put, links) {
                    (true, _) => root_puts += 1,
                    (false, true) => linked += 1,
                    (false, false) => root_work += 1,
                }
                continue;
            }
            let is_true = match (is_put, job) {
                (true, Some(_)) => fits(Kind::Server) || fits(Kind::Consumer),
                // What unjoined work puts, and what is worked on for a message that is a root.
                (true, None) => fits(Kind::Consumer),
                (false, _) => fits(Kind::Producer),
            };
            let names = self.names(span);
            let said = said(span);
            let is_of_another =
                job.is_some_and(|job| {
                    (!names.is_empty() && !names.contains(job.id.as_str()))
                        || said.is_some_and(|said| said != job.id)
                }) || (!is_put && said.is_some() && parent.and_then(self::said) != said);
            if !is_put && self.is_late(span) {
                measured.late += 1;
                measured.say("ends late", "", Some(span));
            }
            let score = if is_put { &mut puts } else { &mut work };
            if !is_true || is_of_another {
                score.wrong += 1;
                measured.say("WRONG", "", Some(span));
                continue;
            }
            let Some(job) = job else {
                // Its producer is right; nobody knows whose it is, but by what it says.
                let job = said.and_then(|id| jobs.iter().find(|job| job.id == id));
                if let Some(job) = job.filter(|_| !is_put) {
                    let count = seen.entry((job.id.as_str(), span.kind)).or_default();
                    *count += 1;
                    if *count > job.attempts() && self.is_linked(span) {
                        continue;
                    }
                }
                if is_put {
                    root_puts += 1;
                } else if work.right < due_work {
                    work.right += 1;
                } else {
                    work.doubled += 1;
                    measured.say("doubled", "", Some(span));
                }
                continue;
            };
            let due = if is_put {
                1 + usize::from(job.fails_once && job.is_put_again)
            } else {
                job.attempts()
            };
            let count = seen.entry((job.id.as_str(), span.kind)).or_default();
            *count += 1;
            if *count > due && !is_put && self.is_linked(span) {
                continue;
            }
            if *count > due {
                score.doubled += 1;
                measured.say("doubled", &job.id, Some(span));
            } else {
                score.right += 1;
            }
        }
        measured.puts = puts.filled(due_puts, 0, root_puts);
        measured.work = work.filled(due_work, linked, root_work);
        if measured.puts.missing + measured.work.missing > 0 {
            for job in jobs {
                let of = |kind| seen.get(&(job.id.as_str(), kind)).copied().unwrap_or(0);
                let counts = (of(Kind::Producer), of(Kind::Consumer));
                if counts.0 == 0 || counts.1 < job.attempts() {
                    let what = format!("{counts:?} of (1, {}) messages", job.attempts());
                    measured.say(&what, &job.path(), None);
                }
            }
        }
    }

    /// Linked to other work: what a broker delivers more often than the job fails (to another member of a group) is no double.
    fn is_linked(&self, work: &ReceivedSpan) -> bool {
        let to = |span: &&ReceivedSpan| span.kind == Kind::Consumer;
        let mut links = work.links.iter();
        links.any(|link| self.by_id.get(link.span_id.as_slice()).is_some_and(to))
    }

    /// Messages that are roots have a trace each: the calls in it are one job's.
    fn judge_traces(&self, measured: &mut Measured, window: &Range<u64>) {
        let mut roots: BTreeMap<&[u8], usize> = BTreeMap::new();
        let is_root = |span: &&&ReceivedSpan| span.parent.is_none() && window.contains(&span.start);
        for span in self.messages.iter().filter(is_root) {
            let count = roots.entry(&span.trace_id).or_default();
            *count += 1;
            if *count > 1 {
                measured.puts.wrong += 1;
                measured.say("WRONG: another root in its trace", "", Some(span));
            }
        }
    }

    /// Each attempt but the first is linked to the one before, and nothing to another's.
    fn judge_links(&self, measured: &mut Measured, job: &Job, attempts: &[&ReceivedSpan]) {
        for (nth, attempt) in attempts.iter().enumerate() {
            let to_work: Vec<&[u8]> = attempt
                .links
                .iter()
                .map(|link| link.span_id.as_slice())
                .filter(|to| {
                    self.by_id
                        .get(to)
                        .is_none_or(|to| to.kind == Kind::Consumer)
                })
                .collect();
            let before = (nth > 0).then(|| attempts[nth - 1].span_id.as_slice());
            let is_due = nth > 0 && job.fails_once && nth < job.attempts();
            if to_work.is_empty() {
                measured.links.root += usize::from(is_due);
                if is_due {
                    measured.say("not linked", &job.id, Some(attempt));
                }
            } else if to_work.iter().any(|to| Some(*to) != before) {
                measured.links.wrong += 1;
                measured.say("WRONG LINK", &job.id, Some(attempt));
            } else {
                measured.links.right += 1;
            }
        }
        if job.fails_once && attempts.len() < 2 {
            measured.links.root += 1;
        }
    }

    /// Returns the trace of a call that is right.
    fn judge_call(
        &self,
        measured: &mut Measured,
        job: &Job,
        attempts: &[&ReceivedSpan],
        (path, attempt): &(String, usize),
    ) -> Option<&'a Vec<u8>> {
        let calls = self.at(path, Kind::Client);
        let Some(call) = calls.first() else {
            measured.calls.missing += 1;
            measured.say("missing", path, None);
            return None;
        };
        // (Who is given a message once more works on it once more.)
        let more = attempts.len().saturating_sub(job.attempts());
        measured.calls.doubled += (calls.len() - 1).saturating_sub(more);
        if calls.len() > 1 + more {
            measured.say("doubled", path, Some(call));
        }
        let Some(work) = self.parent(call) else {
            if call.parent.is_some() {
                measured.calls.wrong += 1;
                measured.say("WRONG", path, Some(call));
            } else {
                measured.calls.root += 1;
                measured.say("root call", path, Some(call));
            }
            return None;
        };
        let is_message = work.kind == Kind::Consumer && jobs::is_message(work, self.port);
        let place = attempts.iter().position(|one| one.span_id == work.span_id);
        let is_right = match place {
            Some(place) => !job.fails_once || place == *attempt || attempts.len() < 2,
            // In no request's trace: then no other job's calls may be there, nor may this one's be anywhere else.
            None => {
                !self.is_in_a_request(work)
                    && self.names(work).iter().all(|name| *name == job.id)
                    && (job.fails_once || !self.has_work_elsewhere(&job.id, work))
            }
        };
        if !is_message || !is_right {
            measured.calls.wrong += 1;
            measured.say("WRONG", path, Some(call));
            return None;
        }
        measured.calls.right += 1;
        Some(&work.trace_id)
    }

    /// Whether a call of this job is below other work than this.
    fn has_work_elsewhere(&self, id: &str, work: &ReceivedSpan) -> bool {
        (0..2).any(|step| {
            let calls = self.at(&format!("/leaf/{id}/{step}"), Kind::Client);
            calls.iter().any(|call| {
                call.parent
                    .as_ref()
                    .is_some_and(|parent| *parent != work.span_id)
            })
        })
    }

    /// Whether a request that put something is in its trace.
    fn is_in_a_request(&self, work: &ReceivedSpan) -> bool {
        let mut at = Some(work);
        for _ in 0..16 {
            let Some(span) = at else { return false };
            if span.kind == Kind::Server {
                return true;
            }
            at = self.parent(span);
        }
        false
    }
}
