//! Recognises the protocols of brokers in first bytes that are neither HTTP/1 nor FastCGI.
//!
//! In: up to `SNIFF_BYTES` bytes. Out: a [`Token`]. Always holds: as for all of `sniff`, it only guesses; what it costs is paid by the
//! first calls of connections of unknown protocols only. `agent_protocol::sniff` is the reference.

use agent_common::limits::SNIFF_BYTES;

use super::Token;
use crate::maps::Scratch;

/// Recognises a token in the first `len` bytes of `scratch.sniff`, and leaves it in `scratch.found`.
#[inline(never)]
pub(crate) fn broker(scratch: &mut Scratch, len: u64) -> u64 {
    if len < 6 {
        return 0;
    }
    let bytes = &scratch.sniff;
    let token = match bytes[0] {
        b'*' | b'%' | b'>' => resp(bytes, len),
        b'A' if starts(bytes, *b"AMQP\0\0") => Token::AMQP,
        1 => amqp_method(bytes, len),
        // AMQP's heartbeat, which each side sends while there is nothing else to say.
        8 if starts(bytes, [8, 0, 0, 0, 0, 0, 0, 0xce]) => Token::AMQP_EITHER,
        0x10 => mqtt_connect(bytes, len),
        0 => kafka_or_postgres(bytes, len),
        b'P' | b'B' | b'Q' if bytes[1] == 0 => postgres_request(bytes),
        b'C' | b'P' | b'S' | b'H' | b'I' | b'M' => nats(bytes, len),
        _ => Token::NONE,
    };
    scratch.found.set(0, token, 0);
    1
}

#[inline(always)]
fn starts<const N: usize>(bytes: &[u8; SNIFF_BYTES], with: [u8; N]) -> bool {
    let mut equal = true;
    // BOUND: N, at most 10.
    for index in 0..N {
        equal &= bytes[index] == with[index];
    }
    equal
}

/// RESP: `*` (in RESP3's answers `%`, `>` in what is pushed), a count of up to four digits that is not 0, CR LF, `$` or (in answers that nest: a stream's entries) `*`, and a digit (redis.io,
/// "RESP protocol spec", arrays of bulk strings).
#[inline(always)]
fn resp(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    if !(b'1'..=b'9').contains(&bytes[1]) {
        return Token::NONE;
    }
    // BOUND: 4 digits.
    for index in 2..6usize {
        if bytes[index] == b'\r' {
            let fits = bytes[index + 1] == b'\n'
                && (len <= index as u64 + 2
                    || bytes[index + 2] == b'$'
                    || bytes[index + 2] == b'*')
                && (len <= index as u64 + 3 || bytes[index + 3].is_ascii_digit());
            return if fits { Token::REDIS } else { Token::NONE };
        }
        if !bytes[index].is_ascii_digit() {
            break;
        }
    }
    Token::NONE
}

/// AMQP 0-9-1 §2.3.5: a method frame (1), channel, size, class, method.
#[inline(always)]
fn amqp_method(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    // py-amqp 5.4 reads a frame's head by a call of its own: a worker that waits reads nothing else.
    if len == 7 {
        let is_method = bytes[1] == 0 && bytes[3] == 0 && bytes[4] == 0 && bytes[5] < 16;
        return if is_method && (bytes[5] != 0 || bytes[6] > 3) {
            Token::AMQP_EITHER
        } else {
            Token::NONE
        };
    }
    if len < 11 || bytes[3] != 0 || bytes[7] != 0 || bytes[9] != 0 {
        return Token::NONE;
    }
    match (bytes[8], bytes[10]) {
        // connection start-ok, tune-ok, open; channel open; queue declare, bind; confirm select; basic qos, consume, cancel, publish, get.
        (10, 11 | 31 | 40) | (20, 10) | (50, 10 | 20) | (85, 10) | (60, 10 | 20 | 30 | 40 | 70) => {
            Token::AMQP
        }
        // connection start, tune, open-ok; channel open-ok; queue declare-ok; confirm select-ok; basic qos-ok, consume-ok, return, deliver, get-ok,
        // get-empty.
        (10, 10 | 30 | 41) | (20, 11) | (50, 11) | (85, 11) | (60, 11 | 21 | 50 | 60 | 71 | 72) => {
            Token::AMQP_ANSWER
        }
        // basic ack, reject, nack: a consumer's, or a broker's that confirms.
        (60, 80 | 90 | 120) => Token::AMQP_EITHER,
        _ => Token::NONE,
    }
}

