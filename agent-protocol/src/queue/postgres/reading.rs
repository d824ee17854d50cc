//! Reads one statement.
//!
//! In: tokens. Out: a [`Statement`]. Always holds: one pass, a few names, no tree; what is deeper than sixteen parentheses counts as being
//! at the sixteenth. Refuses: conditions with `OR`, lists of ids, and sub-selects as a row's id.

use super::names::{floor, folded, function, rank, source_of};
use super::statement::{Kind, Source, Statement};
use super::token::Token;
use super::words::{Outcome, column_outcome, outcome_of};
use crate::queue::NAME_MAX;

/// Most parentheses in each other that are told apart.
const DEPTH_MAX: usize = 16;

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Nothing,
    /// A table's name, for this use.
    Table(Use),
    /// More of a name after a dot.
    MoreTable(Use),
    /// A value that the column before is compared with; after `IN`, in parentheses.
    Value { listed: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Insert,
    Change,
    From,
}

/// A statement while its tokens come.
#[derive(Debug, Default)]
pub(super) struct Reading {
    statement: Statement,
    pub(super) tokens: u32,
    pub(super) depth: usize,
    /// Of each depth, the first table after its last `FROM`.
    from: Vec<String>,
    expect: Expect,
    name: String,
    insert_table: String,
    change_table: String,
    fetch_table: String,
    is_deleted: bool,
    in_with: bool,
    is_other: bool,
    in_set: bool,
    in_where: bool,
    in_values: bool,
    skips: bool,
    /// The last words, for names of functions and columns: `schema . name`.
    before: String,
    last: String,
    after_dot: bool,
    /// A known function's arguments are read; at which depth, and how many are over.
    call: Option<(usize, usize)>,
    in_list: bool,
    set_column: Option<Outcome>,
    rank: u8,
}

/// Rank of a condition that may choose other rows.
const UNSURE: u8 = u8::MAX;

