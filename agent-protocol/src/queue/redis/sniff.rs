//! Recognises a Redis client by the first bytes of what it writes.
//!
//! In: the first 24 bytes of a client's turn, or all of a shorter one. Out: whether it is a command. Always holds: inline commands are not
//! recognised, which only people and scripts of a shell send. Refuses: what does not show the first letter of the command's name.

use super::line::COMMAND_MAX;

/// A client's turn is RESP. The rule, with `D` for one to seven decimal digits of which the first is not 0:
///
/// - `*D\r\n$D\r\n`, the second number at most 32, then a letter; then as many more bytes as the number says, as far as they are there,
///   each a letter, a digit or one of `._-|`, and CR LF behind them.
///
/// At each turn of a client, as a turn begins with a command; in the middle of a long argument nothing is recognised.
#[must_use]
pub fn is_redis(first: &[u8]) -> bool {
    let first = &first[..first.len().min(crate::sniff::SNIFF_BYTES)];
    let Some((_, rest)) = counted(first, b'*') else {
        return false;
    };
    let Some((len, rest)) = counted(rest, b'$') else {
        return false;
    };
    let (name, end) = rest.split_at(rest.len().min(len));
    (1..=COMMAND_MAX).contains(&len)
        && super::line::is_command_name(name)
        && (end.is_empty() || b"\r\n".starts_with(&end[..end.len().min(2)]))
}

/// The sign, digits and CR LF at the beginning: the number, and what follows.
fn counted(text: &[u8], sign: u8) -> Option<(usize, &[u8])> {
    let digits = text.strip_prefix(&[sign])?;
    let len = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = digits.split_at(len);
    if !(1..=7).contains(&len) || digits[0] == b'0' {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| 10 * number + usize::from(digit - b'0'));
    Some((number, rest.strip_prefix(b"\r\n")?))
}