/// MQTT 3.1.1 §3.1 and 5 §3.1: CONNECT, a remaining length of one or two bytes, "MQTT", level 4 or 5.
#[inline(always)]
fn mqtt_connect(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    if len < 10 {
        return Token::NONE;
    }
    let at = if bytes[1] < 0x80 { 2 } else { 3 };
    let fits = bytes[at] == 0
        && bytes[at + 1] == 4
        && bytes[at + 2] == b'M'
        && bytes[at + 3] == b'Q'
        && bytes[at + 4] == b'T'
        && bytes[at + 5] == b'T'
        && (bytes[at + 6] == 4 || bytes[at + 6] == 5);
    if fits { Token::MQTT } else { Token::NONE }
}

/// Kafka: size, api key, api version, correlation id, length of the client's id and the id (or none: -1). PostgreSQL: a startup message's
/// length, version 3.x and the first parameter's name, or the code of SSLRequest. (Kafka's metadata has the key 3, and kafkajs 2.2 begins with it
/// when it connects again: there the correlation id follows.)
#[inline(always)]
fn kafka_or_postgres(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    if len < 8 {
        return Token::NONE;
    }
    let code = [bytes[4], bytes[5], bytes[6], bytes[7]];
    let is_startup = code[0] == 0 && code[1] == 3 && code[2] == 0;
    let is_named = len > 8 && bytes[8].is_ascii_lowercase();
    if bytes[1] == 0 && (is_startup && is_named || code == [4, 210, 22, 47]) {
        return Token::POSTGRES;
    }
    if len < 14 || bytes[4] != 0 || bytes[5] > 92 || bytes[6] != 0 || bytes[7] > 20 {
        return Token::NONE;
    }
    let fits = match [bytes[12], bytes[13]] {
        [0xff, 0xff] => true,
        [0, 0] => true,
        [0, _] => len < 15 || (bytes[14] > b' ' && bytes[14] < 0x7f),
        _ => false,
    };
    if fits { Token::KAFKA } else { Token::NONE }
}

/// PostgreSQL's Parse, Bind or Query in the middle of a connection: a length, and then a name, its end, or text.
#[inline(always)]
fn postgres_request(bytes: &[u8; SNIFF_BYTES]) -> Token {
    let first = bytes[5];
    let is_text = (b' '..0x7f).contains(&first);
    let fits = if bytes[0] == b'Q' {
        is_text || first == b'\n' || first == b'\t'
    } else {
        is_text || first == 0
    };
    if fits { Token::POSTGRES } else { Token::NONE }
}

/// NATS client protocol: words that HTTP/1's methods do not look like.
#[inline(always)]
fn nats(bytes: &[u8; SNIFF_BYTES], len: u64) -> Token {
    if len >= 9 && starts(bytes, *b"CONNECT {") {
        return Token::NATS;
    }
    if starts(bytes, *b"PUB ") || starts(bytes, *b"HPUB ") || starts(bytes, *b"SUB ") {
        return Token::NATS;
    }
    // (Redis answers `+PONG`.)
    if starts(bytes, *b"PONG\r\n") {
        return Token::NATS_EITHER;
    }
    if starts(bytes, *b"INFO {") || starts(bytes, *b"MSG ") || starts(bytes, *b"HMSG ") {
        return Token::NATS_ANSWER;
    }
    Token::NONE
}
