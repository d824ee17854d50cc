//! Exported spans compared with the paths they were made for.
//!
//! In: all spans of a session, and the requests of one measurement. Out: how many parents are what, and the evidence.
//! Always holds: nothing but the spans is looked at; a span counts for the request that its path names.

use std::collections::{BTreeMap, HashMap};

use suture_tests::check::of_process;
use suture_tests::{Kind, ReceivedSpan};

use crate::score::Score;
use crate::shape::{Call, Shape, key_of, refused_address};
use crate::stage::Asked;

/// Examples of what is wrong that are shown for each measurement.
const EXAMPLES: usize = 3;
/// Spans that are shown in an example.
const SHOWN: usize = 4;

/// What one measurement found.
#[derive(Default)]
pub struct Measured {
    /// The CLIENT spans of the program that is measured: whose child is the call?
    pub calls: Score,
    /// The SERVER spans of who answers: whose child is the answer?
    pub answers: Score,
    /// Evidence of the calls.
    pub evidence: BTreeMap<String, usize>,
    /// Some of what is wrong.
    pub examples: Vec<String>,
}

/// The spans of a session by what they are.
pub struct Spans<'a> {
    served: HashMap<&'a str, Vec<&'a ReceivedSpan>>,
    calling: HashMap<&'a str, Vec<&'a ReceivedSpan>>,
    answered: HashMap<&'a str, Vec<&'a ReceivedSpan>>,
}

impl<'a> Spans<'a> {
    /// Sorts them. `caller` and `answerer` are the processes of the two programs.
    pub fn sort(spans: &'a [ReceivedSpan], caller: &[u32], answerer: &[u32]) -> Self {
        let mut sorted = Self {
            served: HashMap::new(),
            calling: HashMap::new(),
            answered: HashMap::new(),
        };
        for span in spans {
            let of_caller = of_process(span, caller);
            let role = match span.kind {
                Kind::Server if of_caller => &mut sorted.served,
                Kind::Client if of_caller => &mut sorted.calling,
                Kind::Server if of_process(span, answerer) => &mut sorted.answered,
                _ => continue,
            };
            role.entry(key_of(span)).or_default().push(span);
        }
        sorted
    }

    /// Judges the requests `ids`.
    pub fn judge<'i>(
        &self,
        asked: Asked,
        shape: Shape,
        ids: impl Iterator<Item = &'i str>,
    ) -> Measured {
        let mut measured = Measured::default();
        for id in ids {
            let path = asked.path(shape, id);
            let path = path.split('?').next().unwrap_or_default();
            let fronts = of(&self.served, path);
            for (step, call) in asked.calls(shape).iter().enumerate() {
                let key = match call {
                    Call::Refused => refused_address(id),
                    _ => format!("/leaf/{id}/{step}"),
                };
                let calling = of(&self.calling, &key);
                for span in calling {
                    let evidence = measured.evidence.entry(span.evidence().to_owned());
                    *evidence.or_default() += 1;
                }
                let most = match call {
                    Call::Answered => 1,
                    // Clients try again: Go once for each kept connection. Each attempt is judged.
                    Call::Closed | Call::Refused => usize::MAX,
                };
                let one = Case {
                    what: "call",
                    key: &key,
                    most,
                };
                measured.calls += one.judge(fronts, calling, &mut measured.examples);
                if *call == Call::Answered {
                    let answered = of(&self.answered, &key);
                    let one = Case {
                        what: "answer",
                        ..one
                    };
                    measured.answers += one.judge(calling, answered, &mut measured.examples);
                }
            }
        }
        measured
    }
}

fn of<'s, 'a>(
    role: &'s HashMap<&'a str, Vec<&'a ReceivedSpan>>,
    key: &str,
) -> &'s [&'a ReceivedSpan] {
    role.get(key).map_or(&[], Vec::as_slice)
}

/// A span without its attributes.
fn short(span: &ReceivedSpan) -> String {
    let line = span.line();
    line.split_once(" {")
        .map_or(line.as_str(), |(short, _)| short)
        .to_owned()
}

/// One call, or its answer.
#[derive(Clone, Copy)]
struct Case<'a> {
    what: &'a str,
    key: &'a str,
    most: usize,
}

