//! What real clients and brokers said to each other, and what hand-made conversations give.
//!
//! In: `recorded/*.rec`, each one client's connection (pieces of way, length, bytes in the order in which they moved). Out: the events, one
//! a line, against `recorded/*.txt`. Always holds: pieces cut at every byte give the same. `BLESS=1` takes what is for what is expected.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod amqp;
mod amqp_frames;
mod amqp_holes;
mod mqtt;
mod mqtt_packets;
mod nats;
mod nats_lines;
mod show;
mod sniff;
