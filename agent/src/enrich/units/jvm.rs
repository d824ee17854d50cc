//! What a JVM tells debuggers of its own structs.
//!
//! In: a process that has loaded libjvm.so, its memory. Out: offsets and addresses of fields by name, flags. Always holds: the library exports
//! tables of its fields (`gHotSpotVMStructs`; src/hotspot/share/runtime/vmStructs.hpp) and how a row of them is laid out, for the serviceability agent, in
//! stripped builds too. Refuses: tables without an end.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt};

use object::{Object, ObjectSymbol};

use crate::enrich::{
    bounded::{Bounded, Program},
    foreign,
    proc_root::ProcRoot,
};

/// The types of which fields are kept.
const TYPES: &[&str] = &[
    "Abstract_VM_Version",
    "CollectedHeap",
    "JVMFlag",
    "JavaThread",
    "OSThread",
    "Thread",
    "ThreadsList",
    "ThreadsSMRSupport",
    "Universe",
];
/// Rows at most (21 has 813).
const ROWS_MAX: u64 = 8_192;
/// Longest name looked at.
const NAME: usize = 48;
/// `sizeof(JVMFlag)`: two pointers, two ints (src/hotspot/share/runtime/flags/jvmFlag.hpp).
const FLAG: u64 = 24;
/// Flags at most (25 has some 1,300).
const FLAGS_MAX: u64 = 8_192;

/// A field: of each object, at an offset; or of the type, at an address.
#[derive(Clone, Copy)]
enum Field {
    Offset(u64),
    Address(u64),
}

/// The tables of one process.
pub(super) struct Structs {
    memory: File,
    fields: HashMap<(&'static str, String), Field>,
}

impl Structs {
    /// Reads them. `maps` is `/proc/PID/maps`.
    ///
    /// # Errors
    /// Whether the library has such tables.
    pub(super) fn read(
        root: &ProcRoot,
        tgid: u32,
        maps: &[u8],
        memory: File,
    ) -> Result<Self, bool> {
        let (start, end, path) = library(maps).ok_or(false)?;
        let (file, _) = foreign::mapped(root, tgid, (start, end), path).map_err(|_| false)?;
        let symbols = symbols(&file).ok_or(false)?;
        let mut structs = Structs {
            memory,
            fields: HashMap::new(),
        };
        let exported = |name: &str| {
            let address = symbols.get(&format!("gHotSpotVMStruct{name}"))?;
            structs.word(start.wrapping_add(*address))
        };
        let row = |name: &str| exported(&format!("Entry{name}"));
        let table = exported("s").ok_or(false)?;
        let layout = (|| {
            Some(Layout {
                stride: row("ArrayStride").filter(|stride| (40..=256).contains(stride))?,
                type_name: row("TypeNameOffset")?,
                field_name: row("FieldNameOffset")?,
                is_static: row("IsStaticOffset")?,
                offset: row("OffsetOffset")?,
                address: row("AddressOffset")?,
            })
        })()
        .ok_or(true)?;
        structs.fields = structs.rows(table, &layout).ok_or(true)?;
        Ok(structs)
    }

    fn rows(&self, table: u64, layout: &Layout) -> Option<HashMap<(&'static str, String), Field>> {
        let mut fields = HashMap::new();
        for index in 0..ROWS_MAX {
            let row = table + index * layout.stride;
            let name = self.word(row + layout.type_name)?;
            if name == 0 {
                return Some(fields);
            }
            let name = self.text(name)?;
            let Some(of_type) = TYPES.iter().find(|known| **known == name) else {
                continue;
            };
            let field = self.text(self.word(row + layout.field_name)?)?;
            let value = if self.word(row + layout.is_static)? as u32 == 0 {
                Field::Offset(self.word(row + layout.offset)?)
            } else {
                Field::Address(self.word(row + layout.address)?)
            };
            fields.insert((*of_type, field), value);
        }
        None
    }

    fn field(&self, of_type: &'static str, name: &str) -> Option<Field> {
        self.fields.get(&(of_type, name.to_owned())).copied()
    }

    /// Where in an object the field is.
    pub(super) fn offset(&self, of_type: &'static str, name: &str) -> Option<u32> {
        match self.field(of_type, name)? {
            Field::Offset(offset) => u32::try_from(offset).ok(),
            Field::Address(_) => None,
        }
    }

    /// Where the type's own field is.
    pub(super) fn address(&self, of_type: &'static str, name: &str) -> Option<u64> {
        match self.field(of_type, name)? {
            Field::Offset(_) => None,
            Field::Address(address) => Some(address),
        }
    }

