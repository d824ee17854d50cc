//! nginx: static files, a reverse proxy, and in front of php-fpm.

use std::process::Command;

use anyhow::Result;

use super::{Serving, Victim, fresh, leaf_url};
use crate::check::{Asked, Hop};
use crate::process::{Folder, Running, program, source};

/// What nginx does with everything but `/static/`, `/sendfile/` and `/status/CODE`.
pub enum Behind<'a> {
    /// Nothing: 404.
    Nothing,
    /// `proxy_pass` with nginx's defaults: HTTP/1.0, a connection per request.
    Proxy(&'a Victim),
    /// `proxy_pass` with HTTP/1.1 and kept-alive upstream connections.
    ProxyKeepAlive(&'a Victim),
    /// `fastcgi_pass` to php-fpm.
    FastCgi(&'a PhpFpm),
    /// `proxy_pass` to these ports of 127.0.0.1 in turn; the next one is tried when one is not there or answers 503.
    Upstreams(&'a [u16]),
}

/// Bytes of `/static/hello.txt`.
pub const HELLO: &str = "hello from nginx\n";
/// Bytes of `/sendfile/big.bin`, which is over any socket buffer.
pub const BIG: usize = 3 << 20;

/// nginx with `workers` worker processes.
///
/// # Errors
/// When it is not installed or does not start.
pub fn nginx(workers: u32, behind: &Behind<'_>) -> Result<Victim> {
    let (port, folder) = fresh()?;
    let at = folder.path().display().to_string();
    for sub in ["static", "sendfile", "tmp"] {
        std::fs::create_dir(folder.path().join(sub))?;
    }
    folder.write("static/hello.txt", HELLO)?;
    folder.write("sendfile/big.bin", vec![b'x'; BIG])?;
    let (upstream, location) = match behind {
        Behind::Nothing => (String::new(), "return 404;".to_owned()),
        Behind::Proxy(victim) => (String::new(), format!("proxy_pass {};", victim.url())),
        Behind::ProxyKeepAlive(victim) => (
            format!(
                "upstream behind {{ server 127.0.0.1:{}; keepalive 8; }}",
                victim.port
            ),
            "proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\";"
                .to_owned(),
        ),
        Behind::Upstreams(ports) => {
            let servers: String = ports
                .iter()
                .map(|port| format!("server 127.0.0.1:{port} max_fails=0; "))
                .collect();
            (
                format!("upstream behind {{ {servers}}}"),
                "proxy_pass http://behind; proxy_next_upstream error timeout http_503;".to_owned(),
            )
        }
        Behind::FastCgi(fpm) => (
            String::new(),
            format!(
                "include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME {}; \
                 fastcgi_param LEAF_URL {}; fastcgi_pass unix:{};",
                source("php/index.php").display(),
                fpm.leaf_url,
                fpm.socket().display()
            ),
        ),
    };
    let conf = folder.write(
        "nginx.conf",
        format!(
            "user root;\nworker_processes {workers};\npid {at}/nginx.pid;\nerror_log stderr warn;\ndaemon off;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  default_type text/plain;\n  sendfile on;\n  keepalive_requests 100000;\n\
             client_max_body_size 64m;\n\
             client_body_temp_path {at}/tmp/body;\n  proxy_temp_path {at}/tmp/proxy;\n  fastcgi_temp_path {at}/tmp/fcgi;\n\
             uwsgi_temp_path {at}/tmp/uwsgi;\n  scgi_temp_path {at}/tmp/scgi;\n  {upstream}\n\
             server {{\n    listen 127.0.0.1:{port} backlog=1024;\n\
             location /static/ {{ root {at}; sendfile off; }}\n\
             location /sendfile/ {{ root {at}; }}\n\
             location /hello/ {{ return 200 \"hello\\n\"; }}\n\
             location = /status/500 {{ return 500; }}\n    location = /status/404 {{ return 404; }}\n\
             location = /status/204 {{ return 204; }}\n\
             location / {{ {location} }}\n  }}\n}}\n"
        ),
    )?;
    let mut command = Command::new(program(&["nginx"], "nginx-light")?);
    command.arg("-e").arg("stderr").arg("-c").arg(conf);
    Victim::start("nginx", Serving::Proxy, port, &mut command, Some(folder))
}

/// php-fpm with four children on a unix socket.
pub struct PhpFpm {
    running: Running,
    folder: Folder,
    leaf_url: String,
}

impl PhpFpm {
    /// Starts it; its script calls `leaf`.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(leaf: Option<&Victim>) -> Result<Self> {
        let folder = Folder::new()?;
        let socket = folder.path().join("fpm.sock");
        let conf = folder.write(
            "fpm.conf",
            format!(
                "[global]\nerror_log = {at}/error.log\ndaemonize = no\n[www]\nuser = root\ngroup = root\nlisten = {at}/fpm.sock\n\
                 listen.mode = 0666\npm = static\npm.max_children = 4\n",
                at = folder.path().display()
            ),
        )?;
        let candidates = [
            "php-fpm",
            "php-fpm8.4",
            "php-fpm8.3",
            "php-fpm8.2",
            "php-fpm8.1",
        ];
        let mut command = Command::new(program(&candidates, "php-fpm")?);
        command
            .args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"])
            .arg(conf);
        let mut running = Running::start("php-fpm", &mut command)?;
        running.wait_for_socket(&socket)?;
        Ok(Self {
            running,
            folder,
            leaf_url: leaf_url(leaf),
        })
    }

    /// Its socket.
    pub fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("fpm.sock")
    }

    /// The hop it is behind nginx.
    pub fn hop(&self) -> Hop {
        Hop {
            name: "php-fpm",
            pids: self.running.pids(),
            serving: Serving::Thread,
            asked: Asked::Work,
        }
    }
}
