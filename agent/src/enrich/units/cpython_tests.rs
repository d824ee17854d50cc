//! Tests of `cpython`: every interpreter that is installed here.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use agent_common::abi::{cpython_variant, runtime};

use super::{Refusal, Units, VERSIONS, find};
use crate::enrich::{
    foreign::tests::{TGID, with_traps},
    proc_root::ProcRoot,
};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program that prints a line, and looks at it.
fn look(interpreter: &str, program: &str) -> Result<Units, Refusal> {
    let child = Command::new(interpreter)
        .args(["-uc", program])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Running(child.unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(!line.is_empty(), "{interpreter} ended at once");
    let (root, tgid) = (ProcRoot::live(), child.0.id());
    find(&root, tgid, &root.maps(tgid).unwrap())
}

/// Interpreters of this machine: the distribution's, and those of pyenv.
fn interpreters() -> BTreeSet<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let own = std::fs::read_dir(home.join(".pyenv/versions"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin/python3"));
    own.chain([PathBuf::from("/usr/bin/python3")])
        .filter(|path| path.exists())
        .collect()
}

const WAIT: &str = "import asyncio, time; print(1); time.sleep(60)";

#[test]
fn contexts_of_every_installed_version_are_found() {
    let interpreters = interpreters();
    assert!(!interpreters.is_empty());
    for path in interpreters {
        let path = path.to_str().unwrap();
        let told = Command::new(path)
            .args(["-c", "import sys; print(sys.version_info[1])"])
            .output()
            .unwrap();
        let minor: u32 = String::from_utf8(told.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let found = look(path, WAIT);
        let Some(version) = VERSIONS.iter().find(|version| version.minor == minor) else {
            assert_eq!(found, Err(Refusal::Version), "{path}");
            continue;
        };
        let units = found.expect(path);
        assert_eq!(units.runtime.class, runtime::CPYTHON, "{path}");
        assert_eq!(units.runtime.offsets[1], version.context, "{path}");
        let count = |program| {
            let of_it = units.probes.iter().filter(|probe| probe.program == program);
            of_it
                .map(|probe| probe.offset)
                .collect::<BTreeSet<_>>()
                .len()
        };
        assert_eq!(count("context_made"), 3, "{path}");
        assert_eq!(count("context_copied"), 2, "{path}");
        assert_eq!(count("context_entered"), 0, "{path}");
    }
}

#[test]
fn a_program_without_asyncio_has_no_contexts() {
    let found = look("/usr/bin/python3", "import time; print(1); time.sleep(60)");
    assert_eq!(found, Err(Refusal::WithoutAsyncio));
}

#[test]
fn uvloop_is_recognised_by_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("uvloop");
    std::fs::create_dir(&package).unwrap();
    let library = "/usr/lib/x86_64-linux-gnu/libz.so.1";
    let fake = package.join("loop.cpython-311-x86_64-linux-gnu.so");
    std::fs::copy(library, &fake).unwrap();
    let program = format!(
        "import asyncio, ctypes, time; ctypes.CDLL({:?}); print(1); time.sleep(60)",
        fake.to_str().unwrap()
    );
    let units = look("/usr/bin/python3", &program).unwrap();
    assert_eq!(units.runtime.variant, cpython_variant::UVLOOP);
    assert!(
        units
            .probes
            .iter()
            .any(|probe| probe.program == "context_entered")
    );
}

#[test]
fn what_was_put_under_a_librarys_name_is_not_opened() {
    with_traps("/lib/libpython3.11.so (deleted)", |root| {
        let maps = b"1000-2000 r--p 00000000 08:01 7 /lib/_asyncio.cpython-311.so\n\
            3000-4000 r--p 00000000 08:01 8 /lib/libpython3.11.so (deleted)\n";
        assert_eq!(find(root, TGID, maps), Err(Refusal::Unreadable));
    });
}
