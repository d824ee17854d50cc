//! The rules by which AMQP, NATS and MQTT are recognised, on each other's conversations and on what else a host says.

use agent_protocol::queue::amqp::is_amqp;
use agent_protocol::queue::mqtt::is_mqtt;
use agent_protocol::queue::nats::is_nats;

use crate::show::recorded;

#[test]
fn no_protocol_of_queues_begins_as_another() {
    for name in [
        "amqp_pika",
        "amqp_go",
        "amqp_amqplib",
        "amqp_celery_takes",
        "nats_py",
        "nats_go",
        "nats_js",
        "nats_py_jetstream",
        "mqtt_paho_3",
        "mqtt_paho_5",
        "mqtt_js_3",
        "mqtt_js_5",
    ] {
        let mut last = None;
        for (index, (way, bytes)) in recorded(name).into_iter().enumerate() {
            let is_turn = last.replace(way) != Some(way);
            let is = [is_amqp(&bytes), is_nats(&bytes), is_mqtt(&bytes)];
            let own = ["amqp", "nats", "mqtt"]
                .iter()
                .position(|of| name.starts_with(of))
                .unwrap();
            for (at, is) in is.into_iter().enumerate() {
                assert!(!is || at == own, "{name}, piece {index}");
            }
            if index == 0 {
                assert!(is[own], "{name} begins as its protocol does");
            }
            // In AMQP each turn begins with a frame; these recordings have no piece that begins within one.
            assert!(
                is[own] || own != 0 || !is_turn || bytes.len() < 11,
                "{name}, piece {index}"
            );
        }
    }
}

#[test]
fn no_message_of_http_or_fastcgi_begins_as_a_queue_does() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut count = 0;
    for folder in ["http1_request", "http1_response", "fastcgi"] {
        for file in std::fs::read_dir(corpus.join(folder)).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            // At each byte, as a turn may begin anywhere that a read does.
            for at in 0..bytes.len() {
                let rest = &bytes[at..];
                let is = [is_amqp(rest), is_nats(rest), is_mqtt(rest)];
                assert_eq!(is, [false; 3], "{folder}: {}", rest.escape_ascii());
                count += 1;
            }
        }
    }
    assert!(count > 5000, "{count}");
}