impl Case<'_> {
    /// Each of `children` must be the child of one of `parents`.
    fn judge(
        &self,
        parents: &[&ReceivedSpan],
        children: &[&ReceivedSpan],
        examples: &mut Vec<String>,
    ) -> Score {
        let mut score = Score::default();
        let mut complain = |complaint: &str| {
            if examples.len() < EXAMPLES {
                let lines: Vec<String> = parents
                    .iter()
                    .chain(children)
                    .take(SHOWN)
                    .map(|span| short(span))
                    .collect();
                examples.push(format!(
                    "{} {}: {complaint}: {}",
                    self.what,
                    self.key,
                    lines.join("\n      ")
                ));
            }
        };
        if parents.is_empty() || children.is_empty() {
            complain(if children.is_empty() {
                "missing"
            } else {
                "its parent is missing"
            });
            score.missing += 1;
            return score;
        }
        if children.len() > self.most {
            complain("doubled");
            score.doubled += children.len() - self.most;
        }
        for child in children {
            let is_of = |parent: &&&ReceivedSpan| {
                child.parent.as_ref() == Some(&parent.span_id) && child.trace_id == parent.trace_id
            };
            if child.parent.is_none() {
                score.root += 1;
            } else if parents.iter().any(|parent| is_of(&parent)) {
                score.right += 1;
            } else {
                complain("wrong parent");
                score.wrong += 1;
            }
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use suture_tests::span::StatusCode;
    use suture_tests::{Kind, ReceivedSpan, Value};

    use super::{Measured, Score, Spans};
    use crate::shape::Shape;
    use crate::stage::Asked;

    const CALLER: u32 = 10;
    const LEAF: u32 = 20;

    fn span(kind: Kind, pid: u32, path: &str, id: u8, parent: Option<u8>) -> ReceivedSpan {
        let text = |value: &str| Value::Str(value.to_owned());
        ReceivedSpan {
            trace_id: vec![1; 16],
            span_id: vec![id; 8],
            parent: parent.map(|id| vec![id; 8]),
            trace_state: String::new(),
            flags: 0,
            kind,
            name: String::new(),
            start: 0,
            end: 0,
            status: StatusCode::Unset,
            status_message: String::new(),
            attributes: BTreeMap::from([
                ("url.path".to_owned(), text(path)),
                ("suture.parent.evidence".to_owned(), text("thread")),
            ]),
            repeated_keys: Vec::new(),
            resource: BTreeMap::from([("process.pid".to_owned(), Value::Int(i64::from(pid)))]),
            links: Vec::new(),
        }
    }

    /// A request `a` with its one call and answer; `b` is another request.
    fn spans(call: Option<u8>, answer: Option<u8>) -> Vec<ReceivedSpan> {
        vec![
            span(Kind::Server, CALLER, "/work/background/a", 1, None),
            span(Kind::Server, CALLER, "/work/background/b", 9, None),
            span(Kind::Client, CALLER, "/leaf/a/0", 2, call),
            span(Kind::Server, LEAF, "/leaf/a/0", 3, answer),
        ]
    }

    fn judged(spans: &[ReceivedSpan]) -> Measured {
        Spans::sort(spans, &[CALLER], &[LEAF]).judge(
            Asked::Work,
            Shape::Background,
            std::iter::once("a"),
        )
    }

    fn five(score: &Score) -> [usize; 5] {
        [
            score.right,
            score.root,
            score.wrong,
            score.missing,
            score.doubled,
        ]
    }

    #[test]
    fn a_parent_is_right_root_wrong_missing_or_doubled() {
        let without = |place: usize| {
            let mut spans = spans(Some(1), Some(2));
            spans.remove(place);
            spans
        };
        let twice = |place: usize| {
            let mut spans = spans(Some(1), Some(2));
            spans.push(spans[place].clone());
            spans
        };
        let mut foreign = spans(Some(1), Some(2));
        foreign[2].trace_id = vec![7; 16];
        for (what, spans, calls, answers) in [
            (
                "all right",
                spans(Some(1), Some(2)),
                [1, 0, 0, 0, 0],
                [1, 0, 0, 0, 0],
            ),
            ("roots", spans(None, None), [0, 1, 0, 0, 0], [0, 1, 0, 0, 0]),
            (
                "another request's",
                spans(Some(9), Some(2)),
                [0, 0, 1, 0, 0],
                [1, 0, 0, 0, 0],
            ),
            (
                "nobody's",
                spans(Some(1), Some(8)),
                [1, 0, 0, 0, 0],
                [0, 0, 1, 0, 0],
            ),
            ("another trace", foreign, [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]),
            ("no request", without(0), [0, 0, 0, 1, 0], [1, 0, 0, 0, 0]),
            ("no call", without(2), [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]),
            ("no answer", without(3), [1, 0, 0, 0, 0], [0, 0, 0, 1, 0]),
            ("two calls", twice(2), [2, 0, 0, 0, 1], [1, 0, 0, 0, 0]),
            ("two answers", twice(3), [1, 0, 0, 0, 0], [2, 0, 0, 0, 1]),
        ] {
            let measured = judged(&spans);
            assert_eq!(five(&measured.calls), calls, "calls: {what}");
            assert_eq!(five(&measured.answers), answers, "answers: {what}");
        }
    }

    #[test]
    fn spans_of_other_processes_are_not_looked_at() {
        let mut all = spans(Some(1), Some(2));
        all.push(span(Kind::Client, 77, "/leaf/a/0", 4, None));
        all.push(span(Kind::Server, 78, "/leaf/a/0", 5, None));
        let measured = judged(&all);
        assert_eq!(five(&measured.calls), [1, 0, 0, 0, 0]);
        assert_eq!(five(&measured.answers), [1, 0, 0, 0, 0]);
        assert_eq!(
            measured.evidence,
            BTreeMap::from([("thread".to_owned(), 1)])
        );
    }
}
