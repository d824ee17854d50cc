//! `cargo xtask vm-test`: the tests that need a kernel, under Debian's kernels 6.1 and 6.12 in QEMU.
//!
//! In: which kernels, and whether only the short set. Out: counts of all kernels together. Always holds: tests are
//! built outside and only run inside; the guest sees this machine's files read-only (`tests/vm/run-in-vm`).
//! Refuses: to count a kernel that could not be had as passed.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::{
    build::{self, OBJECT_VARIABLE},
    counts::{self, Counts},
    process,
    setup::{self, Package, package, program},
    test, toolchain,
};

/// A kernel to test under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// Debian 12's own
    #[value(name = "6.1")]
    V6_1,
    /// The newer one that Debian 12 offers
    #[value(name = "6.12")]
    V6_12,
    /// Both
    #[default]
    All,
}

/// What to run.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Under which kernel
    #[arg(long, value_enum, default_value_t = Kernel::All)]
    kernel: Kernel,
    /// Only the short set: the tests for CI
    #[arg(long)]
    short: bool,
    /// Only tests whose names contain this
    filter: Option<String>,
}

/// Emulation is this many times slower than the machine; tests multiply their patience by it.
const TIME_SCALE: &str = "15";

const NEEDED: &[Package] = &[
    program(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "running other kernels",
    ),
    program(
        "busybox",
        "busybox-static",
        "the virtual machine's first stage",
    ),
    program("cpio", "cpio", "packing the virtual machine's first stage"),
    program("depmod", "kmod", "the virtual machine's modules"),
    program("zstd", "zstd", "unpacking kernels"),
    program("xz", "xz-utils", "unpacking kernels"),
    program("lz4", "lz4", "unpacking kernels"),
    program("python3", "python3", "unpacking kernels"),
    package(
        "busybox-static",
        "the virtual machine's first stage (it must not need libraries)",
    ),
];

/// Does it, and prints the counts.
///
/// # Errors
/// A test failed, or something that is needed could not be had.
pub fn run(options: &Options) -> Result<()> {
    counted(options)?.conclude("vm-test")
}

/// Does it.
///
/// # Errors
/// Something that is needed could not be had. A failed test is no error here, but a count.
pub fn counted(options: &Options) -> Result<Counts> {
    machine()?;
    setup::victims()?;
    let suture = build::all()?;
    let tests = test_programs()?;
    let images = images(options.kernel)?;
    // Side by side: what takes longest in a machine, the verifier, keeps one of its two processors busy.
    std::thread::scope(|scope| {
        let runs: Vec<_> = images
            .iter()
            .map(|(kernel, image)| scope.spawn(|| on(*kernel, image, options, &suture, &tests)))
            .collect();
        let mut sum = Counts::default();
        for run in runs {
            sum += run
                .join()
                .map_err(|_| anyhow!("a thread that ran tests in a virtual machine panicked"))??;
        }
        Ok(sum)
    })
}

/// What a virtual machine needs of this one.
///
/// # Errors
/// It could not be installed.
pub fn machine() -> Result<()> {
    setup::packages(NEEDED)
}

/// The package files of these kernels; downloaded once.
///
/// # Errors
/// One could not be had.
pub fn images(wanted: Kernel) -> Result<Vec<(Kernel, PathBuf)>> {
    let mut images = vec![];
    for (kernel, meta) in [
        (Kernel::V6_1, "linux-image-amd64"),
        (Kernel::V6_12, "linux-image-6.12-amd64"),
    ] {
        if wanted == Kernel::All || wanted == kernel {
            images.push((kernel, image(meta)?));
        }
    }
    Ok(images)
}

/// Runs the tests under one kernel, in each way of seeing bytes.
fn on(
    kernel: Kernel,
    image: &Path,
    options: &Options,
    suture: &Path,
    tests: &[TestProgram],
) -> Result<Counts> {
    let named = kernel.to_possible_value();
    let label = named.map_or_else(String::new, |value| format!("{}: ", value.get_name()));
    let file = image.file_name().unwrap_or_default().to_string_lossy();
    let mut sum = Counts::default();
    for way in ways(kernel, options.short) {
        eprintln!("xtask: under {file}, bytes seen at {way}");
        let counts = counts::run_twice(|names| {
            let script = script(tests, options, names);
            let mut vm = under(image, way, suture, &script);
            vm.env("VM_TIMEOUT", if options.short { "2700" } else { "5400" });
            if options.short {
                vm.env("SUTURE_SHORT", "1");
            }
            counts::run_beside_others(&mut vm, &label)
        })?;
        eprintln!("xtask: under {file}, bytes seen at {way}: {counts}");
        if counts == Counts::default() {
            bail!("no test ran under {}", image.display());
        }
        sum += counts;
    }
    Ok(sum)
}

/// How bytes are seen in the runs under a kernel (`capture.hooks`): both ways that these kernels have, in the short set one for each.
fn ways(kernel: Kernel, is_short: bool) -> &'static [&'static str] {
    match (is_short, kernel) {
        (false, _) => &["functions", "syscalls"],
        (true, Kernel::V6_1) => &["functions"],
        (true, _) => &["syscalls"],
    }
}

