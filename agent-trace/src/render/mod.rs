//! Exchanges -> spans: names, attributes, status.
//!
//! In: an exchange that is over and its [`Decision`]. Out: a [`Span`] by OpenTelemetry's semantic conventions for HTTP
//! spans. Always holds: each key once; `suture.parent.evidence` on every span; query values, credentials and headers
//! leave only as the configuration says. Refuses: attributes for what was not seen.

mod place;

use std::borrow::Cow;

use agent_common::abi::ProcessKey;
use agent_protocol::http1::{Method, RequestHead, TargetForm};
use rustc_hash::FxHashMap;

use self::place::{network, server_and_client, server_of_socket, url};
use crate::config::TracerConfig;
use crate::counters::{Counter, Counters};
use crate::exchange::{Exchange, Outcome, Wire};
use crate::graph::{Decision, Side};
use crate::route::{Routes, template};
use crate::semconv as key;
use crate::span::{Span, SpanKind, Status, Value};

/// Services with templates of their own.
const SERVICES_MAX: usize = 1_024;
/// Processes whose service is remembered.
const PROCESSES_MAX: usize = 65_536;
/// Attributes of an ordinary span; one allocation holds them.
const ATTRIBUTES: usize = 26;

/// What of spans depends on more than one exchange: templates per service and the keys of kept headers.
pub(crate) struct Renderer {
    /// Name in lower case -> keys for a request's and a response's header.
    header_keys: Vec<(String, &'static str, &'static str)>,
    /// Slot 0 is for processes nothing is known about.
    routes: Vec<Routes>,
    services: FxHashMap<String, usize>,
    processes: FxHashMap<ProcessKey, usize>,
}

/// Attributes in the making.
struct Attributes(Vec<(&'static str, Value)>);

impl Attributes {
    fn text(&mut self, key: &'static str, text: impl Into<Cow<'static, str>>) {
        self.0.push((key, Value::Str(text.into())));
    }

    fn int(&mut self, key: &'static str, value: impl Into<i64>) {
        self.0.push((key, Value::Int(value.into())));
    }

    fn size(&mut self, key: &'static str, bytes: u64) {
        self.0
            .push((key, Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))));
    }

    fn yes(&mut self, key: &'static str) {
        self.0.push((key, Value::Bool(true)));
    }
}

