//! Correlation keys: `Idempotency-Key`, and the headers and fields of JSON bodies that the user named.
//!
//! In: requests' heads and the beginning of bodies, and later their spans. Out: the first span that came with the same key, in another trace.
//! Always holds: a value is hashed when it is read, and only the hash is kept; only the span with which a key
//! enters a trace is linked, not those that it is passed on to; all tables are bounded. Refuses: values of less than
//! [`VALUE_MIN`] bytes or that were cut, what is plainly no key, and keys of more than [`TRACES_MAX`] traces (counted).

use std::collections::VecDeque;

use agent_protocol::stream::KEEP_VALUE_MAX;
use rustc_hash::FxHashMap;

use crate::counters::{Counter, Counters};
use crate::fields::strings;
use crate::keyed::{Keyed, is_hidden};
use crate::span::{SpanId, TraceId};

/// Always looked for (IETF draft "The Idempotency-Key HTTP Header Field").
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Shortest value that can tell requests apart, bytes.
const VALUE_MIN: usize = 8;
/// Fewest different bytes in it.
const LETTERS_MIN: usize = 4;
/// What programs send in place of a key that they do not have (JavaScript).
const NO_KEYS: [&[u8]; 2] = [b"undefined", b"[object Object]"];
/// What the name of a field begins with.
const FIELD: &str = "$.";
/// Most traces that share a key; a value of more is none.
const TRACES_MAX: usize = 16;
/// Keys of one request that are looked at.
const OF_ONE: usize = 4;
/// How long a key is remembered after it was seen last, ns.
const KEEP_NS: u64 = 1_800_000_000_000;
/// How long it is remembered which request had which keys, ns.
const CARRIED_KEEP_NS: u64 = 300_000_000_000;

/// Keys of one request; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    hashes: [u64; OF_ONE],
    /// That of `Idempotency-Key`.
    pub(crate) idempotency: u64,
}

impl Carried {
    /// One more key; those beyond the limit are left out.
    fn add(&mut self, hash: u64) {
        if let Some(place) = self.hashes.iter_mut().find(|place| **place == 0) {
            *place = hash;
        }
    }
}

/// Where a key was seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) span: SpanId,
    pub(crate) trace: TraceId,
}

struct Seen {
    first: First,
    began_ns: u64,
    latest_ns: u64,
    /// Other traces that had it. More than [`TRACES_MAX`]: it is no key.
    others: Vec<TraceId>,
}

/// See the module.
pub(crate) struct Keys {
    secret: u64,
    limit: usize,
    /// Headers, in lower case.
    names: Vec<String>,
    /// Fields of JSON bodies.
    fields: Vec<String>,
    kept: Vec<String>,
    carried: FxHashMap<SpanId, Carried>,
    carried_by_age: VecDeque<(u64, SpanId)>,
    seen: FxHashMap<u64, Seen>,
    seen_by_age: VecDeque<(u64, u64)>,
}