    /// The value of a type's own field of 32 bits.
    pub(super) fn constant(&self, of_type: &'static str, name: &str) -> Option<u32> {
        Some(self.word(self.address(of_type, name)?)? as u32)
    }

    /// Whether a flag of the command line, or of the JVM's own choice, is on.
    pub(super) fn is_on(&self, flag: &str) -> bool {
        self.flag(flag).unwrap_or(false)
    }

    fn flag(&self, flag: &str) -> Option<bool> {
        let flags = self.word(self.address("JVMFlag", "flags")?)?;
        let count = self.word(self.address("JVMFlag", "numFlags")?)?;
        let (name, value) = (
            u64::from(self.offset("JVMFlag", "_name")?),
            u64::from(self.offset("JVMFlag", "_addr")?),
        );
        (0..count.min(FLAGS_MAX)).find_map(|index| {
            let row = flags + index * FLAG;
            let is_it = self.text(self.word(row + name)?)? == flag;
            is_it.then(|| Some(self.word(self.word(row + value)?)? as u8 != 0))?
        })
    }

    /// A word of the process' memory.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.memory.read_exact_at(&mut word, address).ok()?;
        Some(u64::from_le_bytes(word))
    }

    /// Words that follow each other.
    pub(super) fn words(&self, address: u64, count: usize) -> Option<Vec<u64>> {
        let mut bytes = vec![0; count * 8];
        self.memory.read_exact_at(&mut bytes, address).ok()?;
        let words = bytes.chunks_exact(8).map(|word| word.try_into().ok());
        words.map(|word| Some(u64::from_le_bytes(word?))).collect()
    }

    /// A name; cut if it is long.
    fn text(&self, address: u64) -> Option<String> {
        let mut bytes = [0; NAME];
        let got = self.memory.read_at(&mut bytes, address).ok()?;
        let end = bytes.iter().take(got).position(|byte| *byte == 0);
        Some(String::from_utf8_lossy(bytes.get(..end.unwrap_or(got))?).into_owned())
    }
}

/// How a row of the table is laid out.
struct Layout {
    stride: u64,
    type_name: u64,
    field_name: u64,
    is_static: u64,
    offset: u64,
    address: u64,
}

/// Where the mapping of the library's beginning begins and ends, and its path. A line is `ADDRESSES PERMS OFFSET DEV INODE PATH` (`man 5 proc_pid_maps`).
fn library(maps: &[u8]) -> Option<(u64, u64, &str)> {
    maps.split(|byte| *byte == b'\n').find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let path = line.get(line.find('/')?..)?;
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let offset = words.nth(1)?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let name = path.strip_suffix(" (deleted)").unwrap_or(path);
        let is_start = name.ends_with("/libjvm.so") && hex(offset) == Some(0);
        is_start.then(|| Some((hex(start)?, hex(end)?, path)))?
    })
}

/// Addresses of the exported symbols that describe the table.
fn symbols(file: &File) -> Option<HashMap<String, u64>> {
    let data = Bounded::new(file);
    let library = Program::parse(&data).ok()?;
    let found = library
        .dynamic_symbols()
        .filter(ObjectSymbol::is_definition)
        .filter_map(|symbol| Some((symbol.name().ok()?, symbol.address())))
        .filter(|(name, _)| name.starts_with("gHotSpotVMStruct"))
        .map(|(name, address)| (name.to_owned(), address))
        .collect();
    Some(found)
}

/// Whether a word may point to a struct.
pub(super) fn is_pointer(word: u64) -> bool {
    word >= 0x1000 && word.is_multiple_of(8) && word >> 47 == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::Structs;
    use crate::enrich::foreign::{
        regular,
        tests::{TGID, with_traps},
    };

    #[test]
    fn what_was_put_under_the_librarys_name_is_not_opened() {
        for name in ["libjvm.so", "libjvm.so (deleted)"] {
            let maps = format!("1000-2000 r-xp 00000000 08:01 7 /opt/java/{name}\n");
            assert_eq!(
                super::library(maps.as_bytes()).map(|(start, ..)| start),
                Some(0x1000)
            );
        }
        with_traps("/opt/java/libjvm.so", |root| {
            let maps = b"1000-2000 r-xp 00000000 08:01 7 /opt/java/libjvm.so\n";
            let memory = regular(&root.file(TGID, "exe")).unwrap();
            assert_eq!(Structs::read(root, TGID, maps, memory).err(), Some(false));
        });
    }
}
