//! Recognises a Kafka request by its first bytes.
//!
//! In: the first 24 bytes of a request, or all of a shorter one. Out: whether it is one. Always holds: nothing that begins as HTTP/1,
//! HTTP/2, RESP, FastCGI, TLS, AMQP, MQTT, PostgreSQL, ZooKeeper or Memcached begins like this (see the tests). Refuses: a produce request
//! with an empty client id (as kafka-go 0.4.51's `Writer` sends it) in a transaction: ZooKeeper's requests would look like it.

/// Longest client id that is believed.
const CLIENT_MAX: i16 = 255;
/// Only produce requests are longer.
const SHORT_MAX: u32 = 1 << 20;
/// Java's clients number their SASL requests with the last eight.
const CORRELATION_RESERVED: i32 = i32::MAX - 7;
/// Others count from 0; what is larger is text of another protocol.
const CORRELATION_MAX: i32 = 0x1fff_ffff;

/// Requests that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Produce,
    Fetch,
    Metadata,
    OffsetCommit,
    OffsetFetch,
    JoinGroup,
    Heartbeat,
    SyncGroup,
    TxnOffsetCommit,
    ConsumerGroupHeartbeat,
    Other,
}

impl Api {
    const fn of(key: i16) -> Self {
        match key {
            0 => Self::Produce,
            1 => Self::Fetch,
            3 => Self::Metadata,
            8 => Self::OffsetCommit,
            9 => Self::OffsetFetch,
            11 => Self::JoinGroup,
            12 => Self::Heartbeat,
            14 => Self::SyncGroup,
            28 => Self::TxnOffsetCommit,
            68 => Self::ConsumerGroupHeartbeat,
            _ => Self::Other,
        }
    }

    /// Its first version with tagged fields: also of the request's header, and of the answer's (`ApiVersions` has an old header; it is not
    /// read).
    pub(super) const fn is_flexible(self, version: i16) -> bool {
        version
            >= match self {
                Self::Produce | Self::Metadata => 9,
                Self::Fetch => 12,
                Self::OffsetCommit => 8,
                Self::OffsetFetch => 6,
                Self::JoinGroup => 6,
                Self::Heartbeat | Self::SyncGroup => 4,
                Self::TxnOffsetCommit => 3,
                Self::ConsumerGroupHeartbeat => 0,
                Self::Other => i16::MAX,
            }
    }

    /// Versions whose fields are known: those of Kafka 4.2.1, where something is learnt from them (metadata has ids from 10 on).
    pub(super) const fn is_read(self, version: i16) -> bool {
        match self {
            Self::Produce => 3 <= version && version <= 13,
            Self::Fetch => 4 <= version && version <= 18,
            Self::Metadata => 10 <= version && version <= 13,
            Self::OffsetCommit => 2 <= version && version <= 10,
            Self::OffsetFetch => version <= 10,
            Self::TxnOffsetCommit => version <= 5,
            _ => false,
        }
    }
}

/// Whether these are the fields of a request's header.
pub(super) fn is_plausible(key: i16, version: i16, correlation: i32, client: &[u8]) -> Option<Api> {
    let api = Api::of(key);
    let is_numbered =
        (0..=CORRELATION_MAX).contains(&correlation) || correlation >= CORRELATION_RESERVED;
    let is_known = (0..=127).contains(&key) && (0..=24).contains(&version);
    let is_client = client.len() <= CLIENT_MAX as usize && client.iter().all(is_client_byte);
    (is_known && is_numbered && is_client).then_some(api)
}

fn is_client_byte(byte: &u8) -> bool {
    (0x20..0x7f).contains(byte) || *byte >= 0x80
}

