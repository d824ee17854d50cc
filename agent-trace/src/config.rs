//! What the user may choose about spans, with defaults.
//!
//! In: names and values as OpenTelemetry's environment variables and Suture's config file have them. Out: typed
//! values. Always holds: a [`TracerConfig`] is bounded in everything. Refuses: unknown sampler names and ratios outside 0 to 1.

use crate::span::TraceId;

/// `OTEL_TRACES_SAMPLER` (OpenTelemetry specification, "SDK environment variables", "General SDK configuration").
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// Every span.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// Traces by their id, this share of them.
    TraceIdRatio(f64),
    /// As the parent says; roots always. The default.
    ParentBasedAlwaysOn,
    /// As the parent says; roots never.
    ParentBasedAlwaysOff,
    /// As the parent says; roots by their trace id.
    ParentBasedTraceIdRatio(f64),
}

/// Why a sampler was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplerError {
    /// The name is not one of the specification's that can work here.
    #[error(
        "sampler {0:?} is not known, so no spans would be chosen; use one of always_on, always_off, traceidratio, \
         parentbased_always_on, parentbased_always_off, parentbased_traceidratio"
    )]
    Name(String),
    /// The ratio is not a number from 0 to 1.
    #[error("sampler argument {0:?} is not a ratio; use a number from 0 to 1, for example 0.25")]
    Ratio(String),
}

impl Sampler {
    /// From `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` (a missing argument of a ratio means 1.0).
    ///
    /// # Errors
    /// Unknown name, or a ratio outside 0 to 1.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, SamplerError> {
        let ratio = || match argument.map(str::trim) {
            None | Some("") => Ok(1.0),
            Some(text) => match text.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
                _ => Err(SamplerError::Ratio(text.to_owned())),
            },
        };
        Ok(match name.trim() {
            "always_on" => Self::AlwaysOn,
            "always_off" => Self::AlwaysOff,
            "traceidratio" => Self::TraceIdRatio(ratio()?),
            "parentbased_always_on" => Self::ParentBasedAlwaysOn,
            "parentbased_always_off" => Self::ParentBasedAlwaysOff,
            "parentbased_traceidratio" => Self::ParentBasedTraceIdRatio(ratio()?),
            other => return Err(SamplerError::Name(other.to_owned())),
        })
    }

    /// Whether a span is recorded. `parent_sampled` is the decision of its parent, `None` for a root.
    #[must_use]
    pub fn samples(self, trace_id: TraceId, parent_sampled: Option<bool>) -> bool {
        match self {
            Self::AlwaysOn => true,
            Self::AlwaysOff => false,
            Self::TraceIdRatio(ratio) => in_ratio(trace_id, ratio),
            Self::ParentBasedAlwaysOn => parent_sampled.unwrap_or(true),
            Self::ParentBasedAlwaysOff => parent_sampled.unwrap_or(false),
            Self::ParentBasedTraceIdRatio(ratio) => {
                parent_sampled.unwrap_or_else(|| in_ratio(trace_id, ratio))
            }
        }
    }
}

/// The rule of the SDKs: the trace id's lower 63 random bits against the ratio, so that every SDK chooses the same traces.
fn in_ratio(trace_id: TraceId, ratio: f64) -> bool {
    if ratio >= 1.0 {
        return true;
    }
    let bound = (ratio.max(0.0) * (1_u64 << 63) as f64) as u64;
    let [.., a, b, c, d, e, f, g, h] = trace_id.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < bound
}

/// What becomes of query strings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryPolicy {
    /// Keys stay, values become `REDACTED`.
    #[default]
    Redact,
    /// The query is left out.
    Omit,
    /// The query stays as it was.
    Keep,
}

