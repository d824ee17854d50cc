//! AMQP clients against RabbitMQ 3.10.8: pika 1.4.4, Celery 5.7.0 (py-amqp 5.4.2), dramatiq 2.2.1, amqplib 2.3.1, amqp091-go.

use agent_protocol::queue::amqp::Client;
use agent_protocol::queue::{Conversation, Limits};
use agent_protocol::stream::Begin;

use crate::show::{check, keyer};

fn client() -> Box<dyn Conversation> {
    Box::new(Client::new(Begin::Boundary, Limits::default(), keyer()))
}

#[test]
fn each_client_gives_its_events() {
    for name in [
        "amqp_pika",
        "amqp_pika_rpc",
        "amqp_pika_quorum",
        "amqp_pika_tx",
        "amqp_amqplib",
        "amqp_go",
    ] {
        check(name, &[name], &client);
    }
}

#[test]
fn celery_tells_its_jobs_and_hides_its_own_talk() {
    check(
        "amqp_celery",
        &[
            "amqp_celery_asks",
            "amqp_celery_takes",
            "amqp_celery_works",
            "amqp_celery_reads_results",
            "amqp_celery_control",
        ],
        &client,
    );
}

#[test]
fn dramatiq_tells_its_jobs() {
    check(
        "amqp_dramatiq",
        &[
            "amqp_dramatiq_asks",
            "amqp_dramatiq_works",
            "amqp_dramatiq_retries",
            "amqp_dramatiq_waits",
            "amqp_dramatiq_moves",
        ],
        &client,
    );
}
