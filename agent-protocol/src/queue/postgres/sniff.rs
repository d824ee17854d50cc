//! Recognises PostgreSQL's protocol by a client's first bytes.
//!
//! In: the first 24 bytes of a connection or of a later request, or all of a shorter one. Out: whether it is one. Always holds: nothing that
//! begins as HTTP/1, HTTP/2, RESP, FastCGI, TLS, AMQP, MQTT, Kafka or NATS begins like this (see the tests). Refuses: TLS without the
//! request for it (`sslnegotiation=direct`).

/// Longest startup packet (`MAX_STARTUP_PACKET_LENGTH`).
pub(super) const STARTUP_MAX: u32 = 10_000;
/// Longest message that begins what is recognised.
const LONG_MAX: u32 = 0x00ff_ffff;

pub(super) const SSL: u32 = 80_877_103;
pub(super) const GSSENC: u32 = 80_877_104;
pub(super) const CANCEL: u32 = 80_877_102;

/// Whether a client's bytes begin with PostgreSQL's messages. Needs 5 bytes, 9 of a startup; looks at 24 at most:
///
/// ```text
/// startup:  0..4 length 8 and 4..8 04 d2 16 2f (SSL) or 04 d2 16 30 (GSSAPI); or 0..4 length 16 and 4..8 04 d2 16 2e (cancel);
///           or 0..4 length 9 ..= 10000, 4..6 00 03, 6 00 and 8 a lower-case letter
/// later:    0 a letter, 1 00, 1..5 length L, and by the letter:
///   Q       L >= 5; 5 is no control character but tab, line feed, carriage return; or 0 with L = 5
///   P B     L >= 6; what follows is a name (bytes 0x21 ..= 0x7e) up to a 0 within 24 bytes, or to their end
///   E       L >= 9; likewise
///   D C     L >= 6; 5 is S or P; then likewise
///   S H X   L = 4
/// ```
#[must_use]
pub fn is_postgres(first: &[u8]) -> bool {
    let first = &first[..first.len().min(24)];
    match first {
        [0, _, _, _, code @ ..] => is_startup(first, code),
        [tag, 0, a, b, c, rest @ ..] => is_message(*tag, u32::from_be_bytes([0, *a, *b, *c]), rest),
        _ => false,
    }
}

fn is_startup(first: &[u8], code: &[u8]) -> bool {
    let (Some(len), Some((code, rest))) = (first.first_chunk::<4>(), code.split_first_chunk::<4>())
    else {
        return false;
    };
    let code = u32::from_be_bytes(*code);
    match u32::from_be_bytes(*len) {
        8 => code == SSL || code == GSSENC,
        16 if code == CANCEL => true,
        9..=STARTUP_MAX => code >> 8 == 0x300 && rest.first().is_some_and(u8::is_ascii_lowercase),
        _ => false,
    }
}

