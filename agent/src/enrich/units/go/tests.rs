//! Tests of `go`: a real program whole, cut and damaged.

use std::{collections::BTreeSet, fs::File, io::Write};

use proptest::{prelude::any, prop_assert, proptest};

use super::{GoFacts, Looked, Units, functions, go_variant, places::Places, units};

/// Go's own command, which imports net/http.
const GO: &str = "/usr/local/go/bin/go";

fn facts(path: &str) -> GoFacts {
    GoFacts::read(&File::open(path).unwrap()).unwrap()
}

#[test]
fn goes_own_command_has_all_places() {
    let facts = facts(GO);
    assert_eq!(facts.below, Some(8));
    let units = units(&Looked::default(), &facts).unwrap();
    for program in [
        "go_spawn",
        "go_write_request",
        "go_round_trip",
        "go_dial",
        "go_queue_dial",
    ] {
        let times = units.probes.iter().filter(|probe| probe.program == program);
        assert_eq!(times.count(), 1, "{program}");
    }
}

#[test]
fn what_is_no_go_program_has_no_places() {
    for path in ["/bin/sh", "/etc/passwd"] {
        let facts = facts(path);
        assert_eq!(facts.places, Places::default(), "{path}");
        assert_eq!(facts.minor, None, "{path}");
    }
}

#[test]
fn what_is_not_known_of_a_program_is_left_alone() {
    let known = facts(GO);
    let with = |change: fn(&mut GoFacts)| {
        let mut facts = known.clone();
        change(&mut facts);
        units(&Looked::default(), &facts)
    };
    let programs = |units: &Units| -> BTreeSet<&str> {
        units.probes.iter().map(|probe| probe.program).collect()
    };
    let unknown_release = with(|facts| facts.layout = None).unwrap();
    assert_eq!(programs(&unknown_release), BTreeSet::from(["go_spawn"]));
    assert_eq!(unknown_release.runtime.variant, 0);
    let unknown_code = with(|facts| facts.places = Places::default()).unwrap();
    assert_eq!(unknown_code.probes, []);
    assert_eq!(unknown_code.runtime.variant, 0);
    let unseen_queue = with(|facts| facts.places.waits = None).unwrap();
    assert_eq!(programs(&unseen_queue).len(), 5);
    assert_eq!(unseen_queue.runtime.variant, go_variant::FOLLOWED);
    assert_eq!(unseen_queue.runtime.offsets[2], 0);
    assert_eq!(with(|facts| facts.places.has_loop = true), None);
    assert_eq!(with(|facts| facts.below = None), None);
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

#[test]
fn functions_are_told_with_names_and_code() {
    let bytes = small_table();
    let place = functions::Place {
        at: 0,
        len: bytes.len() as u64,
    };
    let mut told = Vec::new();
    let text = functions::each(&file_of(&bytes), place, |name, code| {
        told.push((String::from_utf8(name.to_vec()).unwrap(), code));
    });
    assert_eq!(text, Some(0x1000));
    let expect = [("a", 0x10..0x20), ("b", 0x20..0x30), ("c", 0x30..0x48)];
    assert_eq!(told, expect.map(|(name, code)| (name.to_owned(), code)));
}

#[test]
fn a_table_inside_of_a_section_is_found_where_its_parts_fit() {
    let mut bytes = vec![0; 0x200];
    // A head alone is no table.
    bytes[0x40..0x48].copy_from_slice(&functions::HEADS[0]);
    bytes[0x100..0x100 + small_table().len()].copy_from_slice(&small_table());
    let section = functions::Place { at: 0, len: 0x200 };
    let expect = functions::Place {
        at: 0x100,
        len: 0x100,
    };
    assert_eq!(functions::search(&file_of(&bytes), section), Some(expect));
    assert_eq!(functions::search(&file_of(&bytes[..0x100]), section), None);
}

proptest! {
    #[test]
    fn damaged_tables_are_read_without_harm(
        changes in proptest::collection::vec((0usize..160, any::<u8>()), 0..12),
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
        let mut is_ordered = true;
        functions::each(&file, place, |_, code| is_ordered &= code.start < code.end);
        prop_assert!(is_ordered);
        functions::search(&file, place);
        // A place beyond the file's end is refused, not read.
        functions::each(&file, functions::Place { at: 0, len: u64::MAX }, |_, _| {});
    }
}
