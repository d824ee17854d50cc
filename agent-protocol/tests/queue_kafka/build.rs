//! Requests and answers, byte by byte.

/// Message bytes in the old forms of lengths (versions that are not flexible).
#[derive(Clone, Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn i8(mut self, value: i8) -> Self {
        self.0.push(value as u8);
        self
    }

    pub fn i16(mut self, value: i16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i32(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i64(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn string(self, value: &str) -> Self {
        let mut bytes = self.i16(value.len() as i16);
        bytes.0.extend(value.as_bytes());
        bytes
    }

    pub fn field(self, value: &[u8]) -> Self {
        let mut bytes = self.i32(value.len() as i32);
        bytes.0.extend(value);
        bytes
    }

    pub fn varint(mut self, value: i64) -> Self {
        let mut rest = (value << 1 ^ value >> 63) as u64;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    pub fn varfield(self, value: &[u8]) -> Self {
        let mut bytes = self.varint(value.len() as i64);
        bytes.0.extend(value);
        bytes
    }

    /// With its length before it.
    pub fn framed(self) -> Vec<u8> {
        Self::default().field(&self.0).0
    }
}

pub fn request(key: i16, version: i16, correlation: i32) -> Bytes {
    Bytes::default()
        .i16(key)
        .i16(version)
        .i32(correlation)
        .string("client")
}

/// Produce v8 to one partition 0.
pub fn produce(correlation: i32, acks: i16, topic: &str, records: &[u8]) -> Vec<u8> {
    request(0, 8, correlation)
        .i16(-1)
        .i16(acks)
        .i32(30_000)
        .i32(1)
        .string(topic)
        .i32(1)
        .i32(0)
        .field(records)
        .framed()
}

pub fn produced(correlation: i32, topic: &str, error: i16, offset: i64) -> Vec<u8> {
    Bytes::default()
        .i32(correlation)
        .i32(1)
        .string(topic)
        .i32(1)
        .i32(0)
        .i16(error)
        .i64(offset)
        .i64(-1)
        .i64(0)
        .i32(0)
        .i16(-1)
        .i32(0)
        .framed()
}

/// Fetch v11 of one partition 0 from an offset.
pub fn fetch(correlation: i32, topic: &str, offset: i64) -> Vec<u8> {
    request(1, 11, correlation)
        .i32(-1)
        .i32(500)
        .i32(1)
        .i32(1 << 20)
        .i8(0)
        .i32(0)
        .i32(-1)
        .i32(1)
        .string(topic)
        .i32(1)
        .i32(0)
        .i32(-1)
        .i64(offset)
        .i64(-1)
        .i32(1 << 20)
        .i32(0)
        .string("")
        .framed()
}

pub fn fetched(correlation: i32, topic: &str, aborted: &[(i64, i64)], records: &[u8]) -> Vec<u8> {
    let mut bytes = Bytes::default()
        .i32(correlation)
        .i32(0)
        .i16(0)
        .i32(0)
        .i32(1)
        .string(topic)
        .i32(1)
        .i32(0)
        .i16(0)
        .i64(9)
        .i64(9)
        .i64(0)
        .i32(aborted.len() as i32);
    for (producer, first) in aborted {
        bytes = bytes.i64(*producer).i64(*first);
    }
    bytes.i32(-1).field(records).framed()
}

/// A batch: what its head says, and its records or whatever stands for them.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub base: i64,
    pub magic: i8,
    pub attributes: i16,
    pub last_delta: i32,
    pub producer: i64,
    pub sequence: i32,
    pub count: i32,
}

impl Batch {
    pub const fn of(count: i32) -> Self {
        Self {
            base: 0,
            magic: 2,
            attributes: 0,
            last_delta: count - 1,
            producer: -1,
            sequence: -1,
            count,
        }
    }

    pub fn bytes(self, records: &[u8]) -> Vec<u8> {
        let bytes = Bytes::default()
            .i64(self.base)
            .i32(49 + records.len() as i32)
            .i32(0)
            .i8(self.magic)
            .i32(0x1234)
            .i16(self.attributes)
            .i32(self.last_delta)
            .i64(1)
            .i64(2)
            .i64(self.producer)
            .i16(0)
            .i32(self.sequence)
            .i32(self.count);
        [&bytes.0, records].concat()
    }
}

pub fn record(delta: i32, key: &[u8], value: &[u8], headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Bytes::default()
        .i8(0)
        .varint(0)
        .varint(i64::from(delta))
        .varfield(key)
        .varfield(value)
        .varint(headers.len() as i64);
    for (name, value) in headers {
        bytes = bytes.varfield(name.as_bytes()).varfield(value);
    }
    Bytes::default().varfield(&bytes.0).0
}
