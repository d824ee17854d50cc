//! Request ids that a program hands on by itself: a call that carries the id of a request which its process serves was made for that.
//!
//! In: heads of requests. Out: the server exchange whose id a call of the same process carries. Always holds: one request of the process
//! had that id, ever since it was remembered; values are hashed when they are read, and only the hash is kept; bounded. Refuses: ids of two
//! requests of a process (a client that tried again, a fixed word in place of an id); values that are plainly no ids.
//!
//! It is what remains where no execution unit is known: event loops under load, executors, pools of threads.

use agent_common::abi::ProcessKey;
use agent_common::limits::CONTEXT_AGE_MAX_NS;

use crate::aged::Aged;
use crate::keyed::Keyed;
use crate::keys::is_key;
use crate::span::SpanId;

/// Which request of a process had an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    One(SpanId),
    Several,
}

/// See the module.
pub(crate) struct RequestIds {
    secret: u64,
    /// Headers, in lower case.
    names: Vec<String>,
    /// Remembered as long as the kernel side keeps a context.
    seen: Aged<(ProcessKey, u64), Holder>,
}

impl RequestIds {
    /// `names` are headers; none: nothing is looked for.
    pub(crate) fn new(secret: u64, limit: usize, names: &[String]) -> Self {
        Self {
            secret,
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            seen: Aged::new(limit, CONTEXT_AGE_MAX_NS),
        }
    }

    /// Names of the headers a parser must keep.
    pub(crate) fn headers(&self) -> &[String] {
        &self.names
    }

    /// A process was asked to serve a request with these headers (names in lower case).
    pub(crate) fn serves(
        &mut self,
        process: ProcessKey,
        span: SpanId,
        headers: &[(String, String)],
        now_ns: u64,
    ) {
        for hash in self.hashes(headers) {
            let holder = match self.seen.get(&(process, hash)) {
                None => Holder::One(span),
                Some(Holder::One(known)) if *known == span => continue,
                Some(_) => Holder::Several,
            };
            self.seen.put((process, hash), holder, now_ns);
        }
    }

    /// The request of the process with one of the ids that its call carries; none where two ids name two.
    pub(crate) fn served(
        &self,
        process: ProcessKey,
        headers: &[(String, String)],
    ) -> Option<SpanId> {
        let mut found = None;
        for hash in self.hashes(headers) {
            match (self.seen.get(&(process, hash)), found) {
                (None, _) => {}
                (Some(Holder::One(span)), None) => found = Some(*span),
                (Some(Holder::One(span)), Some(other)) if *span == other => {}
                (Some(_), _) => return None,
            }
        }
        found
    }

    /// Forgets what is too old.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        self.seen.sweep(now_ns);
    }

    /// The header's name does not count: what came as `X-Correlation-Id` may be handed on as `X-Request-Id`.
    fn hashes(&self, headers: &[(String, String)]) -> Vec<u64> {
        headers
            .iter()
            .filter(|(name, value)| self.names.contains(name) && is_key(value.as_bytes()))
            .map(|(_, value)| {
                let mut hash = Keyed::new(self.secret, b'r');
                hash.bytes(value.as_bytes());
                hash.finish()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use agent_common::abi::ProcessKey;

    use super::RequestIds;
    use crate::span::SpanId;

    const ID: &str = "7d3f9b2e-01";
    const OTHER: &str = "c0ffee15-02";

    fn process(tgid: u32) -> ProcessKey {
        ProcessKey {
            tgid,
            ..ProcessKey::default()
        }
    }

    fn headers(values: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        values.iter().map(owned).collect()
    }

    /// What a call of process 1 with headers `calls` is for, after requests with these headers: (process, headers).
    fn check(served: &[(u32, &[(&str, &str)])], calls: &[(&str, &str)], expect: Option<u8>) {
        let names = ["X-Request-Id".to_owned(), "X-Correlation-Id".to_owned()];
        let mut ids = RequestIds::new(7, 100, &names);
        for (nth, (tgid, values)) in served.iter().enumerate() {
            let span = SpanId([nth as u8 + 1; 8]);
            ids.serves(process(*tgid), span, &headers(values), 1);
        }
        let found = ids.served(process(1), &headers(calls));
        assert_eq!(found.map(|span| span.0[0]), expect, "{served:?} {calls:?}");
    }

    #[test]
    fn a_call_is_for_the_one_request_of_its_process_with_its_id() {
        let (request, correlation) = ("x-request-id", "x-correlation-id");
        let one: &[(&str, &str)] = &[(request, ID)];
        let other: &[(&str, &str)] = &[(request, OTHER)];
        for (served, calls, expect) in [
            (&[(1, one)][..], one, Some(1)),
            (&[(1, other), (1, one)], one, Some(2)),
            (&[(1, one)], &[(correlation, ID)], Some(1)),
            (&[(1, one)], &[(request, ID), (correlation, ID)], Some(1)),
            // Of another process; of two requests; of none.
            (&[(2, one)], one, None),
            (&[(1, one), (1, one)], one, None),
            (&[(1, one)], other, None),
            // Two ids that name two requests.
            (
                &[(1, one), (1, other)],
                &[(request, ID), (correlation, OTHER)],
                None,
            ),
            // No ids.
            (&[(1, &[(request, "1")])], &[(request, "1")], None),
            (
                &[(1, &[(request, "xxxxxxxxxx")])],
                &[(request, "xxxxxxxxxx")],
                None,
            ),
            (&[(1, &[("x-other", ID)])], &[("x-other", ID)], None),
        ] {
            check(served, calls, expect);
        }
    }
}
