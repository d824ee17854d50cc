//! Conversations with a planted secret, and what is compared of the spans they give.
//!
//! In: which requests and responses, where they are cut, what is lost. Out: the records of both ends. Always holds:
//! every place a secret can be in holds [`SECRET`]. Refuses: nothing.

use agent::pipeline::mask::Masker;
use agent_common::abi::{SegmentRecord, direction, evidence, protocol};
use agent_trace::span::{Span, Value};
use agent_trace::tracer::TracerConfig;
use proptest::prelude::{Strategy, prop};

use crate::support::{End, Outcome, Step, World, ids, pair, run};

/// Bytes of a segment's fixed part.
pub const FIXED: usize = size_of::<SegmentRecord>();
/// Planted; no four bytes of it may survive.
pub const SECRET: &str = "Zq7wKv9Pj4Lm2Tb8";

pub fn mask(steps: &[Step]) -> Vec<Step> {
    let mut masker = Masker::default();
    steps
        .iter()
        .map(|step| match step {
            Step::Record(bytes) => {
                let mut bytes = bytes.clone();
                masker.mask(&mut bytes);
                Step::Record(bytes)
            }
            Step::Process(facts) => Step::Process(facts.clone()),
            Step::Tick(at) => Step::Tick(*at),
        })
        .collect()
}

/// All payloads of one direction of one socket, joined.
pub fn payloads(steps: &[Step], end: &End, way: u8) -> String {
    let mut all = Vec::new();
    for step in steps {
        if let Step::Record(bytes) = step
            && bytes[0] == 2
            && bytes[32..40] == end.socket.sk.to_ne_bytes()
            && bytes[70] == way
        {
            all.extend_from_slice(&bytes[FIXED..]);
        }
    }
    all.escape_ascii().to_string()
}

/// The pieces of `bytes` between these places.
pub fn cut<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places
        .iter()
        .map(|place| place % (bytes.len() + 1))
        .collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.dedup();
    places
        .windows(2)
        .map(|two| &bytes[two[0]..two[1]])
        .collect()
}

/// What a server's socket shows of a request and its response, cut at these places.
pub fn conversation(wire: u8, request: &[u8], response: &[u8], places: &[usize]) -> (World, End) {
    let mut world = World::default();
    let (_, mut server) = pair(1, 10, 20);
    server.protocol = wire;
    world.conn(&server);
    for (n, piece) in cut(request, places).into_iter().enumerate() {
        world.read(&mut server, piece, (n == 0).then(|| ids(1, 2, None)));
    }
    for piece in cut(response, places) {
        world.write(&mut server, piece, None);
    }
    (world, server)
}

pub fn fastcgi(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u16).to_be_bytes();
    [&[1, kind, 0, 1, len[0], len[1], 1, 0], content, b"P"].concat()
}

pub fn param(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![name.len() as u8];
    if value.len() < 128 {
        out.push(value.len() as u8);
    } else {
        out.extend((value.len() as u32 | 1 << 31).to_be_bytes());
    }
    [&out, name.as_bytes(), value.as_bytes()].concat()
}

