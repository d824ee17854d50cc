//! Draws one trace: a line per span, 100 columns wide.
//!
//! In: the spans of one trace that have arrived. Out: text. Always holds: every span has its line, parents come before
//! children, siblings are in order of their start; a trace of more than [`LINES_MAX`] spans says how many lines it left
//! out. Refuses: to loop over parents that form a ring: what is left over is drawn without a parent.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use agent_trace::frame::ProcessFacts;
use agent_trace::semconv::{ERROR_TYPE, HTTP_REQUEST_RESEND_COUNT, HTTP_RESPONSE_STATUS_CODE};
use agent_trace::span::{Span, SpanId, SpanKind, Status, TraceId, Value};

use super::text::{cut, duration, hex, left, pad, right, timestamp};

/// Columns: tree with service and name.
const TREE: usize = 48;
/// HTTP status.
const STATUS: usize = 5;
/// Start offset, with its sign.
const OFFSET: usize = 9;
/// Duration.
const TIME: usize = 8;
/// Bar.
const BAR: usize = 19;
/// Deepest indentation that is drawn; deeper spans show their depth as a number.
const DEPTH_MAX: usize = 12;
/// Lines of one trace.
const LINES_MAX: usize = 1_000;

/// The part of a span that is drawn.
pub(super) struct Row {
    span_id: SpanId,
    parent: Option<SpanId>,
    facts: Arc<ProcessFacts>,
    name: String,
    kind: SpanKind,
    status: Option<i64>,
    /// `error.type` when the span is an error without a status code.
    error: Option<String>,
    failed: bool,
    /// Which repetition of the same call it is.
    resends: Option<i64>,
    /// The other trace it is linked to.
    linked: Option<TraceId>,
    /// Its parent is on another host, and does not come.
    is_remote: bool,
    evidence: &'static str,
    start_ns: u64,
    end_ns: u64,
}

impl Row {
    /// What of `span` is drawn.
    pub fn new(span: &Span, facts: &Arc<ProcessFacts>) -> Self {
        let attribute = |wanted: &str| {
            span.attributes
                .iter()
                .find(|(key, _)| *key == wanted)
                .map(|(_, value)| value)
        };
        let number = |wanted: &str| match attribute(wanted) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        };
        let status = number(HTTP_RESPONSE_STATUS_CODE);
        let error = match attribute(ERROR_TYPE) {
            Some(Value::Str(kind)) if status.is_none_or(|code| kind.parse() != Ok(code)) => {
                Some(kind.to_string())
            }
            _ => None,
        };
        Self {
            span_id: span.span_id,
            parent: span.parent_span_id,
            facts: Arc::clone(facts),
            name: span.name.clone(),
            kind: span.kind,
            status,
            error,
            failed: matches!(span.status, Status::Error(_)),
            resends: number(HTTP_REQUEST_RESEND_COUNT),
            linked: span
                .links
                .iter()
                .map(|link| link.trace_id)
                .find(|id| *id != span.trace_id),
            is_remote: span.parent_is_remote,
            evidence: span.evidence.as_str(),
            start_ns: span.start_unix_ns,
            end_ns: span.end_unix_ns.max(span.start_unix_ns),
        }
    }

    /// It has no parent at all.
    pub fn is_root(&self) -> bool {
        self.parent.is_none()
    }
}

/// Whether a span's parent, which is on this host, has not arrived.
pub(super) fn is_parent_open(rows: &[Row]) -> bool {
    let arrived: HashSet<SpanId> = rows.iter().map(|row| row.span_id).collect();
    rows.iter()
        .filter(|row| !row.is_remote)
        .filter_map(|row| row.parent)
        .any(|parent| !arrived.contains(&parent))
}

/// First and last moment of a trace, ns since the Unix epoch.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    start_ns: u64,
    end_ns: u64,
}

impl Extent {
    /// Of some rows; of nothing an empty moment.
    pub fn of(rows: &[Row]) -> Self {
        Self {
            start_ns: rows.iter().map(|row| row.start_ns).min().unwrap_or(0),
            end_ns: rows.iter().map(|row| row.end_ns).max().unwrap_or(0),
        }
    }
}

