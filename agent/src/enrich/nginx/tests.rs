//! Tests of `nginx`: trees made like /proc, with configurations in them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

mod places;

use super::{ProcRoot, passes_nothing_on};

/// A folder like /proc with an nginx: master 41, worker 42. The folder `file system` is its root.
pub struct Tree {
    folder: tempfile::TempDir,
}

/// A start time in ticks of 10 ms since boot.
const IN_THE_FUTURE: u64 = 99_999_999_999;

pub const SERVICE: &str = "nginx: master process /usr/sbin/nginx -g daemon on; master_process on;";
pub const CONF: &str = "/etc/nginx/nginx.conf";

impl Tree {
    pub fn new(title: &str, files: &[(&str, &str)]) -> Self {
        let tree = Tree {
            folder: tempfile::tempdir().unwrap(),
        };
        for tgid in [41, 42] {
            fs::create_dir(tree.proc(tgid, "")).unwrap();
            symlink("/usr/sbin/nginx", tree.proc(tgid, "exe")).unwrap();
            symlink(tree.inside("/"), tree.proc(tgid, "root")).unwrap();
            tree.starts(tgid, IN_THE_FUTURE);
            fs::write(
                tree.proc(tgid, "environ"),
                "LANG=C.UTF-8\0PATH=/usr/bin:/bin\0",
            )
            .unwrap();
        }
        fs::write(tree.proc(41, "cmdline"), title).unwrap();
        fs::write(tree.proc(42, "cmdline"), "nginx: worker process\0\0\0\0").unwrap();
        fs::create_dir(tree.inside("/")).unwrap();
        for (path, text) in files {
            tree.write(path, text);
        }
        tree
    }

    pub fn root(&self) -> ProcRoot {
        ProcRoot::at(self.folder.path())
    }

    pub fn proc(&self, tgid: u32, name: &str) -> PathBuf {
        self.folder.path().join(tgid.to_string()).join(name)
    }

    fn inside(&self, path: &str) -> PathBuf {
        let root = self.folder.path().join("file system");
        root.join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.inside(path).parent().unwrap()).unwrap();
        fs::write(self.inside(path), text).unwrap();
    }

    fn starts(&self, tgid: u32, ticks: u64) {
        let line = format!("{tgid} (nginx) S 41 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {ticks} 1 1");
        fs::write(self.proc(tgid, "stat"), line).unwrap();
    }

    fn calls(&self, tgid: u32) -> bool {
        !passes_nothing_on(&self.root(), tgid)
    }
}

/// May this nginx call others, asked about its master and its worker?
fn check(title: &str, files: &[(&str, &str)], expect: bool) {
    let tree = Tree::new(title, files);
    assert_eq!(tree.calls(41), expect, "master: {title} {files:?}");
    assert_eq!(tree.calls(42), expect, "worker: {title} {files:?}");
}

#[test]
fn an_nginx_may_call_unless_its_whole_configuration_is_known_to_pass_nothing_on() {
    let check = |conf: &str, expect: bool| check(SERVICE, &[(CONF, conf)], expect);
    let in_server =
        |text: &str| format!("events {{}} http {{ server {{ location / {{ {text} }} }} }}");
    check("", false);
    check(&in_server("root /srv; sendfile on; return 404;"), false);
    check(&in_server("# proxy_pass http://a;\n"), false);
    check(&in_server("return 200 \"; proxy_pass http://a;\";"), false);
    check(
        &in_server("proxy_temp_path /a; fastcgi_param A b; proxy_set_header A b;"),
        false,
    );
    check("http { upstream a { server b; keepalive 4; } }", false);
    check(
        "http { types { text/html html; } map $a $b { proxy_pass c; include /gone; } }",
        false,
    );
    check("http { geo $a { default 0; 10.0.0.0/8 1; } }", false);
    check("http { if ($a = \"b\") { set $c \"${d}\"; } }", false);
    check(
        "stream { server { listen 1; return $time_iso8601; } }",
        false,
    );
    check(
        "load_module modules/ngx_http_echo_module.so; load_module /a/ngx_mail_module.so;",
        false,
    );
    check("master_process on;", false);

    for calls in [
        "proxy_pass http://a;",
        "'proxy_pass' http://a;",
        "fastcgi_pass a;",
        "uwsgi_pass a;",
        "scgi_pass a;",
        "grpc_pass a;",
        "memcached_pass a;",
        "redis2_pass a;",
        "mirror /a;",
        "auth_request /a;",
        "js_content a;",
        "resolver 127.0.0.1;",
        "ssl_stapling on;",
        "passenger_enabled on;",
        "perl a::b;",
        "content_by_lua_block { ngx.say('') }",
        "a_new_directive on;",
        "if ($a) { proxy_pass http://a; }",
        "return 200 \\; ; proxy_pass http://a;",
        "return 200 a#b; proxy_pass http://a;",
    ] {
        check(&in_server(calls), true);
    }
    check("stream { server { proxy_pass a:1; } }", true);
    check("mail { auth_http a; }", true);
    check("map $a $b { c d; } proxy_pass e;", true);
    check("load_module modules/ngx_http_perl_module.so;", true);
    check("load_module modules/ngx_http_datadog_module.so;", true); // calls without a directive
    check("load_module \"a\\nngx_http_echo_module.so\";", true);
    check("master_process off;", true); // would read a changed configuration itself
}

