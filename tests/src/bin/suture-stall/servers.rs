//! What the clients ask: an nginx with files, one that passes everything on, and a server that reads large bodies.
//!
//! In: nothing. Out: two ports. Always holds: all of it ends on drop. Refuses: to go on without nginx or the Go victim.

use std::process::Command;

use anyhow::Result;
use suture_tests::process::{Folder, free_port, program};
use suture_tests::victims::{Serving, Victim, compiled};

/// Bytes of `/big.bin`, which is over any socket buffer.
const BIG: usize = 3 << 20;
/// What `/small.txt` says.
const SMALL: &str = "hello from nginx\n";

/// See the module.
pub struct Servers {
    origin: Victim,
    proxy: Victim,
    _echo: Victim,
}

impl Servers {
    /// Starts them.
    ///
    /// # Errors
    /// One does not start.
    pub fn start() -> Result<Self> {
        let echo = compiled::go(None)?;
        let files = Folder::new()?;
        files.write("big.bin", vec![b'x'; BIG])?;
        files.write("small.txt", SMALL)?;
        let location = format!("location / {{ root {}; }}", files.path().display());
        let origin = nginx(files, "", &location)?;
        let behind = format!(
            "upstream files {{ server 127.0.0.1:{}; keepalive 8; }} upstream echo {{ server 127.0.0.1:{}; keepalive 8; }}",
            origin.port, echo.port
        );
        let passed = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_request_buffering off; \
                      location / { proxy_pass http://files; } location /echo { proxy_pass http://echo; }";
        let proxy = nginx(Folder::new()?, &behind, passed)?;
        Ok(Self {
            origin,
            proxy,
            _echo: echo,
        })
    }

    /// The port where files are.
    pub fn origin(&self) -> u16 {
        self.origin.port
    }

    /// The port that passes on: files, and bodies to `/echo`, which answers their size.
    pub fn proxy(&self) -> u16 {
        self.proxy.port
    }
}

fn nginx(folder: Folder, behind: &str, serves: &str) -> Result<Victim> {
    let port = free_port()?;
    let at = folder.path().display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind}; "))
        .concat();
    let conf = folder.write(
        "nginx.conf",
        format!(
            "user root; worker_processes 1; pid {at}/nginx.pid; error_log stderr warn; daemon off;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; sendfile on; keepalive_requests 100000; client_max_body_size 64m; {temporary}\n\
             {behind}\nserver {{ listen 127.0.0.1:{port} backlog=1024; {serves} }} }}\n"
        ),
    )?;
    let mut command = Command::new(program(&["nginx"], "nginx-light")?);
    command.arg("-e").arg("stderr").arg("-c").arg(conf);
    Victim::start("nginx", Serving::Proxy, port, &mut command, Some(folder))
}