/// Draws `rows`. `earlier` is the extent of the part that was drawn before, for late spans.
pub(super) fn draw(
    out: &mut String,
    trace_id: TraceId,
    mut rows: Vec<Row>,
    earlier: Option<Extent>,
    color: bool,
) {
    rows.sort_by_key(|row| (row.start_ns, row.end_ns, row.span_id));
    let extent = earlier.unwrap_or_else(|| Extent::of(&rows));
    header(out, trace_id, &rows, extent, earlier.is_some(), color);
    let order = arrange(&rows, earlier.is_some());
    let mut lines = 0;
    for (index, line) in order.iter().take(LINES_MAX).enumerate() {
        lines = index + 1;
        match line {
            Line::Orphans => out.push_str("(parent not seen)\n"),
            Line::Row(place) => {
                if let Some(row) = rows.get(place.index) {
                    draw_row(out, row, *place, extent, color);
                }
            }
        }
    }
    let hidden = order
        .iter()
        .skip(lines)
        .filter(|line| matches!(line, Line::Row(_)))
        .count();
    if hidden > 0 {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "… and {hidden} more spans of this trace");
    }
    out.push('\n');
}

fn header(
    out: &mut String,
    trace_id: TraceId,
    rows: &[Row],
    extent: Extent,
    late: bool,
    color: bool,
) {
    if color {
        out.push_str("\x1b[1m");
    }
    out.push_str("trace ");
    hex(out, &trace_id.0);
    if color {
        out.push_str("\x1b[0m");
    }
    let spans = if rows.len() == 1 { "span" } else { "spans" };
    let _ = write!(
        out,
        "{}  {} {spans}",
        if late { "  … late" } else { "" },
        rows.len()
    );
    if !late {
        let _ = write!(out, "  {}  ", duration(extent.end_ns - extent.start_ns));
        timestamp(out, extent.start_ns);
    }
    out.push('\n');
}

/// Where a span stands in the tree.
#[derive(Clone, Copy)]
struct Place {
    /// Its row.
    index: usize,
    /// Lines above it in its branch; 0 for the top.
    depth: usize,
    /// Bit d: the span of its branch at depth d (itself too) has siblings further down.
    open: u32,
}

/// One line to draw.
enum Line {
    /// The heading above spans whose parent did not arrive.
    Orphans,
    /// A span.
    Row(Place),
}

/// Puts rows (sorted by start) in the order they are drawn.
fn arrange(rows: &[Row], late: bool) -> Vec<Line> {
    let mut at: HashMap<SpanId, usize> = HashMap::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        at.entry(row.span_id).or_insert(index);
    }
    let mut children: Vec<Vec<usize>> = rows.iter().map(|_| Vec::new()).collect();
    let (mut roots, mut orphans) = (Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        match row.parent.map(|parent| at.get(&parent)) {
            None => roots.push(index),
            Some(Some(parent)) if *parent != index => {
                if let Some(list) = children.get_mut(*parent) {
                    list.push(index);
                }
            }
            Some(_) => orphans.push(index),
        }
    }
    let mut lines = Vec::with_capacity(rows.len() + 1);
    let mut drawn = vec![false; rows.len()];
    walk(&roots, 0, &children, &mut drawn, &mut lines);
    // The parents of late spans were drawn before, which is no news.
    let headed = !orphans.is_empty() && !late;
    if headed {
        lines.push(Line::Orphans);
    }
    walk(
        &orphans,
        usize::from(headed),
        &children,
        &mut drawn,
        &mut lines,
    );
    // Rings of parents: nothing above reached them.
    for index in 0..rows.len() {
        if !drawn.get(index).copied().unwrap_or(true) {
            walk(&[index], 0, &children, &mut drawn, &mut lines);
        }
    }
    lines
}