impl Keys {
    /// `named` are the user's keys, `kept` the headers that become attributes.
    pub(crate) fn new(secret: u64, limit: usize, named: &[String], kept: &[String]) -> Self {
        let lower = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| name.to_ascii_lowercase()).collect()
        };
        let mut names = vec![IDEMPOTENCY_KEY.to_owned()];
        let mut fields = Vec::new();
        for name in named {
            let lower = name.to_ascii_lowercase();
            if let Some(field) = name.strip_prefix(FIELD) {
                fields.push(field.to_owned());
            } else if !names.contains(&lower) {
                names.push(lower);
            }
        }
        Self {
            secret,
            limit,
            names,
            fields,
            kept: lower(kept),
            carried: FxHashMap::default(),
            carried_by_age: VecDeque::new(),
            seen: FxHashMap::default(),
            seen_by_age: VecDeque::new(),
        }
    }

    /// Names of the headers a parser must keep: keys first, because there is a limit.
    pub(crate) fn headers(&self) -> Vec<String> {
        let mut all = self.names.clone();
        for name in &self.kept {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
        all
    }

    /// The request of `span` had these headers (names in lower case). What only this module asked for is taken out.
    pub(crate) fn carry(&mut self, span: SpanId, extra: &mut Vec<(String, String)>, now_ns: u64) {
        if extra.is_empty() {
            return;
        }
        let mut carried = Carried::default();
        for (name, value) in extra.iter() {
            if let Some(index) = self.names.iter().position(|other| other == name)
                && is_key(value.as_bytes())
            {
                let hash = self.hash(b'h', index, value.as_bytes());
                carried.add(hash);
                if index == 0 {
                    carried.idempotency = hash;
                }
            }
        }
        let kept = &self.kept;
        extra.retain(|(name, _)| kept.contains(name));
        self.keep(span, carried, now_ns);
    }

    /// Whether bodies are looked at.
    pub(crate) fn has_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    /// The body of the request of `span` begins like this.
    pub(crate) fn carry_fields(&mut self, span: SpanId, body: &[u8], now_ns: u64) {
        let mut carried = self.of(span).unwrap_or_default();
        let before = carried;
        strings(body, |name, value| {
            let index = self
                .fields
                .iter()
                .position(|field| field.as_bytes() == name);
            if let Some(index) = index.filter(|_| is_key(value)) {
                carried.add(self.hash(b'f', index, value));
            }
        });
        if carried != before {
            self.keep(span, carried, now_ns);
        }
    }

    /// The name counts, too.
    fn hash(&self, what: u8, index: usize, value: &[u8]) -> u64 {
        let mut hash = Keyed::new(self.secret, what);
        hash.number(index as u64);
        hash.bytes(value);
        hash.finish()
    }

    fn keep(&mut self, span: SpanId, carried: Carried, now_ns: u64) {
        if carried == Carried::default() {
            return;
        }
        while self.carried_by_age.len() >= self.limit {
            self.put_down();
        }
        if self.carried.insert(span, carried).is_none() {
            self.carried_by_age.push_back((now_ns, span));
        }
    }

    /// The keys of a request.
    pub(crate) fn of(&self, span: SpanId) -> Option<Carried> {
        if self.carried.is_empty() {
            return None;
        }
        self.carried.get(&span).copied()
    }

    /// The span of a request with keys is handed out: where each of its keys was seen first, if that was in another
    /// trace. At most [`OF_ONE`].
    pub(crate) fn note(
        &mut self,
        span: First,
        parent: Option<SpanId>,
        began_ns: u64,
        now_ns: u64,
        counters: &mut Counters,
    ) -> Vec<First> {
        let mut found = Vec::new();
        let Some(carried) = self.of(span.span) else {
            return found;
        };
        let passed_on = parent
            .and_then(|parent| self.of(parent))
            .unwrap_or_default();
        for hash in carried.hashes.into_iter().filter(|&hash| hash != 0) {
            if passed_on.hashes.contains(&hash) {
                continue;
            }
            let first = self.meet(hash, span, began_ns, now_ns, counters);
            found.extend(first.filter(|first| !found.contains(first)));
        }
        found
    }

    fn meet(
        &mut self,
        hash: u64,
        span: First,
        began_ns: u64,
        now_ns: u64,
        counters: &mut Counters,
    ) -> Option<First> {
        let Some(seen) = self.seen.get_mut(&hash) else {
            while self.seen_by_age.len() >= self.limit {
                self.forget(0, counters);
            }
            let seen = Seen {
                first: span,
                began_ns,
                latest_ns: now_ns,
                others: Vec::new(),
            };
            self.seen.insert(hash, seen);
            self.seen_by_age.push_back((now_ns, hash));
            return None;
        };
        seen.latest_ns = now_ns;
        if seen.first.trace == span.trace {
            // Spans come in the order of their ends.
            if began_ns < seen.began_ns {
                (seen.first, seen.began_ns) = (span, began_ns);
            }
            return None;
        }
        if seen.others.len() < TRACES_MAX && !seen.others.contains(&span.trace) {
            seen.others.push(span.trace);
        }
        if seen.others.len() >= TRACES_MAX {
            counters.one(Counter::KeyShared);
            return None;
        }
        Some(seen.first)
    }

    /// Forgets what is too old. Meant to be called every few seconds.
    pub(crate) fn sweep(&mut self, now_ns: u64, counters: &mut Counters) {
        while self
            .carried_by_age
            .front()
            .is_some_and(|&(at, _)| at.saturating_add(CARRIED_KEEP_NS) < now_ns)
        {
            self.put_down();
        }
        while self
            .seen_by_age
            .front()
            .is_some_and(|&(at, _)| at.saturating_add(KEEP_NS) < now_ns)
        {
            self.forget(now_ns, counters);
        }
    }

    fn put_down(&mut self) {
        if let Some((_, span)) = self.carried_by_age.pop_front() {
            self.carried.remove(&span);
        }
    }

    /// Forgets the oldest key, unless it is still in use at `now_ns` (0: there is no room for it).
    fn forget(&mut self, now_ns: u64, counters: &mut Counters) {
        let Some((_, hash)) = self.seen_by_age.pop_front() else {
            return;
        };
        let latest_ns = self.seen.get(&hash).map_or(0, |seen| seen.latest_ns);
        if now_ns == 0 {
            counters.one(Counter::KeysFull);
        } else if latest_ns.saturating_add(KEEP_NS) >= now_ns {
            self.seen_by_age.push_back((latest_ns, hash));
            return;
        }
        self.seen.remove(&hash);
    }
}

/// Whether a value can be a key.
pub(crate) fn is_key(bytes: &[u8]) -> bool {
    if bytes.len() < VALUE_MIN || bytes.len() >= KEEP_VALUE_MAX || is_hidden(bytes) {
        return false;
    }
    let mut letters: Vec<u8> = bytes.to_vec();
    letters.sort_unstable();
    letters.dedup();
    letters.len() >= LETTERS_MIN && !NO_KEYS.contains(&bytes)
}

#[cfg(test)]
mod tests;