/// A test program and the word that its tests' names must have.
struct TestProgram {
    file: PathBuf,
    is_scenarios: bool,
}

/// Builds the test programs of `agent` and `suture-tests`.
fn test_programs() -> Result<Vec<TestProgram>> {
    let mut build = process::cargo();
    build.args([
        "test",
        "--no-run",
        "--package",
        "agent",
        "--package",
        "suture-tests",
        "--message-format",
        "json",
    ]);
    let messages = process::output(build.env(OBJECT_VARIABLE, toolchain::bpf_object()))?;
    let mut programs = vec![];
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let Some(file) = message["executable"]
            .as_str()
            .filter(|_| message["profile"]["test"] == true)
        else {
            continue;
        };
        let is_scenarios = message["target"]["name"] == "scenarios";
        programs.push(TestProgram {
            file: PathBuf::from(file),
            is_scenarios,
        });
    }
    if !programs.iter().any(|program| program.is_scenarios) {
        bail!(
            "the test build has no program `scenarios`; nothing could be tested in the virtual machine"
        );
    }
    Ok(programs)
}

/// The package file of the newest kernel that the meta package `meta` stands for; downloaded once.
fn image(meta: &str) -> Result<PathBuf> {
    // Cloud kernels have all that is tested, and are quicker to fetch and to boot; but they cannot share files by 9p,
    // which is the only way without root.
    let cloud = process::is_root();
    let cache = process::cache_dir().join("kernels");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let version = if meta.contains("6.12") {
        "linux-image-6.12."
    } else {
        "linux-image-6.1."
    };
    if let Some(cached) = cached(&cache, version, cloud)? {
        return Ok(cached);
    }
    if !Path::new("/usr/bin/apt-get").is_file() {
        bail!(
            "no kernel package {version}* in {}, and this is not Debian, so none can be fetched; put Debian's package there",
            cache.display()
        );
    }
    let named = depends(meta).or_else(|| {
        eprintln!("xtask: updating apt's lists, for finding {meta}");
        process::run(process::as_root("apt-get").args(["update", "-qq"])).ok()?;
        depends(meta)
    });
    let Some(mut name) = named else {
        bail!("apt knows no {meta}; is Debian 12's security archive in its sources?");
    };
    if cloud {
        name = name.replace("-amd64", "-cloud-amd64");
    }
    eprintln!("xtask: fetching {name} (apt), for testing under that kernel");
    let mut fetch = process::command("apt-get");
    fetch
        .args(["download", "-qq", "-o", "APT::Sandbox::User=root", &name])
        .current_dir(&cache);
    process::run(&mut fetch)?;
    cached(&cache, version, cloud)?
        .with_context(|| format!("apt-get download left no {name} in {}", cache.display()))
}

/// The real package a kernel's meta package depends on.
fn depends(meta: &str) -> Option<String> {
    let listed = process::probe(process::command("apt-cache").args(["depends", meta]))?;
    listed
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .map(str::to_owned)
}

/// A kernel package that was fetched before; the last by name if there are several.
fn cached(cache: &Path, version: &str, cloud: bool) -> Result<Option<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(cache).with_context(|| format!("cannot read {}", cache.display()))? {
        let path = entry
            .with_context(|| format!("cannot read {}", cache.display()))?
            .path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(version) && name.ends_with(".deb") && name.contains("-cloud-") == cloud
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found.pop())
}

/// What runs inside: the tests that are asked for, or those with these names.
fn script(tests: &[TestProgram], options: &Options, names: &[&str]) -> String {
    let mut script = String::from("rc=0\n");
    for program in tests {
        let filter = match (&options.filter, program.is_scenarios) {
            _ if !names.is_empty() => format!("--exact '{}'", names.join("' '")),
            (Some(filter), _) => format!("'{filter}'"),
            (None, true) if options.short => "vm_".to_owned(),
            (None, true) => String::new(),
            (None, false) => test::KERNEL.to_owned(),
        };
        script.push_str(&format!(
            "{} --test-threads 1 {filter} || rc=1\n",
            program.file.display()
        ));
    }
    script.push_str("exit $rc\n");
    script
}

/// A boot of one kernel that runs `script`, with bytes seen at `way`.
pub fn under(image: &Path, way: &str, suture: &Path, script: &str) -> Command {
    let mut vm = process::command(process::root().join("tests/vm/run-in-vm"));
    let shared: Vec<OsString> = [
        process::target_dir(),
        process::cache_dir(),
        process::cargo_home(),
    ]
    .into_iter()
    .map(PathBuf::into_os_string)
    .collect();
    vm.arg(image)
        .args(["--", "bash", "-c"])
        .arg(script)
        .env("VM_CACHE", process::cache_dir().join("vm"))
        .env("VM_SHARE", shared.join(&OsString::from(":")))
        .env("SUTURE_BIN", suture)
        .env("SUTURE_TEST_HOOKS", way)
        .env("SUTURE_TIME_SCALE", TIME_SCALE);
    if !process::is_root() {
        vm.env("VM_FS", "9p");
    }
    vm
}
