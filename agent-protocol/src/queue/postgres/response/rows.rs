//! Descriptions of columns, and rows.
//!
//! In: `RowDescription` and `DataRow` messages, element by element. Out: columns and rows of the statement at the front. Always holds: a value
//! is kept only of columns that are asked for, and only if it is short. Refuses: nothing.

use std::sync::Arc;

use super::{FromServer, Used};
use crate::queue::lane::Step;
use crate::queue::postgres::shared::{Column, Op, ROWS_MAX, Row, value_text};
use crate::queue::{Event, NAME_MAX};

/// Longest value that is kept of a row.
const VALUE_MAX: usize = 128;

impl FromServer<'_> {
    pub(super) fn column(&mut self, view: &[u8]) -> Used {
        if self.response.left == 0 {
            self.described();
            return self.rest();
        }
        let len = view.iter().position(|&byte| byte == 0).ok_or(Step::More)?;
        let (name, after) = (&view[..len], &view[len + 1..]);
        let fields = after.get(..18).ok_or(Step::More)?;
        let [o0, o1, o2, o3, n0, n1, t0, t1, t2, t3, ..] = *fields else {
            return Err(Step::More);
        };
        let table = u32::from_be_bytes([o0, o1, o2, o3]);
        let number = i16::from_be_bytes([n0, n1]);
        let response = &mut *self.response;
        let is_only = response.left == 1 && response.index == 0;
        // A column that may be the same in several rows is no id.
        let rank = match name {
            b"id" => 4,
            b"uuid" | b"pk" => 3,
            b"msg_id" if table == 0 => 3,
            // The first column of a table is most often its key.
            _ if table != 0 && number == 1 && name.ends_with(b"id") => 2,
            // A function's only result.
            _ if table == 0 && is_only => 1,
            _ => 0,
        };
        let index = response.index;
        let column = || Column {
            index,
            name: String::from_utf8_lossy(&name[..name.len().min(NAME_MAX)]).into_owned(),
            table,
            number,
            type_id: u32::from_be_bytes([t0, t1, t2, t3]),
        };
        if rank > response.rank {
            response.rank = rank;
            response.columns.id = Some(column());
        }
        match name {
            b"task_name" => response.columns.task = Some(column()),
            b"queue_name" => response.columns.queue = Some(column()),
            b"attempts" | b"read_ct" => response.columns.attempts = Some(column()),
            _ => {}
        }
        response.index = index.saturating_add(1);
        response.left -= 1;
        if response.left == 0 {
            self.described();
        }
        Ok(len + 1 + 18)
    }

    pub(super) fn described(&mut self) {
        let columns = Arc::new(std::mem::take(&mut self.response.columns));
        match self.shared.ops.front_mut() {
            Some(Op::Describe(_)) => {
                if let Some(Op::Describe(name)) = self.shared.ops.pop_front() {
                    self.shared.describe(&name, &columns);
                }
            }
            Some(Op::Run(Some(run))) => run.columns = Some(columns),
            _ => {}
        }
    }

    pub(super) fn value(&mut self, view: &[u8]) -> Step {
        if self.response.left == 0 {
            // No columns at all.
            return Step::Rest;
        }
        let Some(len) = view.first_chunk().map(|len| i32::from_be_bytes(*len)) else {
            return Step::More;
        };
        let is_null = len < 0;
        let len = len.max(0) as usize;
        let response = &mut *self.response;
        let Some(Op::Run(Some(run))) = self.shared.ops.front_mut() else {
            return Step::Rest;
        };
        let index = response.index;
        let columns = run.columns.as_deref();
        // Which of a row's texts it is.
        let found = columns.and_then(|columns| {
            let all = [
                &columns.id,
                &columns.task,
                &columns.queue,
                &columns.attempts,
            ];
            let is_it =
                |column: &&Option<Column>| column.as_ref().is_some_and(|c| c.index == index);
            let nth = all.iter().position(is_it)?;
            all[nth].as_ref().map(|column| (nth, column.type_id))
        });
        let found = found.filter(|_| !is_null && len <= VALUE_MAX && run.rows.len() < ROWS_MAX);
        let read = if found.is_some() { len } else { 0 };
        let Some(value) = view[4..].get(..read) else {
            return Step::More;
        };
        if let Some((nth, type_id)) = found {
            let is_binary = run.formats >> index.min(63) & 1 == 1;
            let text = value_text(value, is_binary, type_id)
                .filter(|text| !text.contains(char::is_control));
            let row = &mut response.row;
            *[
                &mut row.id,
                &mut row.task,
                &mut row.queue,
                &mut row.attempts,
            ][nth] = text;
        }
        response.row.bytes += len as u64;
        response.index = index.saturating_add(1);
        response.left -= 1;
        if response.left == 0 {
            let row = std::mem::take(&mut response.row);
            if run.rows.len() < ROWS_MAX {
                run.rows.push(row);
            } else if run.rows.len() == ROWS_MAX {
                // The last one stands for the rest.
                run.rows.push(Row::default());
                (self.out)(Event::Unparsed("rows"));
            }
        }
        Step::Took {
            used: 4 + read,
            skip: (len - read) as u64,
        }
    }
}