impl Reading {
    pub(super) fn take(&mut self, token: Token<'_>) {
        self.tokens += 1;
        if self.tokens == 1 {
            self.in_with = token.is("WITH");
            let verbs = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];
            let is_plain = verbs.iter().any(|verb| token.is(verb));
            // DECLARE, EXPLAIN, COPY and others hold statements that do not run as such.
            self.is_other = !self.in_with && !is_plain;
        }
        match token {
            Token::Mark(b'(') => self.open(),
            Token::Mark(b')') => {
                self.depth = self.depth.saturating_sub(1);
                self.in_list = false;
                if self.call.is_some_and(|(depth, _)| depth > self.depth) {
                    self.call = None;
                }
                self.expect_none();
            }
            Token::Word(_) | Token::Quoted(_) => self.word(token),
            Token::Param(_) | Token::Text(_) | Token::Number(_) => self.value(token),
            Token::Mark(b',') => {
                if let Some((depth, over)) = &mut self.call
                    && *depth == self.depth
                {
                    *over += 1;
                }
                if self.in_list {
                    self.rank = UNSURE;
                }
                self.expect_none();
            }
            Token::Mark(b'.') => match self.expect {
                Expect::Table(_) => {}
                Expect::MoreTable(_) => self.name.push('.'),
                _ => self.after_dot = true,
            },
            Token::Mark(b'=') if self.in_where && self.depth <= 1 => {
                self.expect = Expect::Value { listed: false };
            }
            Token::Mark(_) => self.expect_none(),
        }
    }

    fn open(&mut self) {
        if matches!(self.expect, Expect::MoreTable(_)) {
            // `INSERT INTO t (…)`, or `FROM f(…)`, which is a function.
            self.end_table(true);
        }
        if self.in_values && self.depth == 0 {
            self.statement.rows += 1;
        }
        self.depth = (self.depth + 1).min(DEPTH_MAX);
        self.from.resize(self.depth + 1, String::new());
        if let Some(at) = self.from.last_mut() {
            at.clear();
        }
        if self.call.is_none() && self.statement.kind == Kind::Other {
            let kind = function(&self.before, &self.last);
            if kind != Kind::Other {
                self.statement.kind = kind;
                self.call = Some((self.depth, 0));
            }
        }
        self.in_list = self.expect == Expect::Value { listed: true };
        if !self.in_list {
            // `= (SELECT …)` is no value.
            self.expect = Expect::Nothing;
        }
    }

    fn expect_none(&mut self) {
        if matches!(self.expect, Expect::MoreTable(_)) {
            self.end_table(false);
        }
        self.expect = Expect::Nothing;
    }

    fn word(&mut self, token: Token<'_>) {
        let dotted = std::mem::take(&mut self.after_dot);
        match self.expect {
            Expect::Table(_) if token.is("ONLY") => return,
            Expect::Table(role) => {
                self.name = folded(token);
                self.expect = Expect::MoreTable(role);
                self.remember(token, dotted);
                return;
            }
            Expect::MoreTable(_) if self.name.ends_with('.') => {
                self.name.push_str(&folded(token));
                self.name.truncate(floor(&self.name, NAME_MAX));
                self.remember(token, true);
                return;
            }
            Expect::MoreTable(_) => self.end_table(false),
            Expect::Value { .. } => self.expect = Expect::Nothing,
            Expect::Nothing if self.in_where && self.depth <= 1 && token.is("IN") => {
                self.expect = Expect::Value { listed: true };
                return;
            }
            _ => {}
        }
        self.keyword(token);
        self.remember(token, dotted);
    }

    fn remember(&mut self, token: Token<'_>, dotted: bool) {
        let last = std::mem::replace(&mut self.last, folded(token));
        self.before = if dotted { last } else { String::new() };
    }

    fn keyword(&mut self, token: Token<'_>) {
        let Token::Word(_) = token else {
            return;
        };
        let is_main = self.depth == 0;
        if is_main && self.statement.verb.is_empty() {
            self.verb(token);
        }
        if self.in_set && is_main {
            self.set_word(token);
        }
        if token.is("SELECT") && self.in_where && !is_main {
            self.rank = UNSURE;
        }
        if token.is("INTO") && self.last == "insert" {
            self.expect = Expect::Table(Use::Insert);
        } else if token.is("UPDATE") && !matches!(&self.last[..], "for" | "key" | "do") {
            self.expect = Expect::Table(Use::Change);
        } else if token.is("FROM") {
            let is_delete = self.last == "delete";
            self.is_deleted |= is_delete && is_main;
            self.expect = Expect::Table(if is_delete { Use::Change } else { Use::From });
            self.in_set = self.in_set && !is_main;
        } else if token.is("LOCKED") && self.last == "skip" {
            self.skips = true;
            let from = self.from.get(self.depth).cloned().unwrap_or_default();
            if !from.is_empty() {
                self.fetch_table = from;
            }
        } else if is_main {
            self.clause(token);
        }
    }

    /// Words that begin a clause of the statement itself.
    fn clause(&mut self, token: Token<'_>) {
        if token.is("SET") && !self.change_table.is_empty() {
            self.in_set = true;
        } else if token.is("WHERE") {
            self.in_set = false;
            self.in_where = true;
        } else if token.is("RETURNING") || token.is("ORDER") || token.is("OR") {
            self.in_set = false;
            self.in_where = false;
            // Of several alternatives none is sure.
            if token.is("OR") {
                self.rank = UNSURE;
            }
        } else if token.is("VALUES") && !self.insert_table.is_empty() {
            self.in_values = true;
        } else if token.is("ON") {
            self.in_values = false;
        }
    }

    fn verb(&mut self, token: Token<'_>) {
        let all = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];
        if let Some(verb) = all.into_iter().find(|verb| token.is(verb)) {
            self.statement.verb = verb;
        } else if self.tokens == 1 && !self.in_with {
            self.statement.kind = if token.is("BEGIN") || token.is("START") {
                Kind::Begin
            } else if token.is("COMMIT") || token.is("END") {
                Kind::Commit
            } else if token.is("ROLLBACK") || token.is("ABORT") {
                Kind::Rollback
            } else {
                Kind::Other
            };
        } else if self.statement.kind == Kind::Rollback && token.is("TO") {
            // A savepoint only.
            self.statement.kind = Kind::Other;
        }
    }

    fn end_table(&mut self, is_call: bool) {
        let Expect::MoreTable(role) = std::mem::take(&mut self.expect) else {
            return;
        };
        let name = std::mem::take(&mut self.name);
        let name = name.strip_prefix("public.").unwrap_or(&name);
        match role {
            Use::Insert if self.insert_table.is_empty() => self.insert_table = name.to_owned(),
            Use::Change if self.change_table.is_empty() => self.change_table = name.to_owned(),
            Use::From if !is_call => {
                self.from
                    .resize(self.from.len().max(self.depth + 1), String::new());
                let at = &mut self.from[self.depth];
                if at.is_empty() {
                    at.push_str(name);
                }
            }
            _ => {}
        }
    }

    fn value(&mut self, token: Token<'_>) {
        if let Some((depth, over)) = self.call
            && depth == self.depth
            && let Some(source) = self.statement.sources.get_mut(over)
            && *source == Source::Nowhere
        {
            *source = source_of(token);
        }
        if self.in_set {
            match token {
                Token::Param(number @ 1..=64) => self.statement.set_params |= 1 << (number - 1),
                Token::Text(text) => self.say(outcome_of(text)),
                _ => {}
            }
            // A parameter may be NULL.
            let column = std::mem::take(&mut self.set_column);
            if !matches!(token, Token::Param(_)) {
                self.say(column);
            }
        }
        if matches!(self.expect, Expect::Value { .. }) {
            let rank = rank(&self.last);
            if rank > self.rank {
                self.rank = rank;
                self.statement.column.clone_from(&self.last);
                self.statement.sources[0] = source_of(token);
            }
        }
        self.expect_none();
    }

    /// A word of what is set: a column, or what it is set to.
    fn set_word(&mut self, token: Token<'_>) {
        let column = std::mem::take(&mut self.set_column);
        if let (Some(_), Token::Word(_)) = (column, token) {
            if !token.is("NULL") && !token.is("FALSE") && !token.is("DEFAULT") {
                self.say(column);
            }
        } else if let Token::Word(text) = token {
            self.set_column = column_outcome(text);
        }
    }

    fn say(&mut self, outcome: Option<Outcome>) {
        self.statement.outcome = self.statement.outcome.max(outcome);
    }

    pub(super) fn finish(mut self) -> Statement {
        self.expect_none();
        let mut statement = self.statement;
        if self.is_other {
            return Statement {
                kind: match statement.kind {
                    Kind::Begin | Kind::Commit | Kind::Rollback => statement.kind,
                    _ => Kind::Other,
                },
                ..Statement::default()
            };
        }
        if statement.kind != Kind::Other {
            return statement;
        }
        if self.skips {
            statement.kind = Kind::Fetch;
            statement.table = [self.fetch_table, self.change_table]
                .into_iter()
                .find(|table| !table.is_empty())
                .unwrap_or_default();
        } else if !self.insert_table.is_empty() {
            statement.kind = Kind::Insert;
            statement.table = self.insert_table;
        } else if !self.change_table.is_empty() && self.rank > 0 && self.rank < UNSURE {
            statement.kind = Kind::Settle;
            statement.table = self.change_table;
            if self.is_deleted {
                statement.outcome = Some(Outcome::Done);
            }
        }
        let says = statement.outcome.is_some() || statement.set_params > 0;
        if statement.kind == Kind::Other || statement.kind == Kind::Settle && !says {
            return Statement {
                verb: statement.verb,
                ..Statement::default()
            };
        }
        statement
    }
}
