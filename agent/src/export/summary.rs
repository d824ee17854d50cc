//! The table of what the agent did and could not do, printed on exit.
//!
//! In: a snapshot. Out: text. Always holds: rows in the snapshot's order, zero rows left out. Refuses: nothing.

use std::fmt::Write;

use super::snapshot::Row;

/// The table; a sentence instead when every value is zero.
#[must_use]
pub fn summary(snapshot: &[Row]) -> String {
    let rows: Vec<_> = snapshot.iter().filter(|row| row.value != 0).collect();
    if rows.is_empty() {
        return "suture: nothing was seen, nothing was lost\n".to_owned();
    }
    let value_width = rows
        .iter()
        .map(|row| row.value.to_string().len())
        .max()
        .unwrap_or(1);
    let mut text = String::from("suture: summary\n");
    for row in rows {
        let meaning = row.meaning.trim();
        let name = match row.reason {
            Some(reason) => format!("{}{{reason={reason}}}", row.metric),
            None => row.metric.to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:>value_width$}  {meaning} [{name}]", row.value);
    }
    text
}
