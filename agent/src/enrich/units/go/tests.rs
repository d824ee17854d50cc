//! Tests of `go`: a real program whole, cut and damaged.

use std::{fs::File, io::Write};

use proptest::prelude::*;

use super::*;

/// Go's own command, which imports net/http.
const GO: &str = "/usr/local/go/bin/go";

#[test]
fn goes_own_command_has_all_places() {
    let facts = GoFacts::read(&File::open(GO).unwrap()).unwrap();
    assert!(facts.has(Part::Spawn) && facts.has(Part::Http), "{facts:?}");
    assert_eq!(facts.below, Some(8));
    let units = units(Path::new(GO), &facts).unwrap();
    let programs: Vec<&str> = units.probes.iter().map(|probe| probe.program).collect();
    assert_eq!(programs, SITES.map(|site| site.program));
}

#[test]
fn what_is_no_go_program_has_none() {
    for path in ["/bin/sh", "/etc/passwd"] {
        let facts = GoFacts::read(&File::open(path).unwrap()).unwrap();
        assert_eq!(facts.sites, [None; SITES.len()], "{path}");
        assert_eq!(facts.minor, None, "{path}");
    }
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A table of three functions with the names a, b and c, at 0x10, 0x20 and 0x30, the last of which ends at 0x48.
fn small_table() -> Vec<u8> {
    let mut bytes = functions::HEADS[1].to_vec();
    let names = 0x48u64;
    let code = 0x60u64;
    for word in [3, 0, 0x1000, names, names + 6, names + 7, names + 8, code] {
        bytes.extend(u64::to_le_bytes(word));
    }
    bytes.extend(b"a\0b\0c\0");
    bytes.resize(code as usize, 0);
    let records = 7 * 4u32;
    for word in [0x10, records, 0x20, records + 8, 0x30, records + 16, 0x48] {
        bytes.extend(u32::to_le_bytes(word));
    }
    for (entry, name) in [(0x10, 0u32), (0x20, 2), (0x30, 4)] {
        bytes.extend(u32::to_le_bytes(entry));
        bytes.extend(name.to_le_bytes());
    }
    bytes
}

fn look(bytes: &[u8], names: &[&str]) -> Option<functions::Functions> {
    let len = bytes.len() as u64;
    functions::find(&file_of(bytes), functions::Place { at: 0, len }, names)
}

#[test]
fn functions_are_found_by_their_whole_names() {
    let found = look(&small_table(), &["c", "b", "d", "a"]).unwrap();
    assert_eq!(found.text, 0x1000);
    let code = [Some(0x30..0x48), Some(0x20..0x30), None, Some(0x10..0x20)];
    assert_eq!(found.code, code);
}

#[test]
fn a_table_inside_of_a_section_is_found_where_its_parts_fit() {
    let mut bytes = vec![0; 0x200];
    // A head alone is no table.
    bytes[0x40..0x48].copy_from_slice(&functions::HEADS[0]);
    bytes[0x100..0x100 + small_table().len()].copy_from_slice(&small_table());
    let section = functions::Place { at: 0, len: 0x200 };
    let expect = functions::Place { at: 0x100, len: 0x100 };
    assert_eq!(functions::search(&file_of(&bytes), section), Some(expect));
    assert_eq!(functions::search(&file_of(&bytes[..0x100]), section), None);
}

proptest! {
    #[test]
    fn damaged_tables_are_read_without_harm(
        changes in prop::collection::vec((0usize..160, any::<u8>()), 0..12),
        cut in 0usize..160,
    ) {
        let mut bytes = small_table();
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(cut.max(1));
        let len = bytes.len() as u64;
        let place = functions::Place { at: 0, len };
        let file = file_of(&bytes);
        let found = functions::find(&file, place, &["a", "b"]);
        if let Some(found) = found {
            for range in found.code.iter().flatten() {
                prop_assert!(range.start < range.end);
            }
        }
        functions::search(&file, place);
        // A place beyond the file's end is refused, not read.
        functions::find(&file, functions::Place { at: 0, len: u64::MAX }, &["a"]);
    }
}
