//! Places in a Go program's code for the programs of `agent-ebpf/src/programs/go.rs`.
//!
//! In: the executable. Out: [`Places`]: a program and an offset in the file, each. Always holds: where Go's code begins is proved by the call of
//! `isSystemGoroutine` in `newproc1`, whose distance does not depend on it; all places are calls or conditional jumps. What a goroutine waits
//! for is watched where the program's own code and its modules' ask the runtime to wait, not in the standard library, whose waits pass no work of the
//! program's (net/http's are among the sites); a program with more than [`WAITS_MAX`] such calls is watched in the runtime's functions
//! instead, which costs all of its waits, and not at all when it has conditions, too; net/http's are left out there by the caller's address. Refuses: a call that stands twice in a function in
//! which one is expected.

use std::{collections::BTreeSet, fs::File, ops::Range, os::unix::fs::FileExt};

use object::{Object, ObjectSection, ObjectSegment, elf, read::elf::FileHeader};

use super::{
    code,
    functions::{self, Place},
    packages::{Owner, owner},
};
use crate::enrich::bounded::{Program, SECTION_MAX};

/// Bytes of a function that are looked at; the largest with a place has some 3,000.
const CODE_MAX: u32 = 64 << 10;
/// Bytes of code read at once.
const PIECE: usize = 256 << 10;
/// With cgo, Go's code begins behind C's start-up code in `.text` (0x100 bytes, seen with GNU ld 2.40), on a boundary of 16.
const TEXT_STEP: u64 = 16;
/// How far behind it is looked for.
const TEXT_MAX: u64 = 64 << 10;
/// Calls that wait which get a place of their own. Each is a descriptor of the agent's and delays its end (`attach::user`).
const WAITS_MAX: usize = 16;
/// Functions with code of the program's own, one behind the other, that are taken together are parts; beyond so many the rest is one.
const PARTS_MAX: usize = 4096;

/// A program and the offset of its instruction in the file.
pub(super) type Spot = (&'static str, u64);

/// The places found in a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Where a goroutine is made.
    pub(super) made: Option<Spot>,
    /// Where one may be given work later; none where not all of that is seen.
    pub(super) waits: Option<Vec<Spot>>,
    /// Addresses of net/http's code, where `waits` are in the runtime's functions, which it calls, too.
    pub(super) http_waits: Option<Range<u64>>,
    /// Where net/http hands requests and connections on; empty where not all of it is known.
    pub(super) http: Vec<Spot>,
    /// A module's goroutines read the requests of many connections.
    pub(super) has_loop: bool,
}

/// Where in a function.
enum At {
    /// Where it calls the other one.
    Call,
    /// Where it has found room on the stack.
    Begin,
}

