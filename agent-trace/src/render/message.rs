//! Attributes of a message's span, and its name.
//!
//! In: a parcel. Out: `messaging.*` by OpenTelemetry's semantic conventions for messaging (1.3x, "Messaging Spans"). Always holds: names have
//! low cardinality: the job's name, else the destination's template. Refuses: a message's body.

use agent_common::abi::protocol;
use agent_protocol::queue::System;

use super::attributes::Attributes;
use super::place::server_of_socket;
use crate::exchange::Exchange;
use crate::graph::Side;
use crate::queue::Parcel;
use crate::route::template;
use crate::semconv as key;

/// `messaging.system` of a protocol.
const fn system(protocol: u8) -> &'static str {
    match protocol {
        protocol::REDIS => "redis",
        // The only broker whose dialect is read.
        protocol::AMQP => "rabbitmq",
        protocol::KAFKA => "kafka",
        protocol::NATS => "nats",
        protocol::MQTT => "mqtt",
        protocol::POSTGRES => "postgresql",
        protocol::SQS => "aws_sqs",
        _ => key::METHOD_OTHER,
    }
}

/// `network.protocol.name` of a protocol.
pub(super) const fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        protocol::REDIS => "resp",
        protocol::AMQP => "amqp",
        protocol::SQS => "http",
        other => system(other),
    }
}

const fn library(system: System) -> &'static str {
    match system {
        System::Celery => "celery",
        System::Rq => "rq",
        System::Dramatiq => "dramatiq",
        System::Huey => "huey",
        System::BullMq => "bullmq",
        System::Sidekiq => "sidekiq",
        System::Asynq => "asynq",
        System::Procrastinate => "procrastinate",
    }
}

/// Writes them.
pub(super) fn message(
    attributes: &mut Attributes,
    name: &mut String,
    exchange: &Exchange,
    parcel: &Parcel,
) {
    let is_put = exchange.side == Side::Client;
    let kind = if is_put { key::SEND } else { key::PROCESS };
    attributes.fixed(key::MESSAGING_SYSTEM, system(parcel.protocol));
    attributes.fixed(key::MESSAGING_OPERATION_TYPE, kind);
    attributes.fixed(key::MESSAGING_OPERATION_NAME, parcel.operation);
    let low = template(&parcel.destination);
    name.push_str(kind);
    name.push(' ');
    match &parcel.job {
        Some(job) if !job.name.is_empty() => name.push_str(&job.name),
        _ if parcel.is_temporary => name.push_str(key::NAME_TEMPORARY),
        _ => name.push_str(&low),
    }
    attributes.text(key::MESSAGING_DESTINATION_NAME, &parcel.destination);
    if parcel.is_temporary {
        attributes.yes(key::MESSAGING_DESTINATION_TEMPORARY);
    }
    if low != parcel.destination {
        attributes.text(key::MESSAGING_DESTINATION_TEMPLATE, &low);
    }
    if let Some(url) = &parcel.url {
        attributes.text(key::AWS_SQS_QUEUE_URL, url);
    }
    if let Some(response) = &exchange.response {
        attributes.int(key::HTTP_RESPONSE_STATUS_CODE, response.status);
    }
    if let Some(id) = &parcel.id {
        attributes.text(key::MESSAGING_MESSAGE_ID, id);
    }
    if let Some(conversation) = &parcel.conversation {
        attributes.text(key::MESSAGING_CONVERSATION_ID, conversation);
    }
    attributes.size(key::MESSAGING_BODY_SIZE, parcel.body_bytes);
    if let Some(group) = &parcel.group {
        attributes.text(key::MESSAGING_CONSUMER_GROUP, group);
    }
    if let Some(partition) = parcel.partition {
        attributes.written(key::MESSAGING_PARTITION, partition.to_string());
    }
    if let Some(offset) = parcel.offset {
        attributes.int(key::MESSAGING_KAFKA_OFFSET, offset);
    }
    if let Some(text) = &parcel.key {
        attributes.text(key::MESSAGING_KAFKA_KEY, text);
    }
    if parcel.batch > 1 {
        attributes.size(key::MESSAGING_BATCH_COUNT, parcel.batch as u64);
    }
    if let Some(job) = &parcel.job {
        attributes.fixed(key::SUTURE_JOB_SYSTEM, library(job.system));
        if !job.name.is_empty() {
            attributes.text(key::SUTURE_JOB_NAME, &job.name);
        }
    }
    if let Some(retries) = parcel.retries {
        attributes.int(key::SUTURE_MESSAGING_RETRIES, retries);
    }
    if parcel.redelivered {
        attributes.yes(key::SUTURE_MESSAGING_REDELIVERED);
    }
    if parcel.is_delayed {
        attributes.yes(key::SUTURE_MESSAGING_DELAYED);
    }
    if let Some(ns) = parcel.queue_ns {
        attributes.size(key::SUTURE_MESSAGING_QUEUE_TIME, ns / 1_000);
    }
    server_of_socket(attributes, exchange.endpoints.as_deref());
}
