//! Compressed batches: headers cannot be read without their plain bytes.
//!
//! In: the compressed records of one batch, whole. Out: the first `most` plain bytes, or nothing. Always holds: no more than `most` bytes
//! leave it, and what a decoder holds meanwhile ends at the largest block of LZ4 (4 MB, twice) or the window of zstd (8 MB), of which a
//! small batch touches little. Refuses: what does not unpack.

use std::io::Read;

/// Java's snappy-java frames blocks like this; librdkafka and franz-go write one bare block.
const XERIAL: &[u8] = b"\x82SNAPPY\0";

/// `packing` is the codec in a batch's attributes: 1 gzip, 2 snappy, 3 LZ4, 4 Zstandard.
pub(super) fn unpack(packing: u8, packed: &[u8], most: usize) -> Option<Vec<u8>> {
    match packing {
        1 => first_of(flate2::read::MultiGzDecoder::new(packed), most),
        2 => snappy(packed, most),
        3 => first_of(lz4_flex::frame::FrameDecoder::new(packed), most),
        4 => zstd(packed, most),
        _ => None,
    }
}

/// What comes until the end, an error, or `most`.
fn first_of(reader: impl Read, most: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut reader = reader.take(most as u64);
    // What came before an error is still what was sent.
    let _ = reader.read_to_end(&mut plain);
    Some(plain)
}

fn snappy(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let Some(framed) = packed.strip_prefix(XERIAL) else {
        return snappy_block(packed, most);
    };
    // Version and oldest compatible version.
    let mut rest = framed.get(8..)?;
    let mut plain = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let Some(block) = after.get(..u32::from_be_bytes(*len) as usize) else {
            break;
        };
        let Some(part) = snappy_block(block, most - plain.len()) else {
            break;
        };
        plain.extend_from_slice(&part);
        rest = &after[block.len()..];
    }
    Some(plain)
}

/// A block is unpacked whole or not at all.
fn snappy_block(block: &[u8], most: usize) -> Option<Vec<u8>> {
    let len = snap::raw::decompress_len(block).ok()?;
    if len > most {
        return None;
    }
    let mut plain = vec![0; len];
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut plain)
        .ok()?;
    plain.truncate(written);
    Some(plain)
}

/// Largest window that is followed: zstd's own default up to level 19 stays below (RFC 8878 recommends that decoders accept 8 MB).
const WINDOW_MAX: u64 = 8 << 20;

fn zstd(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let decoder =
        ruzstd::decoding::StreamingDecoder::new_with_max_window_size(packed, WINDOW_MAX).ok()?;
    first_of(decoder, most)
}