/// Program, function, the function that is called there, where.
type Site = (&'static str, &'static str, &'static str, At);

const SPAWN: Site = (
    "go_spawn",
    "runtime.newproc1",
    "runtime.isSystemGoroutine",
    At::Call,
);
const HTTP: [Site; 4] = [
    (
        "go_write_request",
        "net/http.(*persistConn).writeLoop",
        "net/http.(*Request).write",
        At::Call,
    ),
    (
        "go_round_trip",
        "net/http.(*persistConn).roundTrip",
        "",
        At::Begin,
    ),
    (
        "go_dial",
        "net/http.(*Transport).dialConnFor",
        "",
        At::Begin,
    ),
    (
        "go_queue_dial",
        "net/http.(*Transport).queueForDial",
        "",
        At::Begin,
    ),
];
/// Program, function whose calls are watched, and whether the whole function with the call is: one that waits for a condition
/// looks at a queue, and finds work there without a wait, too.
const WAITS: [(&str, &str, bool); 6] = [
    ("go_receive", "runtime.chanrecv1", false),
    ("go_next", "runtime.chanrecv2", false),
    ("go_select", "runtime.selectgo", false),
    ("go_poll", "runtime.selectnbrecv", false),
    ("go_next", "sync.(*Cond).Wait", true),
    ("go_sleep", "time.Sleep", false),
];

/// What one pass over the table of functions finds. Ranges count from where Go's code begins.
#[derive(Default)]
struct Pass {
    found: Vec<(&'static str, Range<u32>)>,
    /// The code of the program and its modules.
    own: Vec<Range<u32>>,
    /// Beginnings of the functions there, in order.
    begins: Vec<u32>,
    /// net/http's code, with what the linker put into it.
    http: Option<Range<u32>>,
    has_loop: bool,
    has_locked_queue: bool,
}

impl Pass {
    fn visit(&mut self, name: &[u8], range: Range<u32>) {
        match owner(name) {
            Owner::Standard => {
                if name.starts_with(b"net/http.") {
                    let begin = self.http.as_ref().map_or(range.start, |http| http.start);
                    self.http = Some(begin..range.end);
                }
                let sites = HTTP.iter().chain([&SPAWN]);
                let wanted = sites
                    .flat_map(|(_, function, other, _)| [*function, *other])
                    .chain(WAITS.iter().map(|(_, function, _)| *function));
                let known = wanted.into_iter().find(|wanted| wanted.as_bytes() == name);
                self.found.extend(known.map(|known| (known, range)));
                return;
            }
            Owner::Program => {}
            Owner::LockedQueue => self.has_locked_queue = true,
            Owner::Loop => self.has_loop = true,
        }
        self.begins.push(range.start);
        let is_full = self.own.len() >= PARTS_MAX;
        match self.own.last_mut() {
            Some(last) if is_full || last.end == range.start => last.end = range.end,
            _ => self.own.push(range),
        }
    }

    /// net/http's code, if none of the program's own lies in it.
    fn http(&self) -> Option<&Range<u32>> {
        let http = self.http.as_ref()?;
        let is_apart = |own: &Range<u32>| own.end <= http.start || http.end <= own.start;
        self.own.iter().all(is_apart).then_some(http)
    }

    fn range(&self, name: &str) -> Option<&Range<u32>> {
        let found = self.found.iter().find(|(found, _)| *found == name);
        found.map(|(_, range)| range)
    }
}

/// A program whose code begins at `text`.
struct Code<'a> {
    file: &'a File,
    segments: &'a [Segment],
    text: u64,
}

/// What the file has of a segment: its address, and where in the file.
struct Segment {
    address: u64,
    at: u64,
    len: u64,
}

impl Code<'_> {
    /// Address of what is `from` bytes into Go's code.
    fn address(&self, from: u32) -> Option<u64> {
        self.text.checked_add(u64::from(from))
    }

    /// Offset in the file of the byte at an address.
    fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let behind = address.checked_sub(segment.address)?;
            (behind < segment.len)
                .then(|| segment.at.checked_add(behind))
                .flatten()
        })
    }

    /// The function's first bytes, their address, and their offset in the file.
    fn function(&self, range: &Range<u32>) -> Option<(Vec<u8>, u64, u64)> {
        let begin = self.address(range.start)?;
        let at = self.file_offset(begin)?;
        let length = range.end.checked_sub(range.start)?.min(CODE_MAX);
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        Some((bytes, begin, at))
    }

    fn spot(&self, pass: &Pass, site: &Site) -> Option<Spot> {
        let (name, function, other, how) = site;
        let (bytes, begin, at) = self.function(pass.range(function)?)?;
        let offset = match how {
            At::Call => {
                let target = self.address(pass.range(other)?.start)?;
                code::only_call(&bytes, begin, target)?
            }
            At::Begin => code::stack_check(&bytes)?,
        };
        Some((*name, at.checked_add(offset as u64)?))
    }

    /// Where the program may wait for work, or where the runtime does for it: whether that.
    fn waits(&self, pass: &Pass) -> Option<(Vec<Spot>, bool)> {
        let mut targets = Vec::new();
        for (program, function, is_whole) in WAITS {
            // A function that the program does not have is not waited in.
            if let Some(range) = pass.range(function) {
                targets.push((program, self.address(range.start)?, is_whole, range));
            }
        }
        let mut spots = Vec::new();
        let mut waiting = BTreeSet::new();
        // A table may name the same code many times.
        let own = pass.own.iter().map(|own| u64::from(own.end - own.start));
        if own.sum::<u64>() > SECTION_MAX {
            return None;
        }
        for range in &pass.own {
            self.calls(range, &mut |from, target| {
                let Some((program, _, is_whole, _)) =
                    targets.iter().find(|(_, address, ..)| *address == target)
                else {
                    return true;
                };
                if *is_whole {
                    waiting.insert((*program, from));
                } else {
                    spots.push((*program, from));
                }
                spots.len() + waiting.len() <= WAITS_MAX
            })?;
        }
        let mut whole = BTreeSet::new();
        for (program, from) in waiting {
            let index = pass.begins.partition_point(|begin| *begin <= from);
            whole.insert((program, *pass.begins.get(index.checked_sub(1)?)?));
        }
        if spots.len() + whole.len() > WAITS_MAX {
            // What looks at a queue without a wait is not seen in the runtime.
            if !whole.is_empty() {
                return None;
            }
            let spots: Option<Vec<Spot>> = targets
                .into_iter()
                .map(|(program, _, _, range)| self.begin(program, range.start))
                .collect();
            return Some((spots?, true));
        }
        let at_calls = spots
            .into_iter()
            .map(|(program, from)| Some((program, self.file_offset(self.address(from)?)?)));
        let at_begins = whole
            .into_iter()
            .map(|(program, begin)| self.begin(program, begin));
        let spots: Option<Vec<Spot>> = at_calls.chain(at_begins).collect();
        Some((spots?, false))
    }

    /// Where a function begins, behind its look for room on the stack if it has one.
    fn begin(&self, program: &'static str, begin: u32) -> Option<Spot> {
        /// More than that look takes.
        const LOOK: u32 = 32;
        let (bytes, _, at) = self.function(&(begin..begin.checked_add(LOOK)?))?;
        let offset = code::stack_check(&bytes).unwrap_or(0);
        Some((program, at.checked_add(offset as u64)?))
    }

    /// Gives each call in a part of the code, by its place there and its target, until `on_call` says no.
    fn calls(&self, range: &Range<u32>, on_call: &mut dyn FnMut(u32, u64) -> bool) -> Option<()> {
        let mut piece = vec![0; PIECE];
        let mut begin = range.start;
        while begin < range.end {
            let want = usize::try_from(range.end - begin).ok()?.min(PIECE);
            let address = self.address(begin)?;
            let bytes = piece.get_mut(..want)?;
            let at = self.file_offset(address)?;
            self.file.read_exact_at(bytes, at).ok()?;
            for (offset, target) in code::calls(bytes, address) {
                if !on_call(begin.checked_add(offset as u32)?, target) {
                    return Some(());
                }
            }
            // A call may lie across two pieces.
            let next = begin.checked_add(want as u32)?;
            begin = if next < range.end {
                next - (code::CALL_LEN as u32 - 1)
            } else {
                next
            };
        }
        Some(())
    }
}

