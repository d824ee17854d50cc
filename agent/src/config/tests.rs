//! Layers and messages of the configuration, as a list of inputs and what is expected.
#![allow(clippy::unwrap_used, reason = "a failed load is a failed test")]

use std::time::Duration;

use agent_trace::config::{QueryPolicy, Sampler};

use super::{Compression, Config, ConfigError, NodeTurns, PrintFormat, Protocol, file};
use crate::cli::RunArgs;

fn file(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    file::apply(&mut config, "suture.toml", text).map_err(|error| error.to_string())?;
    Ok(config)
}

fn check_message(text: &str, expect: &str) {
    assert_eq!(file(text).unwrap_err(), expect, "{text}");
}

fn load(args: &RunArgs, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_with(args, &|name| {
        Ok(variables
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned()))
    })
}

#[test]
fn turns_of_node_count_while_a_request_is_alone_unless_asked_otherwise() {
    let turns = |text| file(text).unwrap().capture.node_turns;
    assert_eq!(turns(""), NodeTurns::Auto);
    assert_eq!(turns("[capture]\nnode_turns = 'auto'"), NodeTurns::Auto);
    assert_eq!(turns("[capture]\nnode_turns = 'on'"), NodeTurns::On);
    assert_eq!(turns("[capture]\nnode_turns = 'off'"), NodeTurns::Off);
}

#[test]
fn messages_name_file_line_key_and_what_is_allowed() {
    check_message(
        "\n\n[scope]\npids = [1]\n\nexes = ['a']\nportz = [80]\n",
        "suture.toml:7: unknown key `portz` in [scope]; allowed: pids, exes, ports",
    );
    check_message(
        "[capture]\nhead_bytes = 255",
        "suture.toml:2: `head_bytes` in [capture]: 255 is out of range; allowed: a whole number from 256 to 16384",
    );
    check_message(
        "[capture]\nhead_bytes = '4k'",
        "suture.toml:2: `head_bytes` in [capture]: found a TOML string; allowed: a whole number from 256 to 16384",
    );
    check_message(
        "[scope]\nports = [\n 80,\n 70000\n]",
        "suture.toml:4: `ports` in [scope]: 70000 is out of range; allowed: a list of whole numbers from 1 to 65535",
    );
    check_message(
        "[export]\nprotocol = 'http'",
        "suture.toml:2: `protocol` in [export]: unknown protocol `http`; allowed: grpc, http/protobuf",
    );
    check_message(
        "[capture]\nnode_turns = 'always'",
        "suture.toml:2: `node_turns` in [capture]: unknown word `always`; allowed: off, auto, on",
    );
    check_message(
        "[corelation]\nkeys = ['x-request-id']",
        "suture.toml:1: unknown section [corelation]; allowed: capture, scope, export, http, correlation, propagation, print, sampler, resource, limits",
    );
    check_message(
        "endpoint = 'http://h'",
        "suture.toml:1: unknown key `endpoint` outside of any section; sections: capture, scope, export, http, correlation, propagation, print, sampler, resource, limits",
    );
    check_message(
        "[correlation]\nkey = 'x-request-id'",
        "suture.toml:2: unknown key `key` in [correlation]; allowed: keys, request_ids",
    );
    check_message(
        "[correlation]\nkeys = ['order id']",
        "suture.toml:2: `keys` in [correlation]: `order id` is not a header name",
    );
    check_message(
        "[correlation]\nkeys = 'x-request-id'",
        "suture.toml:2: `keys` in [correlation]: found a TOML string; allowed: a list of strings",
    );
    check_message(
        "[correlation]\nkeys = [\n 'x-request-id',\n '$.order.id' ]",
        "suture.toml:4: `keys` in [correlation]: `$.order.id` is not a field at the top of a JSON body; allowed: $. and letters, digits, - and _",
    );
    check_message(
        "[correlation]\nkeys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']",
        "suture.toml:1: `keys` in [correlation]: too many keys; allowed: at most 8",
    );
    check_message(
        "[http]\nquery = 'hide'",
        "suture.toml:2: `query` in [http]: unknown policy `hide`; allowed: redact, keep, drop",
    );
    check_message(
        "[http]\nignore_paths = ['/ok', 'health']",
        "suture.toml:2: `ignore_paths` in [http]: `health` is not a path; allowed: /exact or /prefix*",
    );
    check_message(
        "[export.headers]\n'a b' = 'x'",
        "suture.toml:2: `a b` in [export.headers]: `a b` is not a header name",
    );
    check_message(
        "scope = 1",
        "suture.toml:1: `scope`: found a TOML integer; allowed: a section",
    );
    assert!(
        file("[scope\npids = 1")
            .unwrap_err()
            .starts_with("suture.toml:1: not valid TOML: ")
    );
}