impl Renderer {
    pub(crate) fn new(config: &TracerConfig) -> Self {
        // Keys of attributes live as long as the program; there are at most 16 of them, from the configuration.
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

    /// Makes the span.
    pub(crate) fn span(
        &mut self,
        exchange: Exchange,
        decision: Decision,
        config: &TracerConfig,
        counters: &mut Counters,
    ) -> Span {
        let mut attributes = Attributes(Vec::with_capacity(ATTRIBUTES));
        attributes.text(key::SUTURE_PARENT_EVIDENCE, decision.evidence.as_str());
        let mut exchange = exchange;
        let trace_state = exchange
            .request
            .as_mut()
            .and_then(|head| head.tracestate.take());
        let name = match exchange.outcome {
            Outcome::Connect(_) => {
                server_of_socket(&mut attributes, exchange.endpoints.as_ref());
                key::NAME_CONNECT.to_owned()
            }
            _ => self.http(&mut attributes, &mut exchange, config, counters),
        };
        network(&mut attributes, &exchange);
        let status = status(&mut attributes, &exchange);
        let offset = exchange.epoch_offset_ns;
        Span {
            trace_id: decision.trace,
            span_id: exchange.ids.span,
            parent_span_id: decision.parent,
            trace_state,
            parent_is_remote: decision.parent.is_some() && decision.remote,
            evidence: decision.evidence,
            kind: match exchange.side {
                Side::Server => SpanKind::Server,
                Side::Client => SpanKind::Client,
            },
            name,
            start_unix_ns: exchange.start_ktime_ns.saturating_add(offset),
            end_unix_ns: exchange.end_ktime_ns.saturating_add(offset),
            status,
            attributes: attributes.0,
            links: Vec::new(),
            process: exchange.process,
        }
    }

    /// Attributes of an HTTP exchange; gives the span's name.
    fn http(
        &mut self,
        attributes: &mut Attributes,
        exchange: &mut Exchange,
        config: &TracerConfig,
        counters: &mut Counters,
    ) -> String {
        let Some(mut head) = exchange.request.take() else {
            attributes.text(key::HTTP_REQUEST_METHOD, key::METHOD_OTHER);
            server_of_socket(attributes, exchange.endpoints.as_ref());
            self.response(attributes, exchange);
            return key::NAME_OTHER.to_owned();
        };
        let method = method_name(&head.method);
        attributes.text(key::HTTP_REQUEST_METHOD, method);
        let name = if method == key::METHOD_OTHER {
            key::NAME_OTHER
        } else {
            method
        };
        let scheme = scheme(&head, exchange.wire);
        url(attributes, &head, exchange, scheme, config.query);
        let name = match self.route(exchange.process, &head, config, counters) {
            Some(route) => {
                let name = format!("{name} {route}");
                attributes.text(key::URL_TEMPLATE, route);
                name
            }
            None => name.to_owned(),
        };
        if let Method::Other(original) = &mut head.method {
            attributes.text(key::HTTP_REQUEST_METHOD_ORIGINAL, std::mem::take(original));
        }
        server_and_client(attributes, &mut head, exchange, scheme);
        match exchange.wire {
            Wire::Http1 => attributes.text(key::NETWORK_PROTOCOL_VERSION, head.version.as_str()),
            Wire::FastCgi => {
                if let Some(script) = head.script.take() {
                    attributes.text(key::SUTURE_FASTCGI_SCRIPT, script);
                }
            }
        }
        if let Some(agent) = head.user_agent.take() {
            attributes.text(key::USER_AGENT_ORIGINAL, agent);
        }
        if let Some(bytes) = head.content_length.or(exchange.request_body) {
            attributes.size(key::HTTP_REQUEST_BODY_SIZE, bytes);
        }
        if !head.complete {
            attributes.yes(key::SUTURE_REQUEST_TRUNCATED);
        }
        let extra = std::mem::take(&mut head.extra);
        self.headers(attributes, extra, true);
        self.response(attributes, exchange);
        name
    }

    fn response(&self, attributes: &mut Attributes, exchange: &mut Exchange) {
        let Some(head) = &mut exchange.response else {
            return;
        };
        attributes.int(key::HTTP_RESPONSE_STATUS_CODE, head.status);
        if let Some(bytes) = exchange.response_body {
            attributes.size(key::HTTP_RESPONSE_BODY_SIZE, bytes);
        }
        let extra = std::mem::take(&mut head.extra);
        self.headers(attributes, extra, false);
    }

    fn headers(&self, attributes: &mut Attributes, extra: Vec<(String, String)>, of_request: bool) {
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
                attributes.0.push((
                    if of_request { request } else { response },
                    Value::List(values),
                ));
            }
        }
    }

    /// The template of the path, as long as the service has room for it.
    fn route(
        &mut self,
        process: ProcessKey,
        head: &RequestHead,
        config: &TracerConfig,
        counters: &mut Counters,
    ) -> Option<String> {
        if head.target.form() == TargetForm::Authority {
            return None;
        }
        let slot = self.processes.get(&process).copied().unwrap_or(0);
        let route = template(head.target.path());
        if self
            .routes
            .get_mut(slot)?
            .admit(&route, config.limits.routes_per_service)
        {
            return Some(route.into_owned());
        }
        counters.one(Counter::RoutesFull);
        None
    }
}

/// The value of `http.request.method`.
fn method_name(method: &Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Query => "QUERY",
        Method::Other(_) => key::METHOD_OTHER,
    }
}

/// `https` only where a FastCGI peer says so; on a connection whose bytes can be read it is `http`.
fn scheme(head: &RequestHead, wire: Wire) -> &'static str {
    match (wire, head.scheme.as_deref()) {
        (Wire::FastCgi, Some("https")) => "https",
        _ => "http",
    }
}

/// Status and `error.type` ("Semantic conventions for HTTP spans", section "Status").
fn status(attributes: &mut Attributes, exchange: &Exchange) -> Status {
    if let Some(head) = &exchange.response
        && (head.status >= 500 || (exchange.side == Side::Client && head.status >= 400))
    {
        attributes.text(key::ERROR_TYPE, head.status.to_string());
        return Status::Error(Cow::Borrowed(""));
    }
    match exchange.outcome {
        Outcome::Failed(error) | Outcome::Connect(error) => {
            attributes.text(key::ERROR_TYPE, error);
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
