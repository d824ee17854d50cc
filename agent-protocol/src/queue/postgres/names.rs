//! Names in statements: columns, functions, tables.
//!
//! In: tokens. Out: what they mean to a queue, and names as the server folds them. Always holds: names are cut to `NAME_MAX` bytes.
//! Refuses: nothing.

use super::statement::{Kind, Source};
use super::token::Token;
use crate::queue::NAME_MAX;

/// How likely a column is the row's id.
pub(super) fn rank(column: &str) -> u8 {
    match column {
        "id" => 3,
        "uuid" | "pk" | "msg_id" | "job_id" => 2,
        _ if column.ends_with("_id") || column.ends_with("_uuid") => 1,
        _ => 0,
    }
}

pub(super) fn source_of(token: Token<'_>) -> Source {
    match token {
        Token::Param(number) => Source::Param(number),
        Token::Text(text) | Token::Number(text) if text.len() <= NAME_MAX => {
            Source::Text(String::from_utf8_lossy(text).into_owned())
        }
        _ => Source::Nowhere,
    }
}

/// Functions of queues. `schema` is empty where none is said.
pub(super) fn function(schema: &str, name: &str) -> Kind {
    let is_of = |prefix: &str| name.starts_with(prefix);
    match (schema, name) {
        ("pgmq", "send" | "send_batch") => Kind::Send,
        ("pgmq", "read" | "read_with_poll" | "pop" | "read_grouped") => Kind::Read,
        ("pgmq", "delete" | "archive") => Kind::Remove,
        _ if is_of("procrastinate_defer_jobs") || is_of("procrastinate_defer_job_") => Kind::Defer,
        _ if is_of("procrastinate_defer_periodic_job") => Kind::Defer,
        _ if is_of("procrastinate_fetch_job") => Kind::FetchJob,
        _ if is_of("procrastinate_finish_job") => Kind::FinishJob,
        _ if is_of("procrastinate_retry_job") => Kind::RetryJob,
        _ => Kind::Other,
    }
}

/// A name as the server folds it, cut.
pub(super) fn folded(token: Token<'_>) -> String {
    let (text, folds) = match token {
        Token::Word(text) => (text, true),
        Token::Quoted(text) => (text, false),
        _ => return String::new(),
    };
    let mut name = String::from_utf8_lossy(&text[..text.len().min(NAME_MAX)]).into_owned();
    name.truncate(floor(&name, NAME_MAX));
    if folds {
        name.make_ascii_lowercase();
    }
    name
}

/// The last character boundary up to `most`.
pub(super) fn floor(text: &str, most: usize) -> usize {
    (0..=most.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}
