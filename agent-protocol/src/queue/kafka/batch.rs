//! The head of a batch of records (message format 2, KIP-98).
//!
//! In: its 61 bytes. Out: a [`Batch`], and keys of its records that both ends make alike. Always holds: a broker that does not pack the
//! batch anew leaves what keys are made of as it was. Refuses: nothing; whoever reads the records judges the numbers.

use super::wire::{Read, Reader};
use crate::queue::{Key, KeyKind, Keyer};

/// What a batch says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) base_offset: i64,
    pub(super) producer: i64,
    pub(super) is_transactional: bool,
    pub(super) is_control: bool,
    /// The codec of its records, 0 for none.
    pub(super) packing: u8,
    base_sequence: i32,
    pub(super) last_delta: i32,
    pub(super) count: i32,
    /// From the CRC on: the broker keeps these bytes and all that follow them.
    sealed: [u8; 44],
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            base_offset: 0,
            producer: -1,
            is_transactional: false,
            is_control: false,
            packing: 0,
            base_sequence: -1,
            last_delta: 0,
            count: 0,
            sealed: [0; 44],
        }
    }
}

impl Batch {
    /// A record's key that both ends know without the broker's answer. An idempotent producer numbers its records in a partition (with the
    /// CRC, as another cluster may have such a producer too); of any other, the batch's CRC, times and count are as good as its content.
    pub(super) fn key(&self, keyer: &Keyer, topic: &[u8], partition: i32, delta: i32) -> Key {
        let partition = partition.to_be_bytes();
        let delta_bytes = delta.to_be_bytes();
        if self.producer >= 0 && self.base_sequence >= 0 {
            // KIP-98: sequence numbers begin at 0 again after the largest.
            let sequence = self.base_sequence.wrapping_add(delta) & i32::MAX;
            let (crc, producer) = (&self.sealed[..4], &self.sealed[26..36]);
            let sequence = sequence.to_be_bytes();
            return keyer.message_id(&[topic, &partition, producer, &sequence, crc]);
        }
        let mut key = keyer.message_id(&[topic, &partition, &self.sealed, &delta_bytes]);
        key.kind = KeyKind::Payload;
        key
    }
}

/// A batch, the length it says, and its magic number.
pub(super) fn read_batch(reader: &mut Reader<'_>) -> Read<(Batch, i32, i8)> {
    let base_offset = reader.i64()?;
    let len = reader.i32()?;
    reader.i32()?; // The leader's epoch, which the broker writes.
    let magic = reader.i8()?;
    let sealed = *reader.raw(44)?.first_chunk().unwrap_or(&[0; 44]);
    let mut inner = Reader::new(&sealed, false);
    inner.i32()?; // CRC-32C of what follows.
    let attributes = inner.i16()?;
    let last_delta = inner.i32()?;
    inner.raw(16)?; // First and largest timestamp.
    let producer = inner.i64()?;
    inner.i16()?;
    let base_sequence = inner.i32()?;
    let count = inner.i32()?;
    let batch = Batch {
        base_offset,
        producer,
        is_transactional: attributes & 0x10 != 0,
        is_control: attributes & 0x20 != 0,
        packing: (attributes & 7) as u8,
        base_sequence,
        last_delta,
        count,
        sealed,
    };
    Ok((batch, len, magic))
}
