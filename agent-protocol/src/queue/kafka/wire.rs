//! Kafka's primitive types.
//!
//! In: the front of a message. Out: values, and how many bytes they took. Always holds: nothing is allocated by a length or count; what is
//! not there yet is [`Stop::Short`], whatever follows. Refuses: lengths below -1, varints of more than 5 (10) bytes.
//!
//! "Flexible" versions (KIP-482) write lengths as unsigned varints of length + 1, and tagged fields after each structure.

use crate::queue::lane::Step;

/// Why a value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More bytes are needed.
    Short,
    /// No value is written like this.
    Broken,
}

pub(super) type Read<T> = Result<T, Stop>;

/// Reads from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
    pub(super) flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(view: &'a [u8], flexible: bool) -> Self {
        Self {
            rest: view,
            len: view.len(),
            flexible,
        }
    }

    pub(super) fn used(&self) -> usize {
        self.len - self.rest.len()
    }

    pub(super) fn raw(&mut self, len: usize) -> Read<&'a [u8]> {
        let (first, rest) = self.rest.split_at_checked(len).ok_or(Stop::Short)?;
        self.rest = rest;
        Ok(first)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk::<N>().ok_or(Stop::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn i8(&mut self) -> Read<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Read<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Read<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Read<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Read<[u8; 16]> {
        self.array()
    }

    /// An unsigned varint of 32 bits.
    pub(super) fn unsigned(&mut self) -> Read<u32> {
        let value = self.varint(5)?;
        u32::try_from(value).map_err(|_| Stop::Broken)
    }

    /// A zigzag varint of at most `most` bytes (5 for 32 bits, 10 for 64).
    pub(super) fn signed(&mut self, most: usize) -> Read<i64> {
        let value = self.varint(most)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn varint(&mut self, most: usize) -> Read<u64> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().take(most).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < most {
            Stop::Short
        } else {
            Stop::Broken
        })
    }

    /// The length of a string of the old form or of the version's; -1 is null.
    fn string_len(&mut self, flexible: bool) -> Read<i64> {
        let len = if flexible {
            i64::from(self.unsigned()?) - 1
        } else {
            i64::from(self.i16()?)
        };
        if len < -1 { Err(Stop::Broken) } else { Ok(len) }
    }

    /// A string; null is empty.
    pub(super) fn string(&mut self) -> Read<&'a [u8]> {
        let len = self.string_len(self.flexible)?;
        self.raw(len.max(0) as usize)
    }

    /// A string whose length has two bytes in every version: the client's id.
    pub(super) fn old_string(&mut self) -> Read<&'a [u8]> {
        let len = self.string_len(false)?;
        self.raw(len.max(0) as usize)
    }

    /// How many elements an array has, or bytes a `records`; null is 0.
    pub(super) fn count(&mut self) -> Read<u32> {
        if self.flexible {
            return Ok(self.unsigned()?.saturating_sub(1));
        }
        match self.i32()? {
            -1 => Ok(0),
            count => u32::try_from(count).map_err(|_| Stop::Broken),
        }
    }

    /// An array of numbers of 32 bits, past it.
    pub(super) fn numbers(&mut self) -> Read<()> {
        let count = self.count()? as usize;
        self.raw(count.saturating_mul(4)).map(drop)
    }

    /// Tagged fields, given to `field`.
    pub(super) fn each_tag(&mut self, field: &mut dyn FnMut(u32, &'a [u8])) -> Read<()> {
        if self.flexible {
            for _ in 0..self.unsigned()? {
                let tag = self.unsigned()?;
                let len = self.unsigned()?;
                field(tag, self.raw(len as usize)?);
            }
        }
        Ok(())
    }

    /// Tagged fields that nobody asks for.
    pub(super) fn tags(&mut self) -> Read<()> {
        self.each_tag(&mut |_, _| {})
    }
}

/// Reads one element of a message; the state is changed only by what comes after a whole element.
pub(super) fn element<'a, T>(
    view: &'a [u8],
    flexible: bool,
    read: impl FnOnce(&mut Reader<'a>) -> Read<T>,
) -> Result<(T, usize), Step> {
    let mut reader = Reader::new(view, flexible);
    match read(&mut reader) {
        Ok(value) => Ok((value, reader.used())),
        Err(Stop::Short) => Err(Step::More),
        Err(Stop::Broken) => Err(Step::Broken("field")),
    }
}

/// The broker's word for an error code; `None` for 0. Kafka 4.2.1's `Errors`, as far as a put can fail with them.
pub(super) fn error_word(code: i16) -> Option<String> {
    let word = match code {
        0 => return None,
        -1 => "UNKNOWN_SERVER_ERROR",
        2 => "CORRUPT_MESSAGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        10 => "MESSAGE_TOO_LARGE",
        17 => "INVALID_TOPIC_EXCEPTION",
        18 => "RECORD_LIST_TOO_LARGE",
        19 => "NOT_ENOUGH_REPLICAS",
        20 => "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        21 => "INVALID_REQUIRED_ACKS",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        31 => "CLUSTER_AUTHORIZATION_FAILED",
        32 => "INVALID_TIMESTAMP",
        43 => "UNSUPPORTED_FOR_MESSAGE_FORMAT",
        44 => "POLICY_VIOLATION",
        45 => "OUT_OF_ORDER_SEQUENCE_NUMBER",
        46 => "DUPLICATE_SEQUENCE_NUMBER",
        47 => "INVALID_PRODUCER_EPOCH",
        48 => "INVALID_TXN_STATE",
        51 => "CONCURRENT_TRANSACTIONS",
        53 => "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        56 => "KAFKA_STORAGE_ERROR",
        59 => "UNKNOWN_PRODUCER_ID",
        74 => "FENCED_LEADER_EPOCH",
        76 => "UNSUPPORTED_COMPRESSION_TYPE",
        87 => "INVALID_RECORD",
        89 => "THROTTLING_QUOTA_EXCEEDED",
        90 => "PRODUCER_FENCED",
        100 => "UNKNOWN_TOPIC_ID",
        120 => "TRANSACTION_ABORTABLE",
        code => return Some(format!("ERROR_{code}")),
    };
    Some(word.to_owned())
}
