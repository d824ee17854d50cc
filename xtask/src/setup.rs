//! Finds what a verb needs, and installs what is missing.
//!
//! In: what is needed and why. Out: it is there. Always holds: one line on stderr says what is installed and for what;
//! `apt-get update` runs only when a package is missing; what is there already costs a few milliseconds and no network.
//! Refuses: to guess on a system that is not Debian: it says what is needed and stops.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::process;

/// A Debian package, and why a verb needs it.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its name in Debian 12.
    pub name: &'static str,
    /// A program that is as good as the package, wherever it came from; empty where only the package will do.
    pub program: &'static str,
    /// What for, to be read after "for".
    pub why: &'static str,
}

/// A package with its reason.
pub const fn package(name: &'static str, why: &'static str) -> Package {
    Package {
        name,
        program: "",
        why,
    }
}

/// A package that is needed only where its program is not there.
pub const fn program(program: &'static str, name: &'static str, why: &'static str) -> Package {
    Package { name, program, why }
}

/// Which of these are not installed.
fn missing(packages: &[Package]) -> Vec<Package> {
    let absent = |p: &&Package| p.program.is_empty() || process::find_program(p.program).is_none();
    let packages: Vec<Package> = packages.iter().filter(absent).copied().collect();
    if packages.is_empty() {
        return packages;
    }
    let mut query = process::command("dpkg-query");
    query
        .args(["-W", "-f", "${db:Status-Status} ${Package}\n"])
        .args(packages.iter().map(|p| p.name));
    // dpkg-query fails when one of them is unknown, and lists the others all the same.
    let listed = query
        .output()
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        .unwrap_or_default();
    let installed: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .collect();
    packages
        .into_iter()
        .filter(|p| !installed.contains(&p.name))
        .collect()
}

/// Makes sure that these packages are installed.
///
/// # Errors
/// This is not Debian, or apt-get failed.
pub fn packages(packages: &[Package]) -> Result<()> {
    let debian =
        Path::new("/usr/bin/apt-get").is_file() && Path::new("/usr/bin/dpkg-query").is_file();
    if !debian {
        let named: Vec<String> = packages
            .iter()
            .filter(|p| {
                process::find_program(if p.program.is_empty() {
                    p.name
                } else {
                    p.program
                })
                .is_none()
            })
            .map(|p| format!("{} (for {})", p.name, p.why))
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        bail!(
            "this is not Debian, so nothing is installed by itself; please install what these Debian packages hold, then \
             run this again: {}",
            named.join(", ")
        );
    }
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    for p in &missing {
        eprintln!("xtask: installing {} (apt), for {}", p.name, p.why);
    }
    install(&missing)
}

fn install(missing: &[Package]) -> Result<()> {
    // Servers that Debian would start, and start at every boot, are only wanted by tests that start their own.
    let quiet_services = ServicesStayOff::begin();
    process::run(apt().args(["update", "-qq"]))?;
    let done = process::run(
        apt()
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(missing.iter().map(|p| p.name)),
    );
    quiet_services.end(missing);
    done
}

fn apt() -> Command {
    let mut apt = process::as_root("env");
    apt.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    apt
}

/// The hook by which Debian asks the administrator whether a package may start its service
/// (<https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt>).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While it lasts, packages do not start their services.
struct ServicesStayOff {
    ours: bool,
}

impl ServicesStayOff {
    fn begin() -> ServicesStayOff {
        let ours = !Path::new(POLICY).exists()
            && process::run(process::as_root("sh").args([
                "-c",
                &format!("printf '#!/bin/sh\\nexit 101\\n' >{POLICY} && chmod 755 {POLICY}"),
            ]))
            .is_ok();
        ServicesStayOff { ours }
    }

