//! Compressed batches: headers cannot be read without their plain bytes.
//!
//! In: the compressed records of one batch, whole. Out: the first `most` plain bytes, or nothing. Always holds: no more than `most` bytes
//! leave it, and no decoder holds much more, whatever windows and blocks the batch claims. Refuses: what does not unpack; dictionaries.

use std::io::Read;

/// Java's snappy-java frames blocks like this; librdkafka and franz-go write one bare block.
const XERIAL: &[u8] = b"\x82SNAPPY\0";

/// `packing` is the codec in a batch's attributes: 1 gzip, 2 snappy, 3 LZ4, 4 Zstandard.
pub(super) fn unpack(packing: u8, packed: &[u8], most: usize) -> Option<Vec<u8>> {
    match packing {
        1 => first_of(flate2::read::MultiGzDecoder::new(packed), most),
        2 => snappy(packed, most),
        3 => lz4(packed, most),
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

/// An LZ4 frame. Its blocks are unpacked by themselves: the frame decoder of lz4_flex 0.14 clears two buffers of the claimed block size, and
/// franz-go and kafka-go claim 4 MB. Checksums are not verified, as TCP's and Kafka's are.
fn lz4(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let [0x04, 0x22, 0x4d, 0x18, flags, _, rest @ ..] = packed else {
        return None;
    };
    let has_block_sums = flags & 0x10 != 0;
    let has_size = flags & 0x08 != 0;
    if flags & 0x01 != 0 {
        return None; // A dictionary.
    }
    let mut rest = rest.get(if has_size { 9 } else { 1 }..)?;
    let mut plain = vec![0; most];
    let mut made = 0;
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let word = u32::from_le_bytes(*len);
        let len = (word & 0x7fff_ffff) as usize;
        let Some(block) = after.get(..len).filter(|_| len > 0) else {
            break;
        };
        // A block may go on from the ones before it.
        let (before, output) = plain.split_at_mut(made);
        if word >> 31 == 1 {
            let part = len.min(output.len());
            output[..part].copy_from_slice(&block[..part]);
            made += part;
        } else {
            match lz4_flex::block::decompress_into_with_dict(block, output, before) {
                Ok(part) => made += part,
                Err(_) => break,
            }
        }
        rest = after
            .get(len + if has_block_sums { 4 } else { 0 }..)
            .unwrap_or_default();
    }
    plain.truncate(made);
    Some(plain)
}

/// Largest window that is followed: zstd's own default up to level 19 stays below (RFC 8878 recommends that decoders accept 8 MB).
const WINDOW_MAX: u64 = 8 << 20;

fn zstd(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let decoder =
        ruzstd::decoding::StreamingDecoder::new_with_max_window_size(packed, WINDOW_MAX).ok()?;
    first_of(decoder, most)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use super::unpack;

    #[test]
    fn each_codec_unpacks_up_to_the_bound_and_no_bytes_do_harm() {
        let plain = vec![b'x'; 3000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let snappy = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        let xerial = [
            super::XERIAL,
            &[0, 0, 0, 1, 0, 0, 0, 1],
            &(snappy.len() as u32).to_be_bytes(),
            &snappy,
            &(snappy.len() as u32).to_be_bytes(),
            &snappy,
        ]
        .concat();
        let block = lz4_flex::block::compress(&plain);
        let len = (block.len() as u32).to_le_bytes();
        let raw = [&(0x8000_0003_u32).to_le_bytes()[..], b"raw"].concat();
        let lz4 = [
            b"\x04\x22\x4d\x18\x60\x70\0",
            &len[..],
            &block,
            &raw,
            &[0; 4],
        ]
        .concat();
        let zstd = ruzstd::encoding::compress_to_vec(
            &plain[..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        for (packing, packed, len) in [
            (1, gzip.finish().unwrap(), 3000),
            (2, snappy, 3000),
            (2, xerial, 6000),
            (3, lz4, 3003),
            (4, zstd, 3000),
        ] {
            let whole = unpack(packing, &packed, 64 * 1024).unwrap();
            assert_eq!(whole.len(), len, "codec {packing}");
            assert!(whole.starts_with(&plain));
            for most in [0, 1, 2999, 3001] {
                let first = unpack(packing, &packed, most).unwrap_or_default();
                assert!(first.len() <= most, "codec {packing}, at most {most}");
            }
            for end in 0..packed.len() {
                unpack(packing, &packed[..end], 64 * 1024);
                unpack(packing, &packed[end..], 64 * 1024);
            }
        }
        assert_eq!(unpack(5, b"what is this", 100), None);
    }
}