pub fn fastcgi_request(secret: &str, query: &str) -> Vec<u8> {
    let params = [
        param("REQUEST_METHOD", "POST"),
        param("REQUEST_URI", &format!("/users/7?{query}")),
        param("QUERY_STRING", query),
        param("HTTP_COOKIE", &format!("sid={secret}")),
        param("HTTP_X_LONG", &secret.repeat(20)),
        param("HTTP_HOST", "shop"),
        param(
            "HTTP_TRACEPARENT",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ]
    .concat();
    let (a, b) = params.split_at(70);
    [
        fastcgi(1, &[0, 1, 0, 0, 0, 0, 0, 0]),
        fastcgi(4, a),
        fastcgi(4, b),
        fastcgi(4, b""),
        fastcgi(5, secret.as_bytes()),
        vec![1, 5, 0, 1, 0, 0, 0, 0],
    ]
    .concat()
}

pub fn fastcgi_response(secret: &str) -> Vec<u8> {
    [
        fastcgi(
            6,
            format!("Status: 404 Not\r\nSet-Cookie: sid={secret}\r\nContent-").as_bytes(),
        ),
        fastcgi(7, secret.as_bytes()),
        fastcgi(6, format!("Type: text/html\r\n\r\n<b>{secret}").as_bytes()),
        fastcgi(6, b""),
        fastcgi(3, &[0; 8]),
    ]
    .concat()
}

/// All that must be the same of a span.
pub fn essence(span: &Span) -> String {
    let path_only = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
    // What was taken for an odd method may be the end of a body: nothing of such a line stays.
    let odd = span
        .attributes
        .iter()
        .any(|(key, _)| *key == "http.request.method_original");
    let attributes: Vec<String> = span
        .attributes
        .iter()
        .filter(|(key, _)| !(odd && key.starts_with("url.")))
        .map(|(key, value)| match (*key, value) {
            ("url.query" | "http.request.method_original", _) => (*key).to_owned(),
            ("url.full", Value::Str(text)) => path_only(text),
            _ => format!("{key}={value:?}"),
        })
        .collect();
    format!(
        "{} {:?} {:?} {:?} {:?} {}..{} {:?} {:?} {:?} {:?}",
        if odd { "odd" } else { &span.name },
        span.kind,
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.start_unix_ns,
        span.end_unix_ns,
        span.status,
        span.evidence,
        span.trace_state,
        attributes
    )
}

pub fn essences(outcome: &Outcome) -> Vec<String> {
    outcome.spans.iter().map(essence).collect()
}

/// Checks that the masked conversation replays like the original; gives the number of spans.
pub fn same(world: &World) -> usize {
    let live = world.run();
    let replayed = run(&mask(&world.steps), TracerConfig::default());
    assert_eq!(essences(&live), essences(&replayed));
    assert_eq!(live.counted(), replayed.counted());
    live.spans.len()
}

pub fn survives(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::Record(bytes) => SECRET
            .as_bytes()
            .windows(4)
            .any(|part| bytes.windows(4).any(|window| window == part)),
        Step::Process(_) | Step::Tick(_) => false,
    })
}

/// Requests with the secret in all places that are masked.
pub const REQUESTS: [&str; 14] = [
    "GET /a?k=SECRET&SECRET HTTP/1.1\r\nHost: shop\r\nCookie: s=SECRET\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
    "POST /users/7 HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer SECRET\r\nContent-Length: 25\r\n\r\n{\"pw\":\"SECRET\"}",
    "POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nSECRET\r\n3\r\nabc\r\n0\r\nX-T: SECRET\r\n\r\n",
    "HEAD /h HTTP/1.1\r\nX-Api-Key: SECRET\r\n\r\n",
    "GET http://u:SECRET@shop:81/p?a=SECRET#SECRET HTTP/1.1\r\nHost: shop\r\n\r\n",
    "CONNECT shop:443 HTTP/1.1\r\nProxy-Authorization: SECRET\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nReferer: http://x/?SECRET\r\n\r\n",
    "GET /up HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: SECRET\r\n\r\n",
    "POST /e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 16\r\n\r\nSECRET",
    "FROB /a HTTP/1.1\r\nX: SECRET\r\n\r\n",
    "GET /long HTTP/1.1\r\nCookie: SECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRET\r\nHost: s\r\n\r\n",
    "POST /bad HTTP/1.1\r\nContent-Length: SECRET\r\n\r\nSECRET",
    "POST /te HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nSECRET",
    "{\"SECRET\": 1}\r\n",
];
/// Those that are requests: responses to what is none wait in the tracer for one that will not come, so that it reads
/// them in another order than they were recorded in.
pub const REAL_REQUESTS: usize = REQUESTS.len() - 1;

pub const RESPONSES: [&str; 13] = [
    "HTTP/1.1 200 OK\r\nSet-Cookie: s=SECRET\r\nContent-Length: 16\r\n\r\nSECRET",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n22\r\nSECRETSECRET12\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nSECRET\r\n20\r\nSECRETSECRET\r\n0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nX-Token: SECRET\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: https://u:SECRET@h/cb?code=SECRET#SECRET\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 SECRET\r\nContent-Length: 2\r\n\r\nab",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: SECRET\r\n\r\nSECRET",
    "HTTP/1.0 200 OK\r\nServer: s\r\n\r\nSECRET until the end",
    "HTTP/1.1 500 Internal\r\nContent-Length: 64\r\n\r\nSECRETSECRETSECRETSECRET",
    "HTTP/1.1 304 Not Modified\r\nETag: \"SECRET\"\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\nSECRET",
    "HTTP/1.1 200\r\nWWW-Authenticate: SECRET\r\ncontent-length: 0\r\n\r\n",
    "SECRET is not HTTP",
];
/// Those that are responses.
pub const REAL_RESPONSES: usize = RESPONSES.len() - 1;

