//! What a server answers.
//!
//! In: messages of the backend, element by element, and from [`Shared`] what they answer. Out: events, when a statement is complete: then
//! its rows are sure to be its own, as the server says what kind of statement it was. Always holds: of rows only ids and the names of
//! known functions' columns are kept, at most [`ROWS_MAX`] of one answer. Refuses: answers to what was not seen.

mod rows;

use std::sync::Arc;

use super::outcome::tell;
use super::shared::{Columns, Op, ROWS_MAX, Row, Run, Shared};
use super::statement::Kind;
use crate::queue::Event;
use crate::queue::lane::{Head, Side, Start, Step};

/// Parameters whose types are kept.
const TYPES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Message,
    Column,
    Value,
}

/// Where the reading stands.
#[derive(Debug, Default)]
pub(super) struct Response {
    at: At,
    tag: u8,
    left: u16,
    index: u16,
    columns: Columns,
    rank: u8,
    row: Row,
}

/// The direction to the client.
pub(super) struct FromServer<'a> {
    pub(super) response: &'a mut Response,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut dyn FnMut(Event),
}

/// All tags of a backend's messages.
const TAGS: &[u8] = b"RSKZTDCEN123tnIsAGHWVcdv";

impl Side for FromServer<'_> {
    const START_BYTES: usize = 5;

    fn starts(&self, view: &[u8]) -> Start {
        match view {
            [tag, 0, _, _, len, ..] if TAGS.contains(tag) && (*tag != b'Z' || *len == 5) => {
                Start::Yes
            }
            [tag] | [tag, 0] | [tag, 0, _] | [tag, 0, _, _] if TAGS.contains(tag) => Start::Maybe,
            _ => Start::No,
        }
    }

    fn head(&mut self, view: &[u8]) -> Head {
        if self.shared.asked_encryption > 0 {
            match view.first() {
                Some(b'N') => {
                    self.shared.asked_encryption -= 1;
                    return Head::Message { head: 1, body: 0 };
                }
                Some(b'S' | b'G') => {
                    self.shared.is_encrypted = true;
                    return Head::Not;
                }
                // An old server, which says that it does not know this.
                Some(_) => self.shared.asked_encryption = 0,
                None => return Head::More,
            }
        }
        let Some([tag, len @ ..]) = view.first_chunk::<5>() else {
            return Head::More;
        };
        let len = u32::from_be_bytes(*len);
        if !TAGS.contains(tag) || !(4..=i32::MAX as u32).contains(&len) {
            return Head::Not;
        }
        self.response.tag = *tag;
        match tag {
            b'I' | b's' => self.complete(b""),
            b'n' => {
                // No columns.
                if matches!(self.shared.ops.front(), Some(Op::Describe(_))) {
                    self.shared.ops.pop_front();
                }
            }
            _ => {}
        }
        Head::Message {
            head: 5,
            body: u64::from(len - 4),
        }
    }

    fn step(&mut self, view: &[u8], left: u64) -> Step {
        let step = match self.response.at {
            At::Message => self.message(view, left),
            At::Column => self.column(view),
            At::Value => return self.value(view),
        };
        match step {
            Ok(used) => Step::Took { used, skip: 0 },
            Err(step) => step,
        }
    }

    fn end(&mut self) {
        self.response.at = At::Message;
    }

    fn cut(&mut self, why: &'static str) {
        match self.response.tag {
            b'T' => {
                if matches!(self.shared.ops.front(), Some(Op::Describe(_))) {
                    self.shared.ops.pop_front();
                }
            }
            b'C' | b'E' | b'Z' => self.shared.lose(),
            _ => {}
        }
        self.response.at = At::Message;
        (self.out)(Event::Unparsed(why));
    }

    fn fell(&mut self) {
        self.shared.lose();
    }
}

type Used = Result<usize, Step>;

