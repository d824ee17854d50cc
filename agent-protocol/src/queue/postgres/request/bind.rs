//! The parameters of a statement that is bound.
//!
//! In: a `Bind` message, element by element. Out: a portal, which `Execute` runs. Always holds: only parameters that a statement names are
//! looked at, and of these only ids and names are kept. Refuses: statements that are nothing to a queue.

use std::sync::Arc;

use super::{At, ToServer, Used, text};
use crate::queue::lane::Step;
use crate::queue::postgres::shared::{Run, texts, value_text};
use crate::queue::postgres::statement::{Kind, Source};
use crate::queue::postgres::words::outcome_of;

/// Longest value that is looked at.
const VALUE_MAX: usize = 256;
/// Portals that are kept.
const PORTALS_MAX: usize = 16;

impl ToServer<'_> {
    pub(super) fn bind(&mut self, view: &[u8]) -> Used {
        let (portal, after) = text(view)?;
        let (name, after) = text(after)?;
        self.request.portals.remove(portal);
        let Some((name, prepared)) = self.shared.prepared.get_key_value(name) else {
            return self.rest();
        };
        self.request.portal = Arc::from(portal);
        self.request.run = Some(Box::new(Run {
            statement: Arc::clone(&prepared.statement),
            prepared: Some(Arc::clone(name)),
            columns: prepared.columns.clone(),
            values: texts(&prepared.statement),
            outcome: prepared.statement.outcome,
            ..Run::default()
        }));
        self.request.types = Arc::clone(&prepared.types);
        self.request.at = At::BindFormats;
        Ok(view.len() - after.len())
    }

    pub(super) fn bind_formats(&mut self, view: &[u8]) -> Used {
        let count = number(view)?;
        let (bits, len) = formats(&view[2..], count)?;
        self.request.formats = bits;
        self.request.at = At::BindValues;
        Ok(2 + len)
    }

    pub(super) fn bind_values(&mut self, view: &[u8]) -> Used {
        self.request.values_left = number(view)?;
        self.request.number = 0;
        self.request.at = At::Value;
        Ok(2)
    }

    pub(super) fn value(&mut self, view: &[u8]) -> Step {
        if self.request.values_left == 0 {
            self.request.at = At::BindResults;
            return Step::Took { used: 0, skip: 0 };
        }
        let Some(len) = view.first_chunk().map(|len| i32::from_be_bytes(*len)) else {
            return Step::More;
        };
        let len = len.max(0) as usize;
        let number = self.request.number + 1;
        let is_binary = self.request.formats >> (number - 1).min(63) & 1 == 1;
        let Some(run) = &mut self.request.run else {
            return Step::Broken("bind");
        };
        let statement = &run.statement;
        let sources = &statement.sources;
        let is_source = [0, 1].map(|index| sources[index] == Source::Param(number));
        let is_set = number <= 64 && statement.set_params >> (number - 1) & 1 == 1;
        let is_jobs = statement.kind == Kind::Defer && number == 1;
        let is_wanted = len <= VALUE_MAX && (is_source[0] || is_source[1] || is_set) || is_jobs;
        let wanted = if is_wanted { len.min(VALUE_MAX) } else { 0 };
        let Some(value) = view[4..].get(..wanted) else {
            return Step::More;
        };
        if is_wanted {
            let type_id = self.request.types.get(usize::from(number) - 1).copied();
            let text = value_text(value, is_binary, type_id.unwrap_or(0))
                .filter(|text| text.len() <= VALUE_MAX);
            for index in [0, 1].into_iter().filter(|&index| is_source[index]) {
                run.values[index] = text.clone().unwrap_or_default();
            }
            if is_jobs {
                // A list of rows may be cut within a character.
                run.values[0] = String::from_utf8_lossy(value).into_owned();
            }
            if is_set {
                run.outcome = run.outcome.max(outcome_of(value));
            }
        }
        self.request.values_left -= 1;
        self.request.number = number.min(u16::MAX - 1);
        Step::Took {
            used: 4 + wanted,
            skip: (len - wanted) as u64,
        }
    }

    pub(super) fn bind_results(&mut self, view: &[u8]) -> Used {
        let count = number(view)?;
        let (bits, _) = formats(&view[2..], count)?;
        if let Some(mut run) = self.request.run.take() {
            run.formats = bits;
            if self.request.portals.len() >= PORTALS_MAX {
                self.request.portals.clear();
            }
            let portal = Arc::clone(&self.request.portal);
            self.request.portals.insert(portal, run);
        }
        self.rest()
    }
}

fn number(view: &[u8]) -> Result<u16, Step> {
    view.first_chunk()
        .map(|bytes| u16::from_be_bytes(*bytes))
        .ok_or(Step::More)
}

/// Codes of formats as bits; one code is for all.
fn formats(view: &[u8], count: u16) -> Result<(u64, usize), Step> {
    let len = 2 * usize::from(count);
    let codes = view.get(..len).ok_or(Step::More)?;
    if codes == [0, 1] {
        return Ok((u64::MAX, len));
    }
    let mut bits = 0;
    for (index, code) in codes.chunks_exact(2).take(64).enumerate() {
        bits |= u64::from(code == [0, 1]) << index;
    }
    Ok((bits, len))
}
