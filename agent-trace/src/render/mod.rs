//! Exchanges -> spans: names, attributes, status.
//!
//! In: an exchange that is over and its [`Decision`]. Out: a [`Span`] by OpenTelemetry's semantic conventions for HTTP
//! spans. Always holds: each key once; `suture.parent.evidence` on every span; query values, credentials and headers
//! leave only as the configuration says. Refuses: attributes for what was not seen.

mod attributes;
mod message;
mod place;

use std::borrow::Cow;

use agent_common::abi::ProcessKey;
use rustc_hash::FxHashMap;

use self::attributes::Attributes;
use self::place::{network, server_and_client, server_of_socket, url};
use crate::config::TracerConfig;
use crate::counters::{Counter, Counters};
use crate::exchange::{Exchange, Outcome, Wire};
use crate::graph::{Decision, Side};
use crate::message::{Part, Request, Texts};
use crate::route::{Routes, template};
use crate::semconv as key;
use crate::span::{Span, SpanKind, Status};
use crate::ticks::Ticked;

/// Services with templates of their own.
const SERVICES_MAX: usize = 1_024;
/// Processes whose service is remembered.
const PROCESSES_MAX: usize = 65_536;

/// What of spans depends on more than one exchange: templates per service and the keys of kept headers.
pub(crate) struct Renderer {
    /// Name in lower case -> keys for a request's and a response's header.
    header_keys: Vec<(String, &'static str, &'static str)>,
    /// Slot 0 is for processes nothing is known about.
    routes: Vec<Routes>,
    services: FxHashMap<String, usize>,
    processes: FxHashMap<ProcessKey, usize>,
    attributes: Attributes,
}

