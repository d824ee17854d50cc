//! Where functions are, by Go's own table of them (`.gopclntab`), which a stripped program has, too: its tracebacks need it.
//!
//! In: the table's bytes. Out: each function's name and the range of its code, counted from where Go's code begins. Always holds: the layout is
//! that of Go 1.18 and later (cmd/link/internal/ld/pcln.go, runtime/symtab.go: `pcHeader`, `functab`, `_func`); at most [`FUNCTIONS_MAX`]
//! functions and [`READ_MAX`] bytes are read, in pieces, whatever the file claims. Refuses: other pointer sizes and byte orders.

use std::{fs::File, ops::Range, os::unix::fs::FileExt};

use crate::enrich::bounded::SECTION_MAX;

/// Functions of one program that are looked at; Kubernetes' largest has 120,000.
const FUNCTIONS_MAX: u64 = 1 << 20;
/// Bytes read at once.
const PIECE: usize = 64 << 10;
/// Bytes read of one table: it is read once in order, names with some going back.
const READ_MAX: u64 = SECTION_MAX;
/// Bytes of a name that are told.
const NAME_MAX: usize = 64;

/// First bytes: a magic number (1.18, 1.20), two zeros, instructions of one byte, pointers of eight.
pub(super) const HEADS: [[u8; 8]; 2] = [
    [0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8],
    [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8],
];

/// The table's place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) len: u64,
}

/// A piece of the table that was read.
struct Window<'a> {
    file: &'a File,
    place: Place,
    at: u64,
    piece: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a File, place: Place) -> Self {
        Self {
            file,
            place,
            at: 0,
            piece: Vec::new(),
        }
    }

    /// Bytes from `at` on: `len`, or fewer at the table's end. `left` is how many may still be read.
    fn bytes(&mut self, at: u64, len: usize, left: &mut u64) -> Option<&[u8]> {
        let behind = self.place.len.checked_sub(at)?;
        let len = len.min(usize::try_from(behind).unwrap_or(usize::MAX));
        let begin = at
            .checked_sub(self.at)
            .and_then(|n| usize::try_from(n).ok());
        let held = begin.filter(|begin| {
            begin
                .checked_add(len)
                .is_some_and(|end| end <= self.piece.len())
        });
        let begin = match held {
            Some(begin) => begin,
            None => {
                let size = PIECE.min(usize::try_from(behind).unwrap_or(PIECE));
                *left = left.checked_sub(size as u64)?;
                self.piece.resize(size, 0);
                let from = self.place.at.checked_add(at)?;
                self.file.read_exact_at(&mut self.piece, from).ok()?;
                self.at = at;
                0
            }
        };
        self.piece.get(begin..begin.checked_add(len)?)
    }

    fn u32(&mut self, at: u64, left: &mut u64) -> Option<u32> {
        let bytes = self.bytes(at, 4, left)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn u64(&mut self, at: u64, left: &mut u64) -> Option<u64> {
        let bytes = self.bytes(at, 8, left)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// Looks for the table in a section that it is part of: by its head, and by places of its parts that fit.
pub(super) fn search(file: &File, section: Place) -> Option<Place> {
    /// The linker puts it on a boundary of 32, of which a section that moved keeps 16.
    const ALIGN: usize = 16;
    let mut left = READ_MAX;
    let mut window = Window::new(file, section);
    let mut at = 0;
    while at < section.len {
        // A whole piece is read from here; the next begins behind it.
        let piece = window.bytes(at, PIECE, &mut left)?;
        let heads = piece.chunks_exact(ALIGN).enumerate();
        let found: Vec<usize> = heads
            .filter(|(_, chunk)| HEADS.iter().any(|head| chunk.starts_with(head)))
            .map(|(index, _)| index * ALIGN)
            .collect();
        for begin in found {
            let begin = at + begin as u64;
            let place = Place {
                at: section.at.checked_add(begin)?,
                len: section.len - begin,
            };
            if fits(file, place) {
                return Some(place);
            }
        }
        at += PIECE as u64;
    }
    None
}

/// Whether the parts that a header names lie in order inside of the table.
fn fits(file: &File, place: Place) -> bool {
    /// What the header has before the places of its parts: head, functions, files, beginning of the code.
    const BEFORE: u64 = 8 + 3 * 8;
    let mut left = PIECE as u64;
    let mut window = Window::new(file, place);
    let mut last = BEFORE;
    (0..5).all(|index| {
        let part = window.u64(BEFORE + index * 8, &mut left).unwrap_or(0);
        let fits = part > last && part < place.len;
        last = part;
        fits
    })
}

/// Goes through the functions of the table at `place`, in the order of their code: each one's name, at most its first [`NAME_MAX`] bytes,
/// and its code, counted from where Go's code begins. Returns where that is as the header has it: 0 in position-independent programs,
/// and from 1.26 on.
pub(super) fn each(
    file: &File,
    place: Place,
    mut visit: impl FnMut(&[u8], Range<u32>),
) -> Option<u64> {
    let mut left = READ_MAX;
    let left = &mut left;
    let mut header = Window::new(file, place);
    if !HEADS
        .iter()
        .any(|head| header.bytes(0, 8, left) == Some(head))
    {
        return None;
    }
    let mut word = |index: u64| header.u64(8 + index * 8, left);
    let (count, text) = (word(0)?, word(2)?);
    let (names_at, functions_at) = (word(3)?, word(7)?);
    if count > FUNCTIONS_MAX || names_at > place.len || functions_at > place.len {
        return None;
    }
    // Each of the three lies in order in its own part of the table.
    let (mut entries, mut functions, mut names) = (
        Window::new(file, place),
        Window::new(file, place),
        Window::new(file, place),
    );
    for index in 0..count {
        // `functab` is {entry, place of the function's record}, one for each, and an entry more that ends the last.
        let entry = functions_at + index * 8;
        let begin = entries.u32(entry, left)?;
        let record = functions_at.checked_add(u64::from(entries.u32(entry + 4, left)?))?;
        let end = entries.u32(entry + 8, left)?;
        // `_func` is {entry, place of its name, …}.
        let name = functions.u32(record.checked_add(4)?, left)?;
        let name = names.bytes(names_at.checked_add(u64::from(name))?, NAME_MAX, left)?;
        let length = name.iter().position(|byte| *byte == 0);
        if let Some(name) = name.get(..length.unwrap_or(name.len()))
            && begin < end
        {
            visit(name, begin..end);
        }
    }
    Some(text)
}