#[test]
fn a_full_file_is_read() {
    let config = file(
        "[capture]\nhead_bytes = 8_192\n[scope]\npids = [1, 2]\nexes = ['nginx', '/opt/*']\nports = [80]\n\
         [export]\nendpoint = 'https://h:4317'\nprotocol = 'grpc'\ntimeout_ms = 500\ncompression = 'gzip'\nbatch_spans = 10\n\
         headers = { authorization = 'x' }\n[http]\nignore_paths = ['/health', '/z*']\nkeep_headers = ['X-Id']\n\
         query = 'drop'\n[correlation]\nkeys = ['X-Request-Id', '$.Order_id']\n[print]\nformat = 'json'\n[sampler]\nname = 'traceidratio'\narg = 0.5\n\
         [resource.attributes]\n'deployment.environment.name' = 'prod'\n[limits]\nqueue_spans = 100\n",
    )
    .unwrap();
    assert_eq!(config.capture.head_bytes, 8192);
    assert_eq!(config.scope.exes.len(), 2);
    assert_eq!(config.http.keep_headers, ["x-id"]);
    assert_eq!(config.correlation_keys, ["x-request-id", "$.Order_id"]);
    assert_eq!(config.http.query, QueryPolicy::Omit);
    assert_eq!(config.sampler, Sampler::TraceIdRatio(0.5));
    assert_eq!(config.export.queue.max_spans, 100);
    assert_eq!(config.resource.len(), 1);
    let target = config.export.traces().unwrap();
    assert_eq!(target.protocol, Protocol::Grpc);
    assert_eq!(target.timeout, Duration::from_millis(500));
    assert_eq!(target.compression, Compression::Gzip);
    assert_eq!(target.headers.len(), 1);
}

#[test]
fn command_line_beats_environment_beats_file_beats_default() {
    let dir = std::env::temp_dir().join(format!("suture-config-{}", std::process::id()));
    std::fs::write(
        &dir,
        "[export]\nendpoint = 'http://file:4318'\ntimeout_ms = 7\n",
    )
    .unwrap();
    let mut args = RunArgs {
        config: Some(dir.clone()),
        ..RunArgs::default()
    };
    let uri = |config: &Config| config.export.traces().unwrap().uri.to_string();
    let config = load(&args, &[]).unwrap();
    assert_eq!(uri(&config), "http://file:4318/v1/traces");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:4318/x"),
    ];
    let config = load(&args, &variables).unwrap();
    assert_eq!(uri(&config), "http://own:4318/x");
    assert_eq!(
        config.export.metrics().unwrap().uri.to_string(),
        "http://env:4318/v1/metrics"
    );
    args.otlp_endpoint = Some("http://option:4317".to_owned());
    let config = load(&args, &variables).unwrap();
    assert_eq!(uri(&config), "http://option:4317/");
    assert_eq!(config.export.traces().unwrap().protocol, Protocol::Grpc);
    assert_eq!(
        config.export.traces().unwrap().timeout,
        Duration::from_millis(7)
    );
    std::fs::remove_file(dir).unwrap();
}

#[test]
fn bad_variables_are_named() {
    let check = |name: &str, value: &str, expect: &str| {
        let error = load(&RunArgs::default(), &[(name, value)])
            .unwrap_err()
            .to_string();
        assert_eq!(error, format!("{name}: {expect}"));
    };
    check(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "http",
        "unknown protocol `http`; allowed: grpc, http/protobuf",
    );
    check(
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "zstd",
        "unknown compression `zstd`; allowed: gzip, none",
    );
    check(
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "10s",
        "`10s` is not allowed; allowed: a whole number from 1 to 86400000",
    );
    check(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "a",
        "member 1 is not `key=value` (several are separated by commas, special characters percent-encoded)",
    );
    check(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "a b=c",
        "`a b` is not a header name",
    );
    check(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "0",
        "`0` is not allowed; allowed: a whole number from 1 to 10000000",
    );
    check(
        "OTEL_SDK_DISABLED",
        "1",
        "`1` is not a boolean; allowed: true, false",
    );
    check(
        "OTEL_TRACES_SAMPLER",
        "xray",
        "sampler \"xray\" is not known, so no spans would be chosen; use one of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio",
    );
    check(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "h",
        "`h` is neither a URL nor HOST:PORT; allowed: http://HOST:PORT or https://HOST:PORT, for example http://127.0.0.1:4317",
    );
}

#[test]
fn print_defaults_to_a_tree_only_without_an_endpoint() {
    let check = |variables: &[(&str, &str)], expect| {
        assert_eq!(
            load(&RunArgs::default(), variables).unwrap().print_format(),
            expect
        );
    };
    check(&[], PrintFormat::Tree);
    check(
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4317")],
        PrintFormat::None,
    );
    check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], PrintFormat::Tree);
    check(
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4317"),
            ("OTEL_SDK_DISABLED", "true"),
        ],
        PrintFormat::Tree,
    );
}

#[test]
fn the_agents_own_resource_takes_the_resource_variables() {
    let config = load(
        &RunArgs::default(),
        &[
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=b%20c"),
            ("OTEL_SERVICE_NAME", "n"),
        ],
    )
    .unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        config.agent_resource,
        [pair("team", "b c"), pair("service.name", "n")]
    );
    assert!(config.resource.is_empty());
}

proptest::proptest! {
    #[test]
    fn any_file_is_read_or_refused_with_its_line(
        lines in proptest::collection::vec("\\[?(capture|scope|export|http|print|sampler|resource|limits|x)\\]?|(head_bytes|pids|exes|endpoint|query|arg|name|attributes) = ([0-9]{1,20}|'[a-z:/]*'|\\[[0-9', ]*\\]|\\{ ?\\}|true|1\\.5|nan)|.*", 0..8),
    ) {
        let text = lines.join("\n");
        if let Err(message) = file(&text) {
            let line = message.strip_prefix("suture.toml:").and_then(|rest| rest.split(':').next()).and_then(|line| line.parse::<usize>().ok());
            proptest::prop_assert!(line.is_some_and(|line| line >= 1 && line <= text.lines().count() + 1), "{}", message);
        }
    }
}
