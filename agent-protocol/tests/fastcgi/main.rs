//! FastCGI: records in, the events of HTTP out. Each input is given whole, in two pieces at every place, byte by byte.
//!
//! In: records built by the tests, and a recording of real programs. Out: what the parsers make of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod records;
mod requests;
mod responses;

use agent_protocol::fastcgi::Begin;
use agent_protocol::http1::RequestEvent;
use agent_protocol::stream::Input;
use agent_protocol::tracecontext::Traceparent;

use records::{request_events, request_lines, response_events, response_lines};

/// Recorded between nginx 1.22 and php-fpm 8.2 (fastcgi_keep_conn on): GET, GET that makes a 404, POST, HEAD. Debian's
/// fastcgi_params pass `$host` as HTTP_HOST: without the port.
#[test]
fn nginx_and_php_fpm_are_understood() {
    let asked = include_bytes!("../../../fuzz/corpus/fastcgi/nginx_1.22_asks");
    let answered = include_bytes!("../../../fuzz/corpus/fastcgi/php_fpm_8.2_answers");
    let requests = request_events(&[Input::Bytes(asked)], Begin::Boundary, None);
    let expect = [
        "begin",
        "GET /a.php?n=5",
        "NoBody 0",
        "begin",
        "GET /a.php?s=404",
        "NoBody 0",
        "begin",
        "POST /a.php?n=20000",
        "Record 3000",
        "begin",
        "HEAD /a.php?n=3",
        "NoBody 0",
    ];
    assert_eq!(request_lines(&requests), expect);
    let Some(RequestEvent::Head(first)) = requests.get(1) else {
        panic!("{requests:?}")
    };
    assert!(matches!(first.traceparent, Traceparent::Valid(_)));
    assert_eq!(
        (first.script.as_deref(), first.scheme.as_deref()),
        (Some("/a.php"), Some("http"))
    );
    assert_eq!(
        (first.host.as_deref(), first.user_agent.as_deref()),
        (Some("127.0.0.1"), Some("ua"))
    );
    assert_eq!(first.remote_addr.as_deref(), Some("127.0.0.1"));
    assert_eq!(first.extra, [("x-keep".to_owned(), "asked".to_owned())]);
    let responses = response_events(&[Input::Bytes(answered)]);
    let expect = [
        "begin",
        "200",
        "Record 6",
        "begin",
        "404",
        "Record 11",
        "begin",
        "200",
        "Record 20004",
        "begin",
        "200",
        "Record 0",
    ];
    assert_eq!(response_lines(&responses), expect);
}