#[test]
fn a_configuration_that_nginx_would_not_read_is_doubted() {
    let check = |conf: &str| check(SERVICE, &[(CONF, conf)], true);
    check("http {");
    check("http { } }");
    check("pid /a");
    check("return 'a;");
    check("types { a { b c; } }");
    check("types { a b;");
    check("include;");
    check("include a b;");
    check("\u{feff}pid /a;");
}

#[test]
fn includes_are_followed() {
    let check = |include: &str, files: &[(&str, &str)], expect: bool| {
        let conf = format!("http {{ include {include}; }}");
        let mut files = files.to_vec();
        files.push((CONF, &conf));
        check(SERVICE, &files, expect);
    };
    let (quiet, calls) = (
        "sendfile on;",
        "server { location / { proxy_pass http://a; } }",
    );
    // By name: below the folder of the first file, and never absent.
    check("a.conf", &[("/etc/nginx/a.conf", quiet)], false);
    check("a.conf", &[("/etc/nginx/a.conf", calls)], true);
    check("\"/srv/a b\"", &[("/srv/a b", quiet)], false);
    check("../a.conf", &[("/etc/a.conf", quiet)], false);
    check("/gone.conf", &[], true);
    check(
        "b/a",
        &[("/etc/nginx/b/a", "include c;"), ("/etc/nginx/c", quiet)],
        false,
    );
    check(
        "b/a",
        &[("/etc/nginx/b/a", "include c;"), ("/etc/nginx/b/c", quiet)],
        true,
    );
    check("a", &[("/etc/nginx/a", "include a;")], true); // for ever
    check("a", &[("/etc/nginx/a", "server {")], true);
    check("a", &[("/etc/nginx/a", "} http {")], true);
    // By pattern: those that are there.
    check("conf.d/*.conf", &[], false);
    check(
        "conf.d/*.conf",
        &[("/etc/nginx/conf.d/a.conf", quiet)],
        false,
    );
    check(
        "conf.d/*.conf",
        &[
            ("/etc/nginx/conf.d/a.conf", quiet),
            ("/etc/nginx/conf.d/b.conf", calls),
        ],
        true,
    );
    check(
        "conf.d/*.conf",
        &[("/etc/nginx/conf.d/a.conf.old", calls)],
        false,
    );
    check(
        "conf.d/*",
        &[("/etc/nginx/conf.d/.a.conf.swp", calls)],
        false,
    );
    check("conf.d/.*", &[("/etc/nginx/conf.d/.a", calls)], true);
    check(
        "conf.d/[!a]?.conf",
        &[("/etc/nginx/conf.d/ax.conf", calls)],
        false,
    );
    check(
        "conf.d/[!a]?.conf",
        &[("/etc/nginx/conf.d/bx.conf", calls)],
        true,
    );
    check(
        "/srv/*/nginx/*.conf",
        &[("/srv/a/nginx/b.conf", quiet), ("/srv/c", calls)],
        false,
    );
    check(
        "/srv/*/nginx/*.conf",
        &[("/srv/a/nginx/b.conf", calls)],
        true,
    );
    check(
        "/srv/*/nginx.conf",
        &[("/srv/a/nginx.conf", quiet), ("/srv/b/a", calls)],
        false,
    );
    check("/srv/*/nginx.conf", &[("/srv/a/nginx.conf", calls)], true);
    check("conf.d/*", &[("/etc/nginx/conf.d/folder/a", quiet)], true); // nginx cannot read a folder
    check("conf.d/[[:alpha:]]", &[], true);
    check("\"conf.d/{a,b}*\"", &[], true);
}

#[test]
fn links_stay_in_the_processs_root() {
    let outside = tempfile::tempdir().unwrap();
    let quiet = outside.path().join("quiet");
    fs::write(&quiet, "sendfile on;").unwrap();
    let check = |target: &Path, expect: bool| {
        let tree = Tree::new(SERVICE, &[(CONF, "include sites-enabled/*;")]);
        tree.write("/etc/nginx/sites-available/a", "sendfile on;");
        fs::create_dir(tree.inside("/etc/nginx/sites-enabled")).unwrap();
        symlink(target, tree.inside("/etc/nginx/sites-enabled/a")).unwrap();
        assert_eq!(tree.calls(42), expect, "{target:?}");
    };
    check(Path::new("/etc/nginx/sites-available/a"), false);
    check(Path::new("../sites-available/a"), false);
    check(
        Path::new("../../../../../../etc/nginx/sites-available/a"),
        false,
    );
    check(Path::new("/gone"), true);
    check(&quiet, true); // is there, but not inside
}

#[test]
fn a_pipe_does_not_hold_the_agent_up() {
    let tree = Tree::new(SERVICE, &[(CONF, "include a;")]);
    let made = Command::new("mkfifo")
        .arg(tree.inside("/etc/nginx/a"))
        .status();
    assert!(made.unwrap().success());
    assert!(tree.calls(42));
}

#[test]
fn the_bounds_of_what_is_read_are_doubts() {
    let check = |text: &str, count: usize, expect: bool| {
        let tree = Tree::new(SERVICE, &[(CONF, "http { include conf.d/*; }")]);
        for at in 0..count {
            tree.write(&format!("/etc/nginx/conf.d/{at}"), text);
        }
        assert_eq!(tree.calls(42), expect, "{count} times {}", text.len());
    };
    check("sendfile on;", 511, false);
    check("sendfile on;", 512, true);
    let comment = format!("#{}", "x".repeat(1 << 20));
    check(&comment, 3, false);
    check(&comment, 4, true);
}
