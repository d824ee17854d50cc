//! What the two directions of a connection know of each other, and keys of rows.
//!
//! In: statements that were asked for. Out: for each answer, what it answers. Always holds: answers come in the order of what was asked, so
//! one that is not sure to belong (after a hole, or more in flight than `Limits::in_flight`) is given to nothing, until the server says
//! that it is ready and something new is asked. Refuses: keys of numbers in a database whose name is not known.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::statement::{Kind, Source, Statement};
use super::words::Outcome;
use crate::queue::{Key, Keyer, Limits, System};

/// Rows of one answer that are told; the others are only counted.
pub(super) const ROWS_MAX: usize = 100;
/// Deliveries of one transaction that are known to come back when it is rolled back.
const TAKEN_MAX: usize = 64;

/// A column of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) index: u16,
    pub(super) name: String,
    /// The table's number, and the column's in it; 0 where it is computed.
    pub(super) table: u32,
    pub(super) number: i16,
    /// Its type (`pg_type.dat`).
    pub(super) type_id: u32,
}

/// Columns that are asked for in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// The row's id.
    pub(super) id: Option<Column>,
    /// procrastinate's and pgmq's.
    pub(super) task: Option<Column>,
    pub(super) queue: Option<Column>,
    pub(super) attempts: Option<Column>,
}

/// What is kept of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: Option<String>,
    pub(super) task: Option<String>,
    pub(super) queue: Option<String>,
    pub(super) attempts: Option<String>,
    pub(super) bytes: u64,
}

impl Row {
    fn held(&self) -> usize {
        let texts = [&self.id, &self.task, &self.queue, &self.attempts];
        let texts = texts.into_iter().flatten().map(String::capacity);
        size_of::<Self>() + texts.sum::<usize>()
    }
}

/// A statement that runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    pub(super) statement: Arc<Statement>,
    /// As which it was prepared; `None` in a query string.
    pub(super) prepared: Option<Arc<[u8]>>,
    pub(super) columns: Option<Arc<Columns>>,
    /// Formats of the columns: bit n of the n-th is binary; beyond the 64th as the last.
    pub(super) formats: u64,
    pub(super) values: [String; 2],
    pub(super) outcome: Option<Outcome>,
    /// 0: nothing was put.
    pub(super) operation: u32,
    pub(super) sent: u32,
    pub(super) rows: Vec<Row>,
}

/// What is to be answered.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// A statement; `None` for one that is nothing to a queue.
    Run(Option<Box<Run>>),
    /// A description of columns, of the statement that was prepared as this.
    Describe(Arc<[u8]>),
    /// The server is ready again.
    Ready,
}

/// A prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) statement: Arc<Statement>,
    pub(super) columns: Option<Arc<Columns>>,
    /// Of its parameters, as far as they were said; 0 for those that were not.
    pub(super) types: Arc<[u32]>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) keyer: Keyer,
    pub(super) limits: Limits,
    /// Empty when it is not known.
    pub(super) database: Vec<u8>,
    pub(super) prepared: HashMap<Arc<[u8]>, Prepared>,
    pub(super) ops: VecDeque<Op>,
    /// Answers are sure to belong to `ops`.
    pub(super) is_aligned: bool,
    /// The server was ready since it was not aligned.
    pub(super) was_ready: bool,
    /// Requests for encryption that are answered by one byte.
    pub(super) asked_encryption: u8,
    pub(super) is_encrypted: bool,
    pub(super) taken: Vec<Key>,
    operations: u32,
}

impl Shared {
    pub(super) fn new(limits: Limits, keyer: Keyer, is_aligned: bool) -> Self {
        Self {
            keyer,
            limits,
            database: Vec::new(),
            prepared: HashMap::new(),
            ops: VecDeque::new(),
            is_aligned,
            was_ready: false,
            asked_encryption: 0,
            is_encrypted: false,
            taken: Vec::new(),
            operations: 0,
        }
    }

    pub(super) fn operation(&mut self) -> u32 {
        self.operations = self.operations.checked_add(1).unwrap_or(1);
        self.operations
    }

    /// Answers can no longer be told apart.
    pub(super) fn lose(&mut self) {
        self.ops.clear();
        self.taken.clear();
        self.is_aligned = false;
        self.was_ready = false;
    }

    /// Something new is asked.
    pub(super) fn ask(&mut self) {
        if !self.is_aligned && self.was_ready {
            self.is_aligned = true;
            self.ops.clear();
        }
    }

    pub(super) fn push(&mut self, op: Op) {
        if !self.is_aligned {
            return;
        }
        if self.ops.len() >= self.limits.in_flight {
            self.lose();
            return;
        }
        self.ops.push_back(op);
    }

    pub(super) fn prepare(&mut self, name: &[u8], statement: Option<Statement>, types: Arc<[u32]>) {
        self.prepared.remove(name);
        if let Some(statement) = statement.filter(|statement| statement.kind != Kind::Other) {
            if self.prepared.len() >= self.limits.in_flight {
                self.prepared.clear();
            }
            let prepared = Prepared {
                statement: Arc::new(statement),
                columns: None,
                types,
            };
            self.prepared.insert(Arc::from(name), prepared);
        }
    }