/// One exchange: which request and response, where they are cut, and a segment of each that is lost.
#[derive(Clone, Debug)]
pub struct Turn {
    pub request: usize,
    pub response: usize,
    pub cuts: Vec<usize>,
    pub cuts_back: Vec<usize>,
    pub lost: Option<usize>,
    pub lost_back: Option<usize>,
}

impl Turn {
    /// Nothing comes after a tunnel, another protocol, or a body that lasts until the close.
    pub fn is_last(&self) -> bool {
        REQUESTS[self.request].starts_with("CONNECT") || matches!(self.response, 6 | 7)
    }
}

pub fn turn() -> impl Strategy<Value = Turn> {
    let cuts = || prop::collection::vec(0..400_usize, 0..4);
    let lost = || prop::option::weighted(0.08, 0..4_usize);
    let which = (0..REAL_REQUESTS, 0..REAL_RESPONSES);
    (which, cuts(), cuts(), lost(), lost()).prop_map(
        |((request, response), cuts, cuts_back, lost, lost_back)| Turn {
            request,
            // These have no body, and a server sends none.
            response: match REQUESTS[request].split(' ').next() {
                Some("HEAD" | "CONNECT") => REAL_RESPONSES - 1,
                _ => response,
            },
            cuts,
            cuts_back,
            lost,
            lost_back,
        },
    )
}

/// One direction of one exchange, on both ends.
pub fn send(
    world: &mut World,
    (from, to): (&mut End, &mut End),
    bytes: &[u8],
    places: &[usize],
    lost: Option<usize>,
    n: Option<u8>,
) {
    for (index, piece) in cut(bytes, places).into_iter().enumerate() {
        let first = n.filter(|_| index == 0);
        if lost == Some(index) {
            world.lose(from, direction::TX, piece);
        } else {
            world.write(from, piece, first.map(|n| ids(n, n, None)));
        }
        let up = first.map(|n| ids(n, n + 1, Some((n, evidence::SOCKET))));
        world.read(to, piece, up);
    }
}

pub fn world_of(turns: &[Turn], wire: u8, capture: usize, pipelined: bool) -> World {
    let mut world = World::default();
    let (mut client, mut server) = pair(1, 10, 20);
    for end in [&mut client, &mut server] {
        end.protocol = wire;
        end.capture = capture;
        world.conn(end);
    }
    for (n, turn) in turns.iter().enumerate() {
        let request = REQUESTS[turn.request];
        let (mut asked, mut answered) = if wire == protocol::FASTCGI {
            let query = format!("k={SECRET}&{SECRET}");
            (fastcgi_request(SECRET, &query), fastcgi_response(SECRET))
        } else {
            let fill = |text: &str| text.replace("SECRET", SECRET).into_bytes();
            (fill(request), fill(RESPONSES[turn.response]))
        };
        if pipelined && !turn.is_last() && wire == protocol::HTTP1 {
            asked = [asked.clone(), asked].concat();
            answered = [answered.clone(), answered].concat();
        }
        let n = Some(n as u8 * 2 + 1);
        // An authority that is cut is a masked value.
        let whole = request.contains("shop:") && wire == protocol::HTTP1;
        let cuts = if whole { &[][..] } else { &turn.cuts };
        let up = (&mut client, &mut server);
        send(&mut world, up, &asked, cuts, turn.lost, n);
        let down = (&mut server, &mut client);
        send(
            &mut world,
            down,
            &answered,
            &turn.cuts_back,
            turn.lost_back,
            None,
        );
    }
    for end in [&mut client, &mut server] {
        end.capture = 4096;
        world.eof(end);
        world.state(end, 1, 7, 0);
    }
    world
}
