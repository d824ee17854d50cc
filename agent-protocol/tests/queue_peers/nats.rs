//! NATS clients against nats-server 2.9.10: nats-py 2.16.0, nats.js 2.29.3, nats.go 1.55.0.

use agent_protocol::queue::nats::Client;
use agent_protocol::queue::{Conversation, Limits};
use agent_protocol::stream::Begin;

use crate::show::{check, keyer};

fn client() -> Box<dyn Conversation> {
    Box::new(Client::new(Begin::Boundary, Limits::default(), keyer()))
}

#[test]
fn each_client_gives_its_events() {
    for name in ["nats_py", "nats_py_jetstream", "nats_js", "nats_go"] {
        check(name, &[name], &client);
    }
}