/// Depth first, without recursion: a trace may be as deep as it has spans.
fn walk(
    tops: &[usize],
    depth: usize,
    children: &[Vec<usize>],
    drawn: &mut [bool],
    lines: &mut Vec<Line>,
) {
    let mut waiting: Vec<Place> = Vec::new();
    push_siblings(&mut waiting, tops, depth, 0);
    while let Some(place) = waiting.pop() {
        let Some(seen) = drawn.get_mut(place.index) else {
            continue;
        };
        if std::mem::replace(seen, true) {
            continue;
        }
        lines.push(Line::Row(place));
        if let Some(list) = children.get(place.index) {
            push_siblings(&mut waiting, list, place.depth + 1, place.open);
        }
    }
}

/// Pushes siblings so that the first is popped first.
fn push_siblings(waiting: &mut Vec<Place>, siblings: &[usize], depth: usize, open: u32) {
    let bit = if depth <= DEPTH_MAX { 1 << depth } else { 0 };
    for (number, index) in siblings.iter().rev().enumerate() {
        waiting.push(Place {
            index: *index,
            depth,
            open: if number == 0 { open & !bit } else { open | bit },
        });
    }
}

fn draw_row(out: &mut String, row: &Row, place: Place, extent: Extent, color: bool) {
    let red = color && row.failed;
    if red {
        out.push_str("\x1b[31m");
    }
    let mut label = String::new();
    branch(&mut label, place);
    // The service takes at most half of what is left, so that a long one does not hide the name.
    let room = TREE.saturating_sub(label.chars().count());
    cut(&mut label, &row.facts.service_name, room / 2);
    label.push_str(match row.kind {
        SpanKind::Client | SpanKind::Producer => "  → ",
        _ => "  ",
    });
    label.push_str(&row.name);
    if let Some(count) = row.resends {
        let _ = write!(label, " ↻{count}");
    }
    if let Some(TraceId([a, b, c, d, ..])) = row.linked {
        label.push_str(" ↪");
        hex(&mut label, &[a, b, c, d]);
    }
    if let Some(error) = &row.error {
        let _ = write!(label, " ({error})");
    }
    left(out, &label, TREE);
    out.push(' ');
    let status = match row.status {
        Some(code) => code.to_string(),
        None if row.failed => "error".to_owned(),
        None => "-".to_owned(),
    };
    right(out, &status, STATUS);
    out.push(' ');
    right(out, &offset(row.start_ns, extent.start_ns), OFFSET);
    out.push(' ');
    right(out, &duration(row.end_ns - row.start_ns), TIME);
    out.push(' ');
    bar(out, row, extent);
    out.push(' ');
    out.push_str(row.evidence);
    if red {
        out.push_str("\x1b[0m");
    }
    out.push('\n');
}

/// The lines that lead to a span.
fn branch(label: &mut String, place: Place) {
    let Place { depth, open, .. } = place;
    for level in 1..depth.min(DEPTH_MAX) {
        label.push_str(if open >> level & 1 == 1 { "│ " } else { "  " });
    }
    if depth > DEPTH_MAX {
        let _ = write!(label, "└ [{depth}] ");
    } else if depth > 0 {
        label.push_str(if open >> depth & 1 == 1 {
            "├ "
        } else {
            "└ "
        });
    }
}

/// `+12.3 ms` after the trace's start; late spans may begin before it.
fn offset(start_ns: u64, origin_ns: u64) -> String {
    if start_ns < origin_ns {
        format!("-{}", duration(origin_ns - start_ns))
    } else {
        format!("+{}", duration(start_ns - origin_ns))
    }
}

/// The span's place within the trace; at least one cell.
fn bar(out: &mut String, row: &Row, extent: Extent) {
    let total = (extent.end_ns - extent.start_ns).max(1);
    let cell = |ns: u64| {
        let inside = ns.clamp(extent.start_ns, extent.end_ns) - extent.start_ns;
        (u128::from(inside) * BAR as u128 / u128::from(total)) as usize
    };
    let from = cell(row.start_ns).min(BAR - 1);
    let to = cell(row.end_ns).clamp(from + 1, BAR);
    pad(out, from);
    out.extend(std::iter::repeat_n('█', to - from));
    pad(out, BAR - to);
}