impl Renderer {
    pub(crate) fn new(config: &TracerConfig) -> Self {
        // Keys of attributes live as long as the program; there are few of them, from the configuration.
        let leak = |prefix: &str, name: &str| -> &'static str {
            Box::leak(format!("{prefix}{name}").into_boxed_str())
        };
        let names = config
            .keep_headers
            .iter()
            .take(agent_protocol::stream::KEEP_HEADERS_MAX)
            .map(|name| name.to_ascii_lowercase());
        Self {
            header_keys: names
                .map(|name| {
                    let request = leak(key::HTTP_REQUEST_HEADER, &name);
                    let response = leak(key::HTTP_RESPONSE_HEADER, &name);
                    (name, request, response)
                })
                .collect(),
            routes: vec![Routes::default()],
            services: FxHashMap::default(),
            processes: FxHashMap::default(),
            attributes: Attributes::default(),
        }
    }

    /// The process belongs to this service.
    pub(crate) fn assign(&mut self, process: ProcessKey, service: &str) {
        let slot = match self.services.get(service) {
            Some(&slot) => slot,
            // Names beyond the limit share slot 0, and so its limit of templates.
            None if self.routes.len() > SERVICES_MAX => 0,
            None => {
                let slot = self.routes.len();
                self.routes.push(Routes::default());
                self.services.insert(service.to_owned(), slot);
                slot
            }
        };
        if self.processes.len() < PROCESSES_MAX {
            self.processes.insert(process, slot);
        }
    }

    /// The process is gone and its spans are out.
    pub(crate) fn forget(&mut self, process: ProcessKey) {
        self.processes.remove(&process);
    }

    /// The span is not needed any more: the next ones are written into its buffers.
    pub(crate) fn take_back(&mut self, span: Span) {
        self.attributes.take_back(span);
    }

    /// Makes the span. What the exchange held is used up.
    pub(crate) fn span(
        &mut self,
        exchange: &mut Exchange,
        decision: Decision,
        config: &TracerConfig,
        counters: &mut Counters,
    ) -> Span {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.fixed(key::SUTURE_PARENT_EVIDENCE, decision.evidence.as_str());
        let mut name = attributes.buffer();
        if let Outcome::Connect(_) = exchange.outcome {
            server_of_socket(&mut attributes, exchange.endpoints.as_deref());
            name.push_str(key::NAME_CONNECT);
        } else if let Some(ticked) = exchange.ticked.as_deref() {
            tick(&mut attributes, &mut name, exchange.process, ticked);
        } else if let Some(parcel) = exchange.message.as_deref() {
            message::message(&mut attributes, &mut name, exchange, parcel);
        } else {
            self.http(&mut attributes, &mut name, exchange, config, counters);
        }
        if exchange.ticked.is_none() {
            network(&mut attributes, exchange);
        }
        let status = status(&mut attributes, exchange);
        let list = attributes.finish();
        self.attributes = attributes;
        let offset = exchange.epoch_offset_ns;
        Span {
            trace_id: decision.trace,
            span_id: exchange.ids.span,
            parent_span_id: decision.parent,
            trace_state: match exchange.message.as_deref() {
                Some(parcel) => parcel.tracestate.clone(),
                None => exchange.texts.get(Part::TraceState).map(str::to_owned),
            },
            parent_is_remote: decision.parent.is_some() && decision.remote,
            evidence: decision.evidence,
            kind: match (exchange.side, &exchange.message) {
                _ if exchange.ticked.is_some() => SpanKind::Internal,
                (Side::Server, None) => SpanKind::Server,
                (Side::Client, None) => SpanKind::Client,
                (Side::Server, Some(_)) => SpanKind::Consumer,
                (Side::Client, Some(_)) => SpanKind::Producer,
            },
            name,
            start_unix_ns: exchange.start_ktime_ns.saturating_add(offset),
            end_unix_ns: exchange.end_ktime_ns.saturating_add(offset),
            status,
            attributes: list,
            links: Vec::new(),
            process: exchange.process,
        }
    }

    /// Attributes of an HTTP exchange, and the span's name.
    fn http(
        &mut self,
        attributes: &mut Attributes,
        name: &mut String,
        exchange: &mut Exchange,
        config: &TracerConfig,
        counters: &mut Counters,
    ) {
        let Some(request) = exchange.request.take() else {
            attributes.fixed(key::HTTP_REQUEST_METHOD, key::METHOD_OTHER);
            server_of_socket(attributes, exchange.endpoints.as_deref());
            self.response(attributes, exchange);
            name.push_str(key::NAME_OTHER);
            return;
        };
        attributes.fixed(key::HTTP_REQUEST_METHOD, request.method);
        name.push_str(if request.method == key::METHOD_OTHER {
            key::NAME_OTHER
        } else {
            request.method
        });
        let scheme = scheme(&request, exchange.wire);
        url(attributes, exchange, scheme, config.query);
        let process = exchange.process;
        if !request.is_tunnel
            && let Some(route) = self.route(process, &exchange.texts, config, counters)
        {
            name.push(' ');
            name.push_str(&route);
            attributes.text(key::URL_TEMPLATE, &route);
        }
        if let Some(original) = exchange.texts.get(Part::Method) {
            attributes.text(key::HTTP_REQUEST_METHOD_ORIGINAL, original);
        }
        server_and_client(attributes, exchange, scheme);
        match exchange.wire {
            Wire::Http1 => {
                attributes.fixed(key::NETWORK_PROTOCOL_VERSION, request.version.as_str());
            }
            Wire::Broker => {}
            Wire::FastCgi => {
                if let Some(script) = exchange.texts.get(Part::Script) {
                    attributes.text(key::SUTURE_FASTCGI_SCRIPT, script);
                }
            }
        }
        if let Some(agent) = exchange.texts.get(Part::UserAgent) {
            attributes.text(key::USER_AGENT_ORIGINAL, agent);
        }
        if let Some(bytes) = request.content_length.or(exchange.request_body) {
            attributes.size(key::HTTP_REQUEST_BODY_SIZE, bytes);
        }
        if !request.complete {
            attributes.yes(key::SUTURE_REQUEST_TRUNCATED);
        }
        self.headers(attributes, &request.extra, true);
        self.response(attributes, exchange);
    }

    fn response(&self, attributes: &mut Attributes, exchange: &Exchange) {
        let Some(response) = &exchange.response else {
            return;
        };
        attributes.int(key::HTTP_RESPONSE_STATUS_CODE, response.status);
        if let Some(bytes) = exchange.response_body {
            attributes.size(key::HTTP_RESPONSE_BODY_SIZE, bytes);
        }
        self.headers(attributes, &response.extra, false);
    }

    fn headers(&self, attributes: &mut Attributes, extra: &[(String, String)], of_request: bool) {
        if extra.is_empty() {
            return;
        }
        for (name, request, response) in &self.header_keys {
            let values: Vec<String> = extra
                .iter()
                .filter(|(other, _)| other == name)
                .map(|(_, value)| value.clone())
                .collect();
            if !values.is_empty() {
                attributes.list(if of_request { request } else { response }, values);
            }
        }
    }

    /// The template of the path, as long as the service has room for it.
    fn route<'a>(
        &mut self,
        process: ProcessKey,
        texts: &'a Texts,
        config: &TracerConfig,
        counters: &mut Counters,
    ) -> Option<Cow<'a, str>> {
        let slot = self.processes.get(&process).copied().unwrap_or(0);
        let routes = self.routes.get_mut(slot)?;
        let path = texts.get(Part::Path).unwrap_or_default();
        if routes.knows(path) {
            return Some(Cow::Borrowed(path));
        }
        let route = template(path);
        if routes.admit(&route, config.limits.routes_per_service) {
            return Some(route);
        }
        counters.one(Counter::RoutesFull);
        None
    }
}