/// Whether a client's bytes begin with a Kafka request (a broker's answer with a correlation id of 3 to 24 may look like a produce request;
/// who is the client, the connection says). Needs 14 bytes; looks at 24 at most:
///
/// ```text
///  0..4   size, big endian, without itself: 10 ..= 104857600; above 1 MiB only when 4..6 is 0
///  4..6   api key: 0 ..= 127
///  6..8   version: 0 ..= 24; when the key is 0: 3 ..= 24
///  8..12  correlation id: 0 ..= 0x1fffffff, or 0x7ffffff8 ..= 0x7fffffff
/// 12..14  length of the client id: -1 ..= 255 and at most size - 10
/// 14..24  what is there of the client id: no byte below 0x20, no 0x7f
/// 14..22  when the key and the length are 0: no transaction (ff ff; from version 9 on 00 00), acks (ff ff, 00 00 or 00 01), a time-out > 0
/// ```
#[must_use]
pub fn is_kafka(first: &[u8]) -> bool {
    let [
        s0,
        s1,
        s2,
        s3,
        k0,
        k1,
        v0,
        v1,
        c0,
        c1,
        c2,
        c3,
        l0,
        l1,
        client @ ..,
    ] = first
    else {
        return false;
    };
    let size = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
    let key = i16::from_be_bytes([*k0, *k1]);
    let version = i16::from_be_bytes([*v0, *v1]);
    let correlation = i32::from_be_bytes([*c0, *c1, *c2, *c3]);
    let len = i16::from_be_bytes([*l0, *l1]);
    let most = if key == 0 {
        super::request::REQUEST_MAX
    } else {
        SHORT_MAX
    };
    let seen = client.len().min(10).min(len.max(0) as usize);
    (10..=most).contains(&size)
        && (-1..=CLIENT_MAX).contains(&len)
        && u32::from(len.max(0) as u16) <= size - 10
        && (key != 0 || version >= 3 && (len != 0 || is_bare_produce(version, client)))
        && is_plausible(key, version, correlation, &client[..seen]).is_some()
}

/// After an empty client id.
fn is_bare_produce(version: i16, rest: &[u8]) -> bool {
    let transaction = if version < 9 { [0xff; 2] } else { [0; 2] };
    matches!(rest, [t0, t1, a0, a1, m0, m1, m2, m3, ..]
        if [*t0, *t1] == transaction
            && matches!([*a0, *a1], [0xff, 0xff] | [0, 0 | 1])
            && i32::from_be_bytes([*m0, *m1, *m2, *m3]) > 0)
}

#[cfg(test)]
mod tests {
    use super::is_kafka;

