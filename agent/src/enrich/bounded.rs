//! ELF files, read so that no file can cost much, whatever it claims.
//!
//! In: a file, which anybody may have made. Out: its parts, to `object`'s parsers or to a visitor. Always holds: what a file claims of itself is compared
//! with the limits below before memory is taken for it; they are here, once. Refuses: what is larger; such a file is not known.

use std::{cell::Cell, fs::File, ops::Range, os::unix::fs::FileExt};

use object::{
    Endianness, ReadCache, ReadRef, elf,
    read::elf::{ElfFile64, FileHeader, SectionHeader},
};

/// Most bytes of a section that are gone through, in pieces: a third of a second. Code and tables of the largest programs have some 200 MB.
pub const SECTION_MAX: u64 = 512 << 20;
/// Most bytes kept of a file while it is looked into: headers, tables of symbols, names. The service may have 256 MiB (packaging/suture.service); 2.7 million
/// symbols fit, Node.js 24 has 146,000.
pub const HELD_MAX: u64 = 64 << 20;
/// Most symbols gone through.
const SYMBOLS_MAX: u64 = 4 << 20;
/// Longest name of a symbol, bytes; `object` has the same limit.
const NAME_MAX: usize = 4096;
/// What a name that was read costs beside its bytes.
const NAME_COST: u64 = 64;
/// Bytes of an entry of a symbol table (`Elf64_Sym`: name, info, other, section; value; size).
const SYMBOL: usize = 24;
/// Bytes of a symbol table read at once, a multiple of [`SYMBOL`].
const PIECE: usize = SYMBOL << 14;

/// A file for `object`'s parsers.
#[derive(Debug)]
pub struct Bounded<'f> {
    cache: ReadCache<&'f File>,
    left: Cell<u64>,
}

impl<'f> Bounded<'f> {
    /// The whole file.
    pub fn new(file: &'f File) -> Self {
        Self {
            cache: ReadCache::new(file),
            left: Cell::new(HELD_MAX),
        }
    }

    fn take(&self, size: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        Ok(())
    }
}

impl<'a> ReadRef<'a> for &'a Bounded<'_> {
    fn len(self) -> Result<u64, ()> {
        (&self.cache).len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.take(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.take(NAME_COST)?;
        let found = self.cache.read_bytes_at_until(range, delimiter)?;
        self.take(found.len() as u64)?;
        Ok(found)
    }
}

/// A program of 64 bits.
pub type Program<'a> = ElfFile64<'a, Endianness, &'a Bounded<'a>>;

/// Place and size of the sections with a name that is wanted; a section without bytes in the file still is there. None in a file that is no ELF or a damaged one.
pub fn sections(file: &File, wanted: impl Fn(&[u8]) -> bool) -> Vec<(u64, u64)> {
    let data = Bounded::new(file);
    listed::<elf::FileHeader64<Endianness>>(&data, &wanted)
        .or_else(|| listed::<elf::FileHeader32<Endianness>>(&data, &wanted))
        .unwrap_or_default()
}

/// From the headers alone: a parser of whole files reads all symbols.
fn listed<E: FileHeader<Endian = Endianness>>(
    data: &Bounded<'_>,
    wanted: &impl Fn(&[u8]) -> bool,
) -> Option<Vec<(u64, u64)>> {
    let header = E::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let found = sections
        .iter()
        .filter(|section| sections.section_name(endian, section).is_ok_and(wanted))
        .map(|section| section.file_range(endian).unwrap_or_default());
    Some(found.take(SECTIONS_MAX).collect())
}

/// Sections of one name; a program has one.
const SECTIONS_MAX: usize = 4;

/// A symbol.
#[derive(Clone, Copy, Debug)]
pub struct Symbol<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What it is.
    pub kind: elf::SymbolType,
    /// Whether others may link to it.
    pub bind: elf::SymbolBind,
    /// Its address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// Shows each symbol of a table at `symbols` (place and size), whose names are at `names`. None if the file cannot be read or goes beyond the limits.
pub fn symbols(
    file: &File,
    symbols: (u64, u64),
    names: (u64, u64),
    mut visit: impl FnMut(Symbol<'_>),
) -> Option<()> {
    let ((mut at, mut left), (names_at, names_len)) = (symbols, names);
    let end = file.metadata().ok()?.len();
    let is_inside = |(at, len): (u64, u64)| at.checked_add(len).is_some_and(|last| last <= end);
    if left / SYMBOL as u64 > SYMBOLS_MAX
        || names_len > HELD_MAX
        || !is_inside(symbols)
        || !is_inside(names)
    {
        return None;
    }
    let mut texts = vec![0; usize::try_from(names_len).ok()?];
    file.read_exact_at(&mut texts, names_at).ok()?;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let room = piece.get_mut(..want)?;
        file.read_exact_at(room, at).ok()?;
        for entry in room.chunks_exact(SYMBOL) {
            let word = |at: usize| Some(u64::from_le_bytes(*entry.get(at..)?.first_chunk()?));
            let name = usize::try_from(word(0)? & 0xffff_ffff).ok()?;
            let info = *entry.get(4)?;
            let rest = texts.get(name..).unwrap_or_default();
            let rest = rest.get(..NAME_MAX).unwrap_or(rest);
            visit(Symbol {
                name: memchr::memchr(0, rest)
                    .and_then(|end| rest.get(..end))
                    .unwrap_or_default(),
                kind: elf::SymbolType(info & 0xf),
                bind: elf::SymbolBind(info >> 4),
                address: word(8)?,
                size: word(16)?,
            });
        }
        at += want as u64;
        left -= want as u64;
    }
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
#[path = "bounded_tests.rs"]
mod tests;
