//! A program that serves requests and makes calls, and the links of their spans.

use agent_common::abi::evidence::THREAD;
use agent_trace::tracer::TracerConfig;

use super::{End, Outcome, World, ids, pair, text};

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
pub const GET: &str = "GET /price?id=7 HTTP/1.1\r\nHost: shop\r\n\r\n";

/// Process 20 serves requests (spans 1 and 2, in traces 1 and 2) and makes calls (spans from 10 on).
pub struct Scene {
    pub world: World,
    served: Vec<(u8, End)>,
}

impl Scene {
    pub fn new() -> Self {
        Self {
            world: World::default(),
            served: Vec::new(),
        }
    }

    /// A request comes in from another host.
    pub fn serve(&mut self, n: u8) {
        self.serve_with(n, "GET /in HTTP/1.1\r\nHost: front\r\n\r\n");
    }

    pub fn serve_with(&mut self, n: u8, request: &str) {
        self.serve_in(n, n, request);
    }

    /// The same in trace `trace`.
    pub fn serve_in(&mut self, trace: u8, n: u8, request: &str) {
        let (_, mut server) = pair(n, 10, 20);
        self.world.conn(&server);
        self.world
            .read(&mut server, request.as_bytes(), Some(ids(trace, n, None)));
        self.served.push((n, server));
    }

    pub fn answer(&mut self, n: u8) {
        let at = self.served.iter().position(|(of, _)| *of == n).unwrap();
        let (_, mut server) = self.served.remove(at);
        self.world.write(&mut server, OK.as_bytes(), None);
    }

    /// Process 20 writes `request` as span `n`; parent 0: none is known.
    pub fn begin(&mut self, parent: u8, n: u8, request: &str) -> End {
        let (client, _) = pair(n, 20, 30);
        self.world.conn(&client);
        self.begin_on(client, parent, n, request)
    }

    pub fn begin_on(&mut self, mut client: End, parent: u8, n: u8, request: &str) -> End {
        let (trace, of) = if parent == 0 {
            (n, None)
        } else {
            (parent, Some((parent, THREAD)))
        };
        self.world
            .write(&mut client, request.as_bytes(), Some(ids(trace, n, of)));
        client
    }

    pub fn end(&mut self, mut client: End, response: &str) {
        self.world.read(&mut client, response.as_bytes(), None);
    }

    pub fn call(&mut self, parent: u8, n: u8, request: &str, response: &str) {
        let client = self.begin(parent, n, request);
        self.end(client, response);
        self.world.wait(50);
    }

    pub fn run(self) -> Outcome {
        self.run_with(TracerConfig::default())
    }

    pub fn run_with(mut self, config: TracerConfig) -> Outcome {
        while let Some(&(n, _)) = self.served.first() {
            self.answer(n);
        }
        self.world.run_with(config)
    }
}

/// `span>other:evidence#resends` for each link.
pub fn links(outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    for span in &outcome.spans {
        for link in &span.links {
            let other = outcome
                .spans
                .iter()
                .find(|other| other.span_id == link.span_id)
                .expect("the other span is handed out, too");
            assert_eq!(other.trace_id, link.trace_id);
            let evidence = link
                .attributes
                .iter()
                .map(|(key, value)| {
                    assert_eq!(*key, "suture.link.evidence");
                    format!("{value:?}")
                })
                .collect::<String>();
            let evidence = if evidence.contains("retry") {
                "retry"
            } else {
                "key"
            };
            let resends = text(span, "http.request.resend_count");
            lines.push(format!(
                "{}>{}:{evidence}#{resends}",
                span.span_id.0[0], link.span_id.0[0]
            ));
        }
    }
    lines.sort();
    lines
}