    /// A header of the protocol and what follows it.
    fn request(size: u32, key: i16, version: i16, correlation: i32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = size.to_be_bytes().to_vec();
        bytes.extend(key.to_be_bytes());
        bytes.extend(version.to_be_bytes());
        bytes.extend(correlation.to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn requests_of_all_clients_are_recognised() {
        for (what, bytes) in [
            ("ApiVersions v0 of kafka-go", request(10, 18, 0, 1, b"\0\0")),
            (
                "ApiVersions v3 of librdkafka",
                request(38, 18, 3, 1, b"\0\x07rdkafka\0\x0b"),
            ),
            (
                "Produce v13 of Java",
                request(200, 0, 13, 5, b"\0\x0aproducer-1"),
            ),
            (
                "Produce v8 of kafka-go",
                request(226, 0, 8, 2, b"\0\0\xff\xff\xff\xff\0\0\x13\x87"),
            ),
            (
                "Produce v8, acks 1",
                request(226, 0, 8, 2, b"\0\0\xff\xff\0\x01\0\0\x13\x87"),
            ),
            (
                "Produce v9, acks 0, no client",
                request(226, 0, 9, 2, b"\0\0\0\0\0\0\0\0\x13\x87"),
            ),
            (
                "Produce v7 of 64 MiB",
                request(64 << 20, 0, 7, 2, b"\0\x07kafkajs"),
            ),
            (
                "Fetch v18 of franz-go",
                request(90, 1, 18, 3, b"\0\x03kgo\0"),
            ),
            (
                "Fetch v12 with no client id",
                request(90, 1, 12, 3, b"\xff\xff\0"),
            ),
            (
                "SaslAuthenticate of Java",
                request(90, 36, 2, i32::MAX, b"\0\x0aproducer-1"),
            ),
            (
                "a client's name in UTF-8",
                request(90, 3, 13, 3, "\0\x03\u{e9}a".as_bytes()),
            ),
        ] {
            assert!(is_kafka(&bytes), "{what}");
            assert!(is_kafka(&bytes[..bytes.len().min(24)]), "{what}, cut");
        }
    }

    #[test]
    fn other_protocols_are_not_recognised() {
        for (what, bytes) in [
            ("nothing", &b""[..]),
            ("HTTP/1", b"GET / HTTP/1.1\r\nHost: a\r\n"),
            ("HTTP/1 answer", b"HTTP/1.1 200 OK\r\nServer"),
            ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            (
                "HTTP/2 SETTINGS",
                b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff\0\0\0",
            ),
            (
                "HTTP/2 HEADERS",
                b"\0\0\x2d\x01\x04\0\0\0\x01\x83\x86\x45\x91\x62\x61\xd1\x9f\0\0\0\0\0\0\0",
            ),
            (
                "HTTP/2 DATA of gRPC",
                b"\0\0\x0a\0\0\0\0\0\x01\0\0\0\0\x05\x0a\x03abc\0\0\0\0\0",
            ),
            (
                "HTTP/2 DATA of text",
                b"\0\0\x0a\0\0\0\0\x03\x01hello there, world",
            ),
            ("RESP", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1"),
            ("RESP inline", b"PING\r\nPING\r\nPING\r\nPING"),
            (
                "FastCGI BEGIN_REQUEST",
                b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0\x01\x04\0\x01\x01\x20\0\0",
            ),
            (
                "FastCGI empty STDIN",
                b"\x01\x05\0\x01\0\0\0\0\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0",
            ),
            (
                "FastCGI PARAMS, padded",
                b"\x01\x04\0\x01\0\0\x07\0\0\0\0\0\0\0\0\x01\x05\0\x01\0\0\0\0\0",
            ),
            (
                "FastCGI STDOUT",
                b"\x01\x06\0\x01\0\x51\x07\0Content-type: tex",
            ),
            (
                "TLS ClientHello",
                b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ),
            (
                "TLS data",
                b"\x17\x03\x03\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ),
            ("AMQP 0-9-1", b"AMQP\0\0\x09\x01"),
            (
                "AMQP method",
                b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x28\0\0\0\0\0\0\0\0\xce\x02\0\x01\0",
            ),
            (
                "AMQP method of 256 bytes",
                b"\x01\0\x01\0\0\x01\0\0\x3c\0\x28\0\0\0\x01a\0\0\0\0\0\0\0\0",
            ),
            (
                "AMQP on channel 0",
                b"\x01\0\0\0\0\0\x08\0\x0a\0\x1f\0\0\0\0\0\0\xce\0\0\0\0\0\0",
            ),
            (
                "AMQP header",
                b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\x05\0\0\xce\x03\0",
            ),
            (
                "AMQP body",
                b"\x03\0\x01\0\0\0\x05hello\xce\0\0\0\0\0\0\0\0\0\0\0",
            ),
            ("AMQP heartbeat", b"\x08\0\0\0\0\0\0\xce"),
            (
                "MQTT CONNECT",
                b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04abcd",
            ),
            ("MQTT PUBLISH", b"\x30\x0c\0\x05topicmessage......"),
            ("NATS", b"CONNECT {\"verbose\":false}\r\n"),
            ("PostgreSQL SSLRequest", b"\0\0\0\x08\x04\xd2\x16\x2f"),
            (
                "PostgreSQL startup",
                b"\0\0\0\x54\0\x03\0\0user\0postgres\0datab",
            ),
            (
                "PostgreSQL startup, long user",
                b"\0\0\x01\x54\0\x03\0\0user\0a_very_long_user_name",
            ),
            ("PostgreSQL query", b"Q\0\0\0\x12SELECT 1 AS one;\0"),
            (
                "ZooKeeper connect",
                b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0",
            ),
            (
                "ZooKeeper getData",
                b"\0\0\0\x16\0\0\0\x05\0\0\0\x04\0\0\0\x09/brokers/",
            ),
            ("MySQL query", b"\x09\0\0\0\x03SELECT 1"),
            ("MySQL query, short", b"\x05\0\0\0\x03DO 1"),
            (
                "MongoDB",
                b"\x05\x01\0\0\x07\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\0\0\0",
            ),
            (
                "Memcached",
                b"\x80\0\0\x03\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0abc\0",
            ),
            (
                "Cassandra",
                b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION",
            ),
            ("zeros", &[0; 24]),
            ("ones", &[0xff; 24]),
        ] {
            assert!(!is_kafka(bytes), "{what}");
        }
    }
}
