//! In: any bytes, to `agent_protocol::fuzzing::conversations::sqs`, which says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| agent_protocol::fuzzing::conversations::sqs(bytes));