    /// The columns of a prepared statement, also where it runs already.
    pub(super) fn describe(&mut self, name: &[u8], columns: &Arc<Columns>) {
        if let Some(prepared) = self.prepared.get_mut(name) {
            prepared.columns = Some(Arc::clone(columns));
        }
        for op in &mut self.ops {
            match op {
                Op::Run(Some(run)) if run.prepared.as_deref() == Some(name) => {
                    run.columns = Some(Arc::clone(columns));
                }
                Op::Describe(other) if &**other == name => break,
                _ => {}
            }
        }
    }

    pub(super) fn take(&mut self, key: Key) {
        if self.taken.len() < TAKEN_MAX {
            self.taken.push(key);
        }
    }

    /// Keys of a row. The table's and the column's numbers are the same for `INSERT … RETURNING` and a fetch, whatever the search path; the
    /// table that the statement names has to be the same too, as a fetch may join others. Names alone (with the database's) are what an
    /// `UPDATE` or `DELETE` says: they settle a row, and make none known as the one that was put.
    pub(super) fn places(&self, table: &str, columns: &Columns, id: &str, named: bool) -> Vec<Key> {
        let Some(column) = &columns.id else {
            return Vec::new();
        };
        let by_name = || self.named(table, &column.name, id);
        if is_uuid(id) {
            return by_name().into_iter().collect();
        }
        let numbered = (column.table != 0 && !self.database.is_empty()).then(|| {
            let (oid, number) = (column.table.to_be_bytes(), column.number.to_be_bytes());
            let table = table.rsplit('.').next().unwrap_or_default().as_bytes();
            let words: [&[u8]; 6] = [b"pg#", &self.database, &oid, table, &number, id.as_bytes()];
            self.keyer.place(&words)
        });
        let by_name = named.then(by_name).flatten();
        numbered.into_iter().chain(by_name).collect()
    }

    /// The key of a row by names alone. A uuid is one of its kind anywhere.
    pub(super) fn named(&self, table: &str, column: &str, id: &str) -> Option<Key> {
        if is_uuid(id) {
            return Some(
                self.keyer
                    .place(&[b"uuid", id.to_ascii_lowercase().as_bytes()]),
            );
        }
        (!self.database.is_empty() && !id.is_empty()).then(|| {
            let words: [&[u8]; 5] = [
                b"pg",
                &self.database,
                table.as_bytes(),
                column.as_bytes(),
                id.as_bytes(),
            ];
            self.keyer.place(&words)
        })
    }

    /// The key of a job of procrastinate.
    pub(super) fn job(&self, id: &str) -> Option<Key> {
        (!self.database.is_empty() && !id.is_empty()).then(|| {
            let name = [&self.database, &b"\0"[..], id.as_bytes()].concat();
            self.keyer.job(System::Procrastinate, &name)
        })
    }

    pub(super) fn held(&self) -> usize {
        let run = |run: &Run| {
            let values: usize = run.values.iter().map(String::capacity).sum();
            values + run.rows.iter().map(Row::held).sum::<usize>()
        };
        let ops: usize = self
            .ops
            .iter()
            .map(|op| match op {
                Op::Run(Some(inner)) => 1 + run(inner),
                _ => 1,
            })
            .sum();
        let prepared: usize = self.prepared.keys().map(|name| 1 + name.len()).sum();
        ops + prepared + self.database.len() + self.taken.len()
    }
}

/// The values of a statement's sources that stand in its text.
pub(super) fn texts(statement: &Statement) -> [String; 2] {
    [0, 1].map(|index| match &statement.sources[index] {
        Source::Text(text) => text.clone(),
        _ => String::new(),
    })
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Types whose binary form is a number (`pg_type.dat`: int8, int2, int4, oid), and that of uuids; 0 is not known.
const NUMBERS: [u32; 4] = [20, 21, 23, 26];
const UUID: u32 = 2950;

/// A value as text: integers and uuids have the same in both formats.
pub(super) fn value_text(value: &[u8], is_binary: bool, type_id: u32) -> Option<String> {
    if is_binary && (type_id == 0 || NUMBERS.contains(&type_id)) {
        match *value {
            [a, b] => return Some(i16::from_be_bytes([a, b]).to_string()),
            [a, b, c, d] => return Some(i32::from_be_bytes([a, b, c, d]).to_string()),
            [a, b, c, d, e, f, g, h] => {
                return Some(i64::from_be_bytes([a, b, c, d, e, f, g, h]).to_string());
            }
            _ => {}
        }
    }
    if is_binary
        && (type_id == 0 || type_id == UUID)
        && let Ok(uuid) = <[u8; 16]>::try_from(value)
    {
        let hex = format!("{:032x}", u128::from_be_bytes(uuid));
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
        return Some(parts.map(|part| hex[part].to_owned()).join("-"));
    }
    std::str::from_utf8(value).ok().map(str::to_owned)
}