    fn end(self, installed: &[Package]) {
        if self.ours && process::run(process::as_root("rm").args(["-f", POLICY])).is_err() {
            eprintln!(
                "xtask: {POLICY} could not be removed; please remove it, or services will not start after upgrades"
            );
        }
        if !Path::new("/run/systemd/system").is_dir() {
            return;
        }
        for p in installed {
            let unit = match p.name {
                "nginx-light" => "nginx.service",
                "haproxy" => "haproxy.service",
                "libapache2-mod-php" => "apache2.service",
                "php-fpm" => "php8.2-fpm.service",
                "redis-server" => "redis-server.service",
                "postgresql" => "postgresql.service",
                "rabbitmq-server" => "rabbitmq-server.service",
                "mosquitto" => "mosquitto.service",
                "nats-server" => "nats-server.service",
                "cron" => "cron.service",
                _ => continue,
            };
            if process::probe(process::as_root("systemctl").args(["disable", unit])).is_none() {
                eprintln!(
                    "xtask: {unit} is installed and may start at the next boot (`systemctl disable {unit}` prevents it)"
                );
            }
        }
    }
}

/// Makes sure that a program from crates.io is there.
///
/// # Errors
/// `cargo install` failed.
pub fn cargo_install(program: &str, why: &str) -> Result<()> {
    if process::find_program(program).is_some()
        || process::cargo_home().join("bin").join(program).is_file()
    {
        return Ok(());
    }
    eprintln!("xtask: installing {program} (cargo install), for {why}");
    process::run(process::cargo().args(["install", "--quiet", "--locked", program]))
}

/// What the victims of the scenarios are made of.
const VICTIMS: &[Package] = &[
    program("curl", "curl", "the scenarios' requests"),
    program("nginx", "nginx-light", "the scenarios with nginx"),
    program("haproxy", "haproxy", "the tests with haproxy"),
    program("php", "php-cli", "the scenarios with php-fpm"),
    package("php-fpm", "the scenarios with php-fpm"),
    package("php-curl", "the scenarios with php-fpm"),
    program("ruby", "ruby", "the scenarios with WEBrick"),
    package("ruby-webrick", "the scenarios with WEBrick"),
    program("sidekiq", "ruby-sidekiq", "the scenarios with Sidekiq"),
    program("node", "nodejs", "the scenarios with Node"),
    program("npm", "npm", "express, for the scenarios with Node"),
    program(
        "python3",
        "python3",
        "the scenarios with gunicorn, Flask and http.server",
    ),
    program("go", "golang-go", "the scenarios with Go's net/http"),
    program(
        "javac",
        "default-jdk-headless",
        "the scenarios with com.sun.net.httpserver",
    ),
    program(
        "redis-server",
        "redis-server",
        "the scenarios with jobs, and one with a protocol that is not HTTP",
    ),
    program(
        "rabbitmqctl",
        "rabbitmq-server",
        "the scenarios with RabbitMQ",
    ),
    program("mosquitto", "mosquitto", "the scenarios with MQTT"),
    package("postgresql", "the scenarios with tables as queues"),
    program("cron", "cron", "the scenarios with schedulers"),
    program("busybox", "busybox-static", "the scenarios with schedulers"),
    program("mvn", "maven", "ElasticMQ's jars, and Kafka's"),
    program("ip", "iproute2", "the scenarios with network namespaces"),
];

/// What else `cargo xtask accuracy` measures.
const ACCURACY: &[Package] = &[
    package("libapache2-mod-php", "measuring Apache's prefork"),
    program("puma", "puma", "measuring Puma"),
    package("ruby-sinatra", "measuring Puma"),
    program("nats-server", "nats-server", "measuring NATS"),
];

/// Makes sure that the scenarios' real programs are there: Debian's, and those that `tests/victims/setup.sh` builds.
///
/// # Errors
/// Something could not be installed or built.
pub fn victims() -> Result<()> {
    packages(VICTIMS)?;
    // pyenv and the like have a python3 with venv already; Debian's own comes without.
    if process::probe(process::command("python3").args(["-c", "import venv, ensurepip"])).is_none()
    {
        packages(&[package(
            "python3-venv",
            "the scenarios with gunicorn and Flask",
        )])?;
    }
    process::run(process::command("bash").arg("tests/victims/setup.sh"))
}

/// The same, and what only `cargo xtask accuracy` measures.
///
/// # Errors
/// As [`victims`].
pub fn accuracy_victims() -> Result<()> {
    victims()?;
    packages(ACCURACY)?;
    process::run(process::command("bash").args(["tests/victims/setup.sh", "accuracy"]))
}