/// Bounds of what the tracer holds at once. Counts unless a name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracerLimits {
    /// Longest head a parser reads, bytes.
    pub head_bytes: usize,
    /// Connections.
    pub connections: usize,
    /// Requests without a response on one connection.
    pub pipeline: usize,
    /// Response bytes that wait for their request's record, over all connections.
    pub parked_bytes: usize,
    /// Exchanges remembered as possible parents, open ones and closed ones together.
    pub exchanges: usize,
    /// Spans waiting for their parents' records.
    pub lingering: usize,
    /// Failed connection attempts waiting for another address to work.
    pub connects: usize,
    /// Failed attempts that a repetition may follow.
    pub attempts: usize,
    /// Correlation keys.
    pub keys: usize,
    /// Different URL templates of one service.
    pub routes_per_service: usize,
    /// Processes.
    pub processes: usize,
    /// Keys of messages on their way.
    pub posts: usize,
    /// Messages being worked on.
    pub work: usize,
}

impl Default for TracerLimits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * 1024,
            connections: 131_072,
            pipeline: 1_024,
            parked_bytes: 16 * 1024 * 1024,
            // 7/8 of a power of two: what a hash table of 65,536 slots holds (about 10 MiB).
            exchanges: 57_344,
            lingering: 131_072,
            connects: 8_192,
            attempts: 16_384,
            keys: 65_536,
            routes_per_service: 256,
            processes: 65_536,
            // About 100 bytes each.
            posts: 131_072,
            work: 16_384,
        }
    }
}

/// Everything that can be chosen about the tracer.
#[derive(Clone, Debug, PartialEq)]
pub struct TracerConfig {
    /// Which spans are handed out.
    pub sampler: Sampler,
    /// Paths whose spans are not handed out: exact, or a prefix when it ends with `*`. Never matched against queries.
    pub ignore_paths: Vec<String>,
    /// Query strings.
    pub query: QueryPolicy,
    /// Names of headers that become `http.request.header.<name>` and `http.response.header.<name>`.
    pub keep_headers: Vec<String>,
    /// Names of request headers whose values, beside that of `Idempotency-Key`, link requests of different traces; `$.name`
    /// is a field at the top of a JSON body.
    pub correlation_keys: Vec<String>,
    /// Names of request headers with ids that programs hand on: a call is a child of the request of its process that had the same.
    pub request_ids: Vec<String>,
    /// Whether who says what became of a message has worked on it: known when its calls are over.
    pub settles: bool,
    /// Whether calls of queues over HTTP are read. (Which brokers are, the kernel side decides.)
    pub queues: bool,
    /// Goes into all hashes of what was said. A program's own, so that nobody can make equal ones.
    pub secret: u64,
    /// How long a complete exchange waits for its parent's records, ns.
    pub linger_ns: u64,
    /// How long after its last byte a response whose end cannot be seen is taken to be over, ns.
    pub idle_ns: u64,
    /// How long a failed connection attempt waits for another address to work, ns.
    pub connect_hold_ns: u64,
    /// Bounds.
    pub limits: TracerLimits,
}

impl Default for TracerConfig {
    fn default() -> Self {
        Self {
            sampler: Sampler::ParentBasedAlwaysOn,
            ignore_paths: Vec::new(),
            query: QueryPolicy::default(),
            keep_headers: Vec::new(),
            correlation_keys: Vec::new(),
            request_ids: Vec::new(),
            settles: true,
            queues: true,
            secret: 0,
            linger_ns: 200_000_000,
            idle_ns: 1_000_000_000,
            connect_hold_ns: 300_000_000,
            limits: TracerLimits::default(),
        }
    }
}

impl TracerConfig {
    /// The secret of messages' keys.
    #[must_use]
    pub(crate) fn message_secret(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (low, high) = bytes.split_at_mut(8);
        low.copy_from_slice(&self.secret.to_ne_bytes());
        high.copy_from_slice(&(!self.secret).to_ne_bytes());
        bytes
    }

    /// Whether spans with this path are left out.
    #[must_use]
    pub fn ignores(&self, path: &str) -> bool {
        self.ignore_paths
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => path == pattern,
            })
    }
}
