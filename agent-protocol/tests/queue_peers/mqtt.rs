//! MQTT clients against mosquitto 2.0.11: paho-mqtt 2.2.0, mqtt.js 5.16.0.

use agent_protocol::queue::mqtt::Client;
use agent_protocol::queue::{Conversation, Limits};
use agent_protocol::stream::Begin;

use crate::show::{check, keyer};

fn client() -> Box<dyn Conversation> {
    Box::new(Client::new(Begin::Boundary, Limits::default(), keyer()))
}

#[test]
fn each_client_gives_its_events() {
    for name in ["mqtt_paho_3", "mqtt_paho_5", "mqtt_js_3", "mqtt_js_5"] {
        check(name, &[name], &client);
    }
}

#[test]
fn a_session_taken_up_again_delivers_again() {
    check(
        "mqtt_again",
        &["mqtt_paho_lost", "mqtt_paho_again"],
        &client,
    );
}
