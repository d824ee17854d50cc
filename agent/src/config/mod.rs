//! Every setting of the agent, once: command line over environment over file over default.
//!
//! In: the parsed command line, the environment (as a function, so tests need no process state), a TOML file. Out: a
//! [`Config`] whose values are in range and fit together. Always holds: a layer only changes what it names. Refuses:
//! unknown keys, bad values, endpoints that cannot be reached by the chosen protocol; the message says where the
//! setting stands and what is allowed, and the program exits with [`ConfigError::EXIT_CODE`].

mod endpoint;
mod env;
mod error;
mod file;
mod networks;
mod otlp;
mod reader;
mod scope;
mod value;

use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;
use std::path::Path;

use agent_common::limits::{HEAD_CAPTURE_DEFAULT, MESSAGE_CAPTURE_DEFAULT};
use agent_trace::config::{QueryPolicy, Sampler, TracerConfig};
use agent_trace::frame::ResourceValue;

use crate::attach::carriers::{Carriers, Members, Network};
use crate::attach::table::Way;
use crate::cli::RunArgs;
pub use endpoint::Endpoint;
pub use error::{ConfigError, Source};
pub use otlp::{OtlpSettings, Queue, Signal, SignalSettings, Target, TlsFiles};
pub use scope::{Scope, exe_glob};
pub use value::{Compression, PrintFormat, Protocol};

/// Everything the agent can be told. Field names are the file's sections.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[capture]`: what is taken from the kernel.
    pub capture: Capture,
    /// `[scope]`: which processes and ports are traced.
    pub scope: Scope,
    /// `[export]`: where spans and metrics go.
    pub export: OtlpSettings,
    /// `[http]`: what of a request becomes an attribute.
    pub http: Http,
    /// `[correlation] keys`: request headers, in lower case, and fields of JSON bodies whose values link requests of different traces.
    pub correlation_keys: Vec<String>,
    /// `[correlation] request_ids`: request headers, in lower case, that programs hand on.
    pub request_ids: Vec<String>,
    /// `[propagation]`: how contexts are carried to other hosts.
    pub propagation: Propagation,
    /// `[print]`: what stdout shows.
    pub print: Print,
    /// `[sampler]`: which traces are kept.
    pub sampler: Sampler,
    /// `[resource] attributes`: added to every service's Resource (the service's own values win).
    pub resource: Vec<(String, ResourceValue)>,
    /// `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` of the agent: they describe the agent, so they are in the
    /// Resource of its own metrics only.
    pub agent_resource: Vec<(String, String)>,
    /// `--bpf-log`: the BPF programs' own log.
    pub bpf_log: bool,
}

/// `[capture]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Bytes of a message head that are captured per change of direction, 256 to 16,384.
    pub head_bytes: u32,
    /// How bytes are seen; none: the cheapest way that the kernel has.
    pub hooks: Option<Way>,
    /// Bytes captured of each write and read of a broker's client, 1,024 to 16,384.
    pub message_bytes: u32,
    /// Clients of brokers are followed.
    pub queues: bool,
    /// When calls of Node.js programs are given to requests by the turns of their event loop.
    pub node_turns: NodeTurns,
    /// Calls of programs on tokio are given to requests by their tasks.
    pub tokio_tasks: bool,
}

/// `capture.node_turns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeTurns {
    /// Never.
    Off,
    /// While a request is alone on its thread.
    #[default]
    Auto,
    /// Always.
    On,
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Paths whose requests make no spans: exact, or a prefix when they end with `*`.
    pub ignore_paths: Vec<String>,
    /// Headers of requests and responses that are kept as attributes, in lower case.
    pub keep_headers: Vec<String>,
    /// What happens to `url.query`.
    pub query: QueryPolicy,
}

/// `[propagation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// In TCP options, between hosts that both run Suture.
    pub option: bool,
    /// In headers of HTTP/1 requests, to anybody.
    pub header: Headers,
    /// Between two processes of this host, by the pair of their sockets; off only for tests of the other carriers.
    pub socket_pair: bool,
    /// Where contexts may be carried to.
    pub destinations: Vec<Network>,
}

/// Headers with ids that programs and proxies hand on by custom (nginx' `$request_id`, Envoy, Rails, Spring).
const REQUEST_IDS: [&str; 2] = ["x-request-id", "x-correlation-id"];

/// `propagation.header`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Headers {
    /// None is written.
    #[default]
    Off,
    /// Where it can be done.
    Auto,
    /// The same, and the agent does not start where it cannot.
    On,
    /// Into all requests of all connections, whatever breaks. For tests.
    Force,
}