fn is_message(tag: u8, len: u32, rest: &[u8]) -> bool {
    let is_name = |rest: &[u8]| {
        let name = rest.split(|&byte| byte == 0).next().unwrap_or_default();
        name.iter().all(u8::is_ascii_graphic)
    };
    if len > LONG_MAX {
        return false;
    }
    match tag {
        b'Q' => {
            len >= 5
                && match rest.first() {
                    None => true,
                    Some(0) => len == 5,
                    Some(byte) => !byte.is_ascii_control() || b"\t\n\r".contains(byte),
                }
        }
        b'P' | b'B' => len >= 6 && is_name(rest),
        b'E' => len >= 9 && is_name(rest),
        b'D' | b'C' => {
            len >= 6
                && match rest {
                    [] => true,
                    [what, rest @ ..] => matches!(what, b'S' | b'P') && is_name(rest),
                }
        }
        b'S' | b'H' | b'X' => len == 4,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_postgres;
    use crate::queue::kafka::is_kafka;

    #[test]
    fn a_clients_messages_are_recognised() {
        for (what, bytes) in [
            ("SSLRequest", &b"\0\0\0\x08\x04\xd2\x16\x2f"[..]),
            ("GSSENCRequest", b"\0\0\0\x08\x04\xd2\x16\x30"),
            (
                "CancelRequest",
                b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
            ),
            ("startup", b"\0\0\0\x54\0\x03\0\0user\0postgres\0datab"),
            (
                "startup of libpq 18",
                b"\0\0\0\x54\0\x03\0\x02user\0postgres\0datab",
            ),
            ("Query", b"Q\0\0\0\x12SELECT 1 AS one;\0"),
            (
                "Query that begins with a line",
                b"Q\0\0\0\x12\n  SELECT 1;\0",
            ),
            ("Query with nothing", b"Q\0\0\0\x05\0"),
            ("Query of 1 MB", b"Q\0\x10\0\0INSERT INTO a VALUES ("),
            ("Parse", b"P\0\0\0\x30\0SELECT $1\0"),
            (
                "Parse with a name",
                b"P\0\0\0\x30__asyncpg_stmt_1__\0SELECT",
            ),
            ("Bind", b"B\0\0\0\x20\0S_1\0\0\x01\0\0"),
            ("Execute", b"E\0\0\0\x09\0\0\0\0\0"),
            ("Describe", b"D\0\0\0\x06S\0"),
            ("Close", b"C\0\0\0\x08Pabc\0"),
            ("Sync", b"S\0\0\0\x04"),
            ("Flush", b"H\0\0\0\x04"),
            ("Terminate", b"X\0\0\0\x04"),
        ] {
            assert!(is_postgres(bytes), "{what}");
            assert!(is_postgres(&bytes[..bytes.len().min(24)]), "{what}, cut");
            assert!(!is_kafka(bytes), "{what} for Kafka's");
        }
    }

    #[test]
    fn other_protocols_are_not_recognised() {
        for (what, bytes) in [
            ("nothing", &b""[..]),
            ("HTTP/1", b"POST / HTTP/1.1\r\nHost: a\r\n"),
            ("HTTP/1 DELETE", b"DELETE / HTTP/1.1\r\nHost: "),
            ("HTTP/1 answer", b"HTTP/1.1 200 OK\r\nServer"),
            ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            ("HTTP/2 SETTINGS", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64"),
            ("HTTP/2 HEADERS", b"\0\0\x03\x01\x04\0\0\0\x03abc"),
            ("HTTP/2 PRIORITY", b"\0\0\x05\x02\0\0\0\0\x03\0\0\0\0\x0f"),
            ("RESP", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1"),
            ("RESP inline", b"SET a b\r\n"),
            ("FastCGI", b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0"),
            (
                "TLS ClientHello",
                b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            ),
            ("TLS alert", b"\x15\x03\x03\0\x02\x01\0"),
            ("AMQP", b"AMQP\0\0\x09\x01"),
            ("AMQP method", b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x28"),
            (
                "MQTT CONNECT",
                b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04abcd",
            ),
            ("MQTT PUBREC", b"\x50\x02\0\x01"),
            ("MQTT PUBACK", b"\x40\x02\0\x01"),
            ("MQTT PUBREC 5", b"\x50\x03\0\x01\x10"),
            (
                "Kafka ApiVersions",
                b"\0\0\0\x26\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0",
            ),
            (
                "Kafka Metadata v0",
                b"\0\0\0\x26\0\x03\0\0\0\0\0\x01\0\x07rdkafka\0",
            ),
            ("NATS", b"PUB a 5\r\nhello\r\n"),
            ("NATS CONNECT", b"CONNECT {\"verbose\":false}\r\n"),
            ("MySQL query", b"\x09\0\0\0\x03SELECT 1"),
            ("Memcached", b"\x80\0\0\x03\0\0\0\0"),
            ("SMTP", b"EHLO a.example\r\n"),
            ("zeros", &[0; 24]),
        ] {
            assert!(!is_postgres(bytes), "{what}");
        }
    }
}