impl FromServer<'_> {
    fn rest(&mut self) -> Used {
        self.response.at = At::Message;
        Err(Step::Rest)
    }

    fn message(&mut self, view: &[u8], left: u64) -> Used {
        match self.response.tag {
            b'Z' => {
                let status = *view.first().ok_or(Step::More)?;
                self.ready(status);
                self.rest()
            }
            b'C' => {
                let len = view.iter().position(|&byte| byte == 0).ok_or(Step::More)?;
                self.complete(&view[..len]);
                self.rest()
            }
            b'E' => {
                let wanted = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(self.shared.limits.message_bytes);
                let view = view.get(..wanted).ok_or(Step::More)?;
                self.failed(code(view));
                self.rest()
            }
            b't' => {
                let types = types(view, self.shared.limits.message_bytes)?;
                if let Some(Op::Describe(name)) = self.shared.ops.front()
                    && let Some(prepared) = self.shared.prepared.get_mut(name)
                {
                    prepared.types = types;
                }
                self.rest()
            }
            b'T' => {
                let count = view.first_chunk().ok_or(Step::More)?;
                self.response.left = u16::from_be_bytes(*count);
                self.response.index = 0;
                self.response.rank = 0;
                self.response.columns = Columns::default();
                self.response.at = At::Column;
                Ok(2)
            }
            b'D' => {
                let count = view.first_chunk().ok_or(Step::More)?;
                let wants = match self.shared.ops.front() {
                    Some(Op::Run(Some(run))) => wants_rows(run),
                    _ => false,
                };
                if !wants || !self.shared.is_aligned {
                    return self.rest();
                }
                self.response.left = u16::from_be_bytes(*count);
                self.response.index = 0;
                self.response.row = Row::default();
                self.response.at = At::Value;
                Ok(2)
            }
            _ => self.rest(),
        }
    }

    fn ready(&mut self, status: u8) {
        self.shared.was_ready = true;
        if status == b'I' {
            self.shared.taken.clear();
        }
        while let Some(op) = self.shared.ops.pop_front() {
            if matches!(op, Op::Ready) {
                break;
            }
        }
    }

    /// The statement at the front is complete, or its portal is suspended.
    fn complete(&mut self, tag: &[u8]) {
        if !matches!(self.shared.ops.front(), Some(Op::Run(_))) {
            return;
        }
        let Some(Op::Run(Some(mut run))) = self.shared.ops.pop_front() else {
            return;
        };
        run.rows.truncate(ROWS_MAX);
        let verb = run.statement.verb.as_bytes();
        let is_its_own = self.response.tag == b's' || tag.starts_with(verb);
        if !is_its_own {
            // Answers and statements do not fit.
            self.shared.lose();
            (self.out)(Event::Unparsed("order"));
            return;
        }
        let count = tag.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
        let is_none = count == b"0";
        tell(&run, is_none, self.shared, self.out);
    }

    /// The statement at the front failed, and the server skips what follows until it is ready.
    fn failed(&mut self, code: String) {
        while let Some(op) = self.shared.ops.front() {
            match op {
                Op::Ready => break,
                Op::Run(Some(run)) if run.operation > 0 => {
                    (self.out)(Event::Answered {
                        operation: run.operation,
                        error: Some(code.clone()),
                    });
                }
                _ => {}
            }
            self.shared.ops.pop_front();
        }
    }
}

/// The types of parameters: a count, and so many numbers.
pub(super) fn types(view: &[u8], limit: usize) -> Result<Arc<[u32]>, Step> {
    let (count, rest) = view.split_first_chunk().ok_or(Step::More)?;
    let count = usize::from(u16::from_be_bytes(*count))
        .min(TYPES_MAX)
        .min(limit / 8);
    let all = rest.get(..4 * count).ok_or(Step::More)?;
    let number = |bytes: &[u8]| {
        bytes
            .first_chunk()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    Ok(all.chunks_exact(4).map(number).collect())
}

/// The SQLSTATE of an error: the field `C`.
fn code(fields: &[u8]) -> String {
    let mut all = fields.split(|&byte| byte == 0);
    let code = all.find_map(|field| field.strip_prefix(b"C"));
    let code = code.filter(|code| code.len() == 5 && code.iter().all(u8::is_ascii_alphanumeric));
    String::from_utf8_lossy(code.unwrap_or(b"XX000")).into_owned()
}

/// Whether a statement's rows are asked for.
fn wants_rows(run: &Run) -> bool {
    !matches!(
        run.statement.kind,
        Kind::Settle | Kind::FinishJob | Kind::RetryJob | Kind::Remove
    )
}