/// `[print]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    /// The format asked for; `None` when nobody asked: see [`Config::print_format`].
    pub format: Option<PrintFormat>,
    /// Traces the tree view holds at once; beyond it the oldest is printed early.
    pub traces_held: usize,
    /// Spans the tree view holds at once; beyond it the oldest trace is printed early.
    pub spans_held: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capture: Capture {
                head_bytes: HEAD_CAPTURE_DEFAULT as u32,
                hooks: None,
                message_bytes: MESSAGE_CAPTURE_DEFAULT as u32,
                queues: true,
                // Always on, a lock that requests share gives wrong parents (turns.js, `locked`: 1 of 240), and so does an event (`waits`).
                node_turns: NodeTurns::Auto,
                tokio_tasks: true,
            },
            scope: Scope::default(),
            export: OtlpSettings::default(),
            http: Http {
                ignore_paths: Vec::new(),
                keep_headers: Vec::new(),
                query: QueryPolicy::Redact,
            },
            correlation_keys: Vec::new(),
            request_ids: REQUEST_IDS.map(str::to_owned).to_vec(),
            propagation: Propagation {
                // Both processors of a 6.1 guest hung once when it began; the cause is not known.
                option: false,
                header: Headers::Off,
                socket_pair: true,
                destinations: networks::default(),
            },
            print: Print {
                format: None,
                traces_held: 2_000,
                spans_held: 20_000,
            },
            sampler: Sampler::ParentBasedAlwaysOn,
            resource: Vec::new(),
            agent_resource: Vec::new(),
            bpf_log: false,
        }
    }
}

impl Config {
    /// Builds the settings of this process: file, then environment, then command line.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn load(args: &RunArgs) -> Result<Self, ConfigError> {
        Self::load_with(args, &|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(ConfigError::new(
                Source::Env(name.to_owned()),
                "the value is not UTF-8",
            )),
        })
    }

    /// The same with the environment as a function.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn load_with(
        args: &RunArgs,
        env: &dyn Fn(&str) -> Result<Option<String>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some(path) = &args.config {
            config.apply_file(path)?;
        }
        config.apply_env(env)?;
        config.apply_args(args)?;
        config.export.check()?;
        Ok(config)
    }

    /// Reads `path` over the settings so far.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it cannot be used.
    pub fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let source = Source::File {
                path: name.clone(),
                line: 0,
            };
            ConfigError::new(
                source,
                format!("cannot read the configuration file: {error}"),
            )
        })?;
        file::apply(self, &name, &text)
    }

    /// Applies the command line over the settings so far.
    fn apply_args(&mut self, args: &RunArgs) -> Result<(), ConfigError> {
        if let Some(url) = &args.otlp_endpoint {
            let endpoint = Endpoint::parse(url)
                .map_err(|message| ConfigError::new(Source::Option("--otlp-endpoint"), message))?;
            self.export.set_endpoint(Some(endpoint));
        }
        if !args.scope.pid.is_empty() {
            self.scope.pids.clone_from(&args.scope.pid);
        }
        if !args.scope.exe.is_empty() {
            self.scope.exes.clone_from(&args.scope.exe);
        }
        if !args.scope.port.is_empty() {
            self.scope.ports.clone_from(&args.scope.port);
        }
        if args.print.is_some() {
            self.print.format = args.print;
        }
        self.bpf_log |= args.bpf_log;
        Ok(())
    }

    /// What stdout shows: the format asked for; else a tree when no endpoint is configured, and nothing when one is.
    /// Whether stdout is a terminal only decides about colour.
    #[must_use]
    pub fn print_format(&self) -> PrintFormat {
        match self.print.format {
            Some(format) => format,
            None if self.export.traces().is_some() => PrintFormat::None,
            None => PrintFormat::Tree,
        }
    }

    /// The settings of the tracer.
    #[must_use]
    pub fn tracer(&self) -> TracerConfig {
        // What has left the host by a carrier has its trace already.
        let is_carried = self.propagation.option || self.propagation.header != Headers::Off;
        TracerConfig {
            sampler: self.sampler,
            ignore_paths: self.http.ignore_paths.clone(),
            query: self.http.query,
            keep_headers: self.http.keep_headers.clone(),
            correlation_keys: self.correlation_keys.clone(),
            request_ids: if is_carried {
                Vec::new()
            } else {
                self.request_ids.clone()
            },
            settles: !is_carried,
            queues: self.capture.queues,
            // Different in each process, and not needed again: only whether two hashes are equal means anything.
            secret: RandomState::new().hash_one(0_u8),
            ..TracerConfig::default()
        }
    }

    /// What the programs need to know to carry contexts. Whether headers are written is what [`crate::headers`] found.
    #[must_use]
    pub fn carriers(&self, header: Option<Members>) -> Carriers {
        Carriers {
            option: self.propagation.option,
            header,
            socket_pair: self.propagation.socket_pair,
            sampler: self.sampler,
            destinations: self.propagation.destinations.clone(),
        }
    }

    /// Colour on stdout: only on a terminal, and not when `NO_COLOR` is set to anything (no-color.org).
    #[must_use]
    pub fn color() -> bool {
        std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }
}

#[cfg(test)]
mod tests;