/// Place in the file of the section `name`, and its address.
pub(super) fn section(program: &Program<'_>, name: &str) -> Option<(Place, u64)> {
    let section = program.section_by_name(name)?;
    let (at, len) = section.file_range()?;
    Some((Place { at, len }, section.address()))
}

/// The table of functions: a section of its own, or up to 1.25 in position-independent programs part of another one.
fn table(file: &File, program: &Program<'_>) -> Option<Place> {
    [".gopclntab", ".data.rel.ro.gopclntab"]
        .iter()
        .find_map(|name| section(program, name))
        .map(|(place, _)| place)
        .or_else(|| {
            let (place, _) = section(program, ".data.rel.ro")?;
            functions::search(file, place)
        })
}

/// The places of a program. None where its code was not found.
pub(super) fn find(file: &File, program: &Program<'_>) -> Option<Places> {
    let mut pass = Pass::default();
    let header_text = functions::each(file, table(file, program)?, |name, range| {
        pass.visit(name, range);
    })?;
    let (_, section_text) = section(program, ".text")?;
    let steps = (0..TEXT_MAX).step_by(TEXT_STEP as usize);
    let mut texts = std::iter::once(header_text)
        .filter(|text| *text != 0)
        .chain(steps.filter_map(|step| section_text.checked_add(step)));
    let segments: Vec<Segment> = program
        .segments()
        .map(|segment| {
            let (at, len) = segment.file_range();
            let address = segment.address();
            Segment { address, at, len }
        })
        .collect();
    // All Go programs make goroutines: where that is found, the beginning of the code is right.
    let (code, made) = texts.find_map(|text| {
        let code = Code {
            file,
            segments: &segments,
            text,
        };
        let made = code.spot(&pass, &SPAWN)?;
        Some((code, made))
    })?;
    let http: Vec<Spot> = HTTP
        .iter()
        .filter_map(|site| code.spot(&pass, site))
        .collect();
    let waits = code.waits(&pass).filter(|_| !pass.has_locked_queue);
    // A position-independent program's addresses are its process'.
    let is_fixed = program.elf_header().e_type(program.endian()) == elf::ET_EXEC;
    let http_waits = pass
        .http()
        .filter(|_| is_fixed && waits.as_ref().is_some_and(|(_, in_runtime)| *in_runtime))
        .and_then(|http| Some(code.address(http.start)?..code.address(http.end)?));
    Some(Places {
        made: Some(made),
        waits: waits.map(|(spots, _)| spots),
        http_waits,
        http: if http.len() == HTTP.len() {
            http
        } else {
            Vec::new()
        },
        has_loop: pass.has_loop,
    })
}
