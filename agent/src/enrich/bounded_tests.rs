//! Tests of `bounded`: files that claim more than they should. Everything that looks into ELF files looks into them.

use std::{fs::File, io::Write, path::Path};

use super::{HELD_MAX, SYMBOL, SYMBOLS_MAX, sections, symbols};
use crate::enrich::{
    elf::ElfMarks,
    units::{go::GoFacts, haproxy, node, tokio::TokioFacts},
};

/// Bytes of a section's header.
const HEADER: usize = 64;

/// An ELF file of 64 bits with these sections: name, type, place, size. `count` is the number of sections that it claims,
/// if it is not theirs; `claimed` are the bytes of the file.
fn elf(list: &[(&str, u32, u64, u64)], count: u64, claimed: u64) -> File {
    let mut names = vec![0];
    let mut headers = vec![0; HEADER];
    // The first has the number of sections where it is too large for the file's header.
    let count = count.max(list.len() as u64 + 2);
    headers[32..40].copy_from_slice(&count.to_le_bytes());
    let mut add = |name: &str, kind: u32, at: u64, size: u64, link: u32| {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&(names.len() as u32).to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&at.to_le_bytes());
        header[32..40].copy_from_slice(&size.to_le_bytes());
        header[40..44].copy_from_slice(&link.to_le_bytes());
        header[56..64].copy_from_slice(&(SYMBOL as u64).to_le_bytes());
        headers.extend(header);
        names.extend(name.as_bytes());
        names.push(0);
    };
    add(".shstrtab", 3, 64, 512, 0);
    for (index, (name, kind, at, size)) in list.iter().enumerate() {
        // The names of a table of symbols are in the section behind it.
        add(name, *kind, *at, *size, index as u32 + 3);
    }
    names.resize(512, 0);
    let mut head = vec![0; 64];
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    head[16] = 3;
    head[18] = 62;
    head[20] = 1;
    head[40..48].copy_from_slice(&576_u64.to_le_bytes());
    head[52] = 64;
    head[54] = 56;
    head[58] = 64;
    head[62] = 1;
    let mut file = tempfile::tempfile().unwrap();
    for bytes in [&head, &names, &headers] {
        file.write_all(bytes).unwrap();
    }
    file.set_len(claimed).unwrap();
    file
}

/// Largest memory this process had, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let word = line.unwrap().split_whitespace().nth(1).unwrap();
    word.parse::<u64>().unwrap() << 10
}

/// Time that this thread was at work, s.
fn worked() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the kernel to write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec
}

/// Lets everything look into the file: nothing is found, nothing takes long, and nothing much memory.
fn look(file: &File, what: &str) {
    let (begun, before) = (worked(), peak());
    let path = super::super::foreign::by_descriptor(file);
    let mut marks = ElfMarks::default();
    assert!(!marks.is_go(&path).unwrap(), "{what}");
    let _ = marks.marks(&path);
    assert_eq!(node::places(file), None, "{what}");
    assert!(TokioFacts::read(file).unwrap().limit().is_some(), "{what}");
    let _ = GoFacts::read(file);
    assert_eq!(haproxy::find(&path, b""), None, "{what}");
    let took = worked() - begun;
    assert!(took < 20, "{what}: {took} s, not optimised");
    // What is held for one reader, and for a table of names beside it.
    assert!(
        peak() - before <= 3 * HELD_MAX,
        "{what}: {} bytes",
        peak() - before
    );
}

#[test]
fn a_file_that_claims_much_costs_little() {
    const TERABYTE: u64 = 1 << 40;
    let claims = |symbols: u64, names: u64| {
        let list = [
            (".symtab", 2, 1 << 20, symbols),
            (".strtab", 3, (1 << 20) + symbols, names),
            (".dynsym", 11, 1 << 20, symbols),
            (".dynstr", 3, (1 << 20) + symbols, names),
            (".rodata", 1, 1 << 20, symbols),
        ];
        elf(&list, 0, TERABYTE)
    };
    let whole = |count: u64| count / 24 * 24;
    look(
        &claims(whole(TERABYTE / 4), TERABYTE / 4),
        "all of a terabyte",
    );
    look(&claims(240, TERABYTE / 4), "names");
    look(&claims(whole(TERABYTE / 4), 64), "symbols");
    look(
        &claims(whole(HELD_MAX - 4096), HELD_MAX),
        "as much as may be",
    );
    look(&elf(&[], 1 << 33, TERABYTE), "sections");
    look(&elf(&[], 1 << 19, TERABYTE), "sections, as many as may be");
}

#[test]
fn a_table_of_symbols_is_read_as_far_as_the_limits_go() {
    let mut file = tempfile::tempfile().unwrap();
    let mut bytes = b"\0one\0two\0".to_vec();
    bytes.resize(32, 0);
    for (name, info, address) in [(1_u32, 2, 0x10_u64), (5, 0x12, 0x20), (4, 0, 0), (99, 0, 1)] {
        bytes.extend(name.to_le_bytes());
        bytes.extend([info, 0, 0, 0]);
        bytes.extend(address.to_le_bytes());
        bytes.extend(7_u64.to_le_bytes());
    }
    file.write_all(&bytes).unwrap();
    let read = |table: (u64, u64), names: (u64, u64)| {
        let mut found = Vec::new();
        symbols(&file, table, names, |symbol| {
            let name = String::from_utf8_lossy(symbol.name).into_owned();
            found.push((
                name,
                symbol.kind.0 | symbol.bind.0 << 4,
                symbol.address,
                symbol.size,
            ));
        })?;
        Some(found)
    };
    let row = |name: &str, info, address| (name.to_owned(), info, address, 7);
    let expect = vec![
        row("one", 2, 0x10),
        row("two", 0x12, 0x20),
        row("", 0, 0),
        row("", 0, 1),
    ];
    assert_eq!(read((32, 96), (0, 9)), Some(expect));
    assert_eq!(read((32, 120), (0, 9)), None);
    assert_eq!(read((32, 96), (u64::MAX, 9)), None);
    file.set_len(1 << 40).unwrap();
    assert_eq!(read((32, (SYMBOLS_MAX + 1) * 24), (0, 9)), None);
    assert_eq!(read((32, 96), (0, HELD_MAX + 1)), None);
}

#[test]
fn sections_are_listed_from_the_headers() {
    let file = elf(&[(".a", 1, 1000, 10), (".bss", 8, 0, 10)], 0, 2000);
    let of = |name: &'static [u8]| sections(&file, |found| found == name);
    assert_eq!(of(b".a"), [(1000, 10)]);
    assert_eq!(of(b".bss"), [(0, 0)]);
    assert_eq!(of(b".other"), []);
    assert_eq!(
        sections(&File::open(Path::new("/etc/passwd")).unwrap(), |_| true),
        []
    );
}
