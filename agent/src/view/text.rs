//! Text that fits into columns of a terminal.
//!
//! In: names from anywhere, times. Out: cells of an exact width. Always holds: no control or bidirectional formatting
//! character gets through, so nobody's URL can move the cursor. Refuses: nothing.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

/// Columns a character takes; characters that may not be shown count as their replacement.
fn columns(letter: char) -> usize {
    letter.width().unwrap_or(0)
}

/// Whether a terminal would obey this character instead of showing it.
fn is_hostile(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// `text` with hostile characters replaced, as letters.
fn shown(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().map(|letter| {
        if is_hostile(letter) {
            '\u{fffd}'
        } else {
            letter
        }
    })
}

/// Appends `text`, cut to `width` columns with an ellipsis. Returns the columns used.
pub(super) fn cut(out: &mut String, text: &str, width: usize) -> usize {
    let whole: usize = shown(text).map(columns).sum();
    if whole <= width {
        out.extend(shown(text));
        return whole;
    }
    let mut used = 0;
    for letter in shown(text) {
        let next = columns(letter);
        if used + next + 1 > width {
            break;
        }
        out.push(letter);
        used += next;
    }
    if used < width {
        out.push('…');
        used += 1;
    }
    used
}

/// Appends spaces.
pub(super) fn pad(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// Appends `text` in exactly `width` columns, on the left.
pub(super) fn left(out: &mut String, text: &str, width: usize) {
    let used = cut(out, text, width);
    pad(out, width.saturating_sub(used));
}

/// Appends `text` in exactly `width` columns, on the right.
pub(super) fn right(out: &mut String, text: &str, width: usize) {
    let mut cell = String::new();
    let used = cut(&mut cell, text, width);
    pad(out, width.saturating_sub(used));
    out.push_str(&cell);
}

/// A duration in at most 8 columns: `0 µs`, `999 µs`, `12.3 ms`, `1.25 s`, `3600 s`.
pub(super) fn duration(ns: u64) -> String {
    let us = ns / 1_000;
    match us {
        0..=999 => format!("{us} µs"),
        1_000..=999_949 => format!("{:.1} ms", us as f64 / 1e3),
        999_950..=99_994_999 => format!("{:.2} s", us as f64 / 1e6),
        _ => format!("{} s", us / 1_000_000),
    }
}

/// Appends bytes as lower-case hex.
pub(super) fn hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.extend(
                DIGITS
                    .get(usize::from(nibble))
                    .map(|digit| char::from(*digit)),
            );
        }
    }
}

/// Appends a time as `2026-11-21 07:30:00.123Z` (RFC 3339 with a space), proleptic Gregorian, UTC.
pub(super) fn timestamp(out: &mut String, unix_ns: u64) {
    let seconds = unix_ns / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years: the leap day is then the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        unix_ns / 1_000_000 % 1_000
    );
}

#[cfg(test)]
mod tests {
    use super::{cut, duration, left, right, timestamp};

    #[test]
    fn cells_have_their_width_whatever_the_script() {
        let check = |text: &str, width, expect: &str| {
            let mut out = String::new();
            left(&mut out, text, width);
            assert_eq!(out, expect, "{text}");
        };
        check("abc", 5, "abc  ");
        check("abcdef", 5, "abcd…");
        check("abcde", 5, "abcde");
        check("日本語", 5, "日本…");
        check("日本語", 6, "日本語");
        check("日本語", 4, "日… ");
        check("e\u{301}e\u{301}", 3, "e\u{301}e\u{301} ");
        check("", 2, "  ");
        check("ab", 1, "…");
        check("ab", 0, "");
        let mut out = String::new();
        right(&mut out, "7 µs", 6);
        assert_eq!(out, "  7 µs");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        let check = |text: &str, expect: &str| {
            let mut out = String::new();
            cut(&mut out, text, 20);
            assert_eq!(out, expect);
        };
        check("a\x1b[2Jb", "a\u{fffd}[2Jb");
        check("a\r\nb\tc", "a\u{fffd}\u{fffd}b\u{fffd}c");
        check("a\u{202e}b\u{9b}", "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn durations_fit_eight_columns() {
        let check = |ns: u64, expect: &str| {
            assert_eq!(duration(ns), expect);
            assert!(expect.chars().count() <= 8, "{expect}");
        };
        check(0, "0 µs");
        check(999_999, "999 µs");
        check(1_000_000, "1.0 ms");
        check(999_949_999, "999.9 ms");
        check(999_950_000, "1.00 s");
        check(99_994_999_999, "99.99 s");
        check(100_000_000_000, "100 s");
        check(86_400_000_000_000, "86400 s");
    }

    #[test]
    fn timestamps_know_the_calendar() {
        let check = |seconds: u64, expect: &str| {
            let mut out = String::new();
            timestamp(&mut out, seconds * 1_000_000_000 + 7_000_000);
            assert_eq!(out, expect);
        };
        check(0, "1970-01-01 00:00:00.007Z");
        check(951_782_399, "2000-02-28 23:59:59.007Z");
        check(951_782_400, "2000-02-29 00:00:00.007Z");
        check(951_868_800, "2000-03-01 00:00:00.007Z");
        check(1_795_245_600, "2026-11-21 07:20:00.007Z");
        check(4_107_542_400, "2100-03-01 00:00:00.007Z");
    }

    proptest::proptest! {
        #[test]
        fn any_text_fills_its_cell_exactly(text in "\\PC*|.*", width in 0_usize..40) {
            for cell in [left, right] {
                let mut out = String::new();
                cell(&mut out, &text, width);
                proptest::prop_assert!(!out.chars().any(super::is_hostile), "{:?}", out);
                let columns: usize = out.chars().map(super::columns).sum();
                proptest::prop_assert_eq!(columns, width);
            }
        }
    }
}
