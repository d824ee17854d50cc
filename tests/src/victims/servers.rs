//! Servers that `cargo xtask accuracy` measures beside those of the scenarios: haproxy, Apache, Puma, axum.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Serving, Victim, fresh};
use crate::process::{built, free_port, program, source};

/// haproxy in front of `behind`: over a new connection for each request, or over at most `pool` kept ones, for which requests
/// queue.
///
/// # Errors
/// When it is not installed or does not start.
pub fn haproxy(behind: &Victim, pool: Option<u32>) -> Result<Victim> {
    let (port, folder) = fresh()?;
    let (reuse, limit) = match pool {
        None => ("never", String::new()),
        Some(most) => ("always", format!("maxconn {most}")),
    };
    let conf = folder.write(
        "haproxy.cfg",
        format!(
            "global\n  maxconn 2000\n  nbthread 2\n\
             defaults\n  mode http\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n  timeout queue 60s\n\
             frontend front\n  bind 127.0.0.1:{port} backlog 1024\n  default_backend behind\n\
             backend behind\n  http-reuse {reuse}\n  server leaf 127.0.0.1:{} {limit}\n",
            behind.port
        ),
    )?;
    let mut command = Command::new(program(&["haproxy"], "haproxy")?);
    command.arg("-db").arg("-f").arg(conf);
    Victim::start("haproxy", Serving::Proxy, port, &mut command, Some(folder))
}

/// What Apache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apache {
    /// A process for each connection, passing `/leaf/` on (mod_proxy).
    PreforkProxy,
    /// A process for each connection, with the PHP victim inside of it for `/work/` (mod_php).
    PreforkPhp,
    /// A thread for each request, passing `/leaf/` on.
    EventProxy,
}

/// Apache in front of `leaf`.
///
/// # Errors
/// When it is not installed or does not start.
pub fn apache(kind: Apache, leaf: &Victim) -> Result<Victim> {
    const MODULES: &str = "/usr/lib/apache2/modules";
    let (port, folder) = fresh()?;
    let at = folder.path().display().to_string();
    // Apache's processes are www-data's, who may not read a repository under /root.
    for name in ["index.php", "shapes.php"] {
        folder.write(name, std::fs::read(source("php").join(name))?)?;
    }
    let php = match kind {
        Apache::PreforkPhp => {
            let versions = ["8.4", "8.3", "8.2", "8.1"];
            let candidates = versions.map(|version| format!("{MODULES}/libphp{version}.so"));
            let module = program(&candidates, "libapache2-mod-php")?;
            format!(
                "LoadModule php_module {}\nAliasMatch ^/work/.* {at}/index.php\n\
                 <FilesMatch \\.php$>\n  SetHandler application/x-httpd-php\n</FilesMatch>\n",
                module.display()
            )
        }
        _ => String::new(),
    };
    let (process_model, sizes) = match kind {
        Apache::EventProxy => (
            "mpm_event",
            "StartServers 2\nThreadsPerChild 32\nServerLimit 4\nMaxRequestWorkers 128",
        ),
        _ => (
            "mpm_prefork",
            "StartServers 16\nMinSpareServers 16\nMaxSpareServers 64\nServerLimit 64\nMaxRequestWorkers 64",
        ),
    };
    let modules: String = [
        process_model,
        "authz_core",
        "alias",
        "env",
        "mime",
        "proxy",
        "proxy_http",
    ]
    .map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n"))
    .concat();
    let conf = folder.write(
        "apache.conf",
        format!(
            "{modules}ServerRoot {at}\nServerName victim.test\nListen 127.0.0.1:{port}\n\
             ListenBacklog 1024\nPidFile {at}/apache.pid\nMutex posixsem\nErrorLog {at}/error.log\nUser www-data\nGroup www-data\n\
             TypesConfig /dev/null\n{sizes}\nKeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 1\n\
             DocumentRoot {at}\n<Directory {at}>\n  Require all granted\n</Directory>\n\
             SetEnv LEAF_URL {leaf}\n{php}ProxyPass /leaf/ {leaf}/leaf/\n",
            leaf = leaf.url(),
        ),
    )?;
    let mut command = Command::new(program(&["apache2"], "libapache2-mod-php")?);
    command.arg("-DFOREGROUND").arg("-f").arg(conf);
    Victim::start("apache", Serving::Thread, port, &mut command, Some(folder))
}

/// Puma with 16 threads, serving a Sinatra application.
///
/// # Errors
/// When it is not installed or does not start.
pub fn puma(leaf: &Victim) -> Result<Victim> {
    let port = free_port()?;
    let mut command = Command::new(program(&["puma"], "puma and ruby-sinatra")?);
    command
        .args([
            "--quiet",
            "--environment",
            "production",
            "--threads",
            "16:16",
        ])
        .args(["--bind", &format!("tcp://127.0.0.1:{port}?backlog=1024")])
        .arg(source("accuracy/ruby/config.ru"))
        .env("LEAF_URL", leaf.url());
    Victim::start("puma", Serving::Thread, port, &mut command, None)
}

/// A runtime of tokio's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokio {
    /// With many threads.
    Threads,
    /// On one thread.
    Current,
    /// With many threads, in an executable without symbols.
    Stripped,
}

/// axum and reqwest on tokio.
///
/// # Errors
/// When it is not built.
pub fn axum(runtime: Tokio, leaf: &Victim) -> Result<Victim> {
    let port = free_port()?;
    let mut exe = built("axum-victim")?;
    if runtime == Tokio::Stripped {
        let whole = exe;
        exe = whole.with_extension("stripped");
        let status = Command::new("strip")
            .arg("-o")
            .args([&exe, &whole])
            .status()
            .context("strip (binutils) is not there")?;
        ensure!(status.success(), "strip ended with {status}");
    }
    let mut command = Command::new(exe);
    command.arg(port.to_string()).env("LEAF_URL", leaf.url());
    if runtime == Tokio::Current {
        command.arg("current");
    }
    Victim::start("axum", Serving::Loop, port, &mut command, None)
}