/// A command that a scheduler began, as "Semantic conventions for CLI programs" say of an execution seen from inside.
fn tick(attributes: &mut Attributes, name: &mut String, process: ProcessKey, ticked: &Ticked) {
    let program = ticked.program();
    name.push_str(&ticked.scheduler);
    name.push(' ');
    name.push_str(&ticked.subject());
    attributes.text(key::SUTURE_TICK_SCHEDULER, &ticked.scheduler);
    attributes.text(key::PROCESS_EXECUTABLE_NAME, program);
    attributes.int(key::PROCESS_PID, process.tgid);
    if let Some(code) = ticked.exit_code() {
        attributes.int(key::PROCESS_EXIT_CODE, code);
    }
}

/// `https` only where a FastCGI peer says so; on a connection whose bytes can be read it is `http`.
fn scheme(request: &Request, wire: Wire) -> &'static str {
    if wire == Wire::FastCgi && request.is_https {
        "https"
    } else {
        "http"
    }
}

/// Status and `error.type` ("Semantic conventions for HTTP spans", section "Status").
fn status(attributes: &mut Attributes, exchange: &Exchange) -> Status {
    if let Some(response) = &exchange.response
        && (response.status >= 500 || (exchange.side == Side::Client && response.status >= 400))
    {
        attributes.written(key::ERROR_TYPE, response.status.to_string());
        return Status::Error(Cow::Borrowed(""));
    }
    if let Some(error) = exchange
        .message
        .as_deref()
        .and_then(|parcel| parcel.error.as_ref())
    {
        attributes.text(key::ERROR_TYPE, error);
        return Status::Error(Cow::Borrowed(key::describe_error(key::ERROR_BROKER)));
    }
    match exchange.outcome {
        Outcome::Failed(error) | Outcome::Connect(error) => {
            attributes.fixed(key::ERROR_TYPE, error);
            Status::Error(Cow::Borrowed(key::describe_error(error)))
        }
        Outcome::Unseen => {
            attributes.yes(key::SUTURE_RESPONSE_UNSEEN);
            Status::Unset
        }
        Outcome::Unfinished => {
            attributes.yes(key::SUTURE_UNFINISHED);
            Status::Unset
        }
        Outcome::Open | Outcome::Complete => Status::Unset,
    }
}
