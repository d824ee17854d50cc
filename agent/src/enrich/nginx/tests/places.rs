//! Tests of `nginx`: where a process' configuration is, and whether it is the one the process follows.

use std::{fs, os::unix::fs::symlink, time::Duration};

use super::{CONF, SERVICE, Tree, check};

/// A start time in ticks of 10 ms since boot.
const LONG_AGO: u64 = 1;

#[test]
fn the_configuration_is_found_by_options_or_by_the_executable() {
    let (quiet, calls) = ("pid /a;", "resolver 127.0.0.1;");
    let master = |options: &str| format!("nginx: master process nginx {options}");
    let check = |options: &str, files: &[(&str, &str)], expect: bool| {
        check(master(options).trim_end(), files, expect);
    };
    check("", &[(CONF, quiet)], false);
    check("", &[("/usr/local/nginx/conf/nginx.conf", quiet)], false);
    check(
        "",
        &[(CONF, quiet), ("/usr/local/nginx/conf/nginx.conf", calls)],
        true,
    ); // which?
    check("", &[("/etc/other/nginx.conf", quiet)], true);
    check(
        "-c /a/b.conf",
        &[("/a/b.conf", quiet), (CONF, calls)],
        false,
    );
    check("-c /a/b.conf", &[("/a/b.conf", calls), (CONF, quiet)], true);
    check(
        "-c /a/b.conf",
        &[("/a/b.conf", "include c;"), ("/a/c", quiet)],
        false,
    );
    check("-c /a/b.conf", &[(CONF, quiet)], true);
    check(
        "-p /a -c b.conf",
        &[("/a/b.conf", quiet), (CONF, calls)],
        false,
    );
    check(
        "-p /a/ -c b.conf",
        &[("/a/b.conf", calls), (CONF, quiet)],
        true,
    );
    check("-p /a", &[("/a/conf/nginx.conf", quiet)], false);
    check(
        "-p /a",
        &[("/a/conf/nginx.conf", quiet), (CONF, calls)],
        true,
    ); // which?
    check("-p . -c b.conf", &[("/b.conf", quiet), (CONF, quiet)], true);
    check("-c b.conf", &[("/usr/share/nginx/b.conf", quiet)], false);
    check("-c b.conf", &[("/etc/nginx/b.conf", quiet)], false);
    check(
        "-c b.conf",
        &[
            ("/etc/nginx/b.conf", quiet),
            ("/usr/share/nginx/b.conf", quiet),
        ],
        true,
    );
    check("-c /a b", &[("/a", quiet), ("/a b", calls)], true);
    check("-g daemon off;", &[(CONF, quiet)], false);
    check(
        "-g daemon off; load_module /a/ngx_http_js_module.so;",
        &[(CONF, quiet)],
        true,
    );
    check("-g include /a;", &[(CONF, quiet), ("/a", quiet)], false);
    check("-g include /a;", &[(CONF, quiet), ("/a", calls)], true);
    check("-g daemon off", &[(CONF, quiet)], true);
}

#[test]
fn processes_before_and_beside_master_and_worker() {
    let tree = Tree::new(SERVICE, &[(CONF, "pid /a;"), ("/b", "resolver 127.0.0.1;")]);
    let check = |tgid: u32, cmdline: &str, expect: bool| {
        fs::write(tree.proc(tgid, "cmdline"), cmdline).unwrap();
        assert_eq!(tree.calls(tgid), expect, "{cmdline}");
    };
    check(42, "nginx: worker process is shutting down\0", false);
    check(42, "nginx: cache manager process\0", false);
    // It listens before it writes its title.
    check(41, "nginx\0", false);
    check(41, "/usr/sbin/nginx\0-g\0daemon off;\0", false);
    check(41, "/usr/sbin/nginx\0-c\0/b\0", true);
    check(41, "", true);
    // A worker has a master.
    check(41, "nginx\0", false);
    check(42, "nginx: worker process\0", true);
    check(41, SERVICE, false);
    check(42, "nginx: worker process\0", false);

    // A small environment leaves no room for the whole title.
    fs::write(tree.proc(41, "environ"), "A=b\0").unwrap();
    check(41, "nginx: master process ngin", true);
    // An executable whose places nobody knows.
    let tree = Tree::new(SERVICE, &[(CONF, "pid /a;")]);
    fs::remove_file(tree.proc(41, "exe")).unwrap();
    symlink("/srv/nginx", tree.proc(41, "exe")).unwrap();
    assert!(tree.calls(42));
}

#[test]
fn a_worker_older_than_its_configuration_may_follow_another_one() {
    let sites = [
        ("/sites/a", "pid /a;"),
        ("/sites/b", "pid /a;"),
        ("/b", "pid /a;"),
    ];
    let check = |change: &dyn Fn(&Tree), expect: bool| {
        let tree = Tree::new(SERVICE, &[(CONF, "include /sites/*; include /link;")]);
        sites.iter().for_each(|(path, text)| tree.write(path, text));
        symlink("/sites/a", tree.inside("/link")).unwrap();
        tree.starts(41, LONG_AGO);
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        tree.starts(42, (seconds * 100.0) as u64);
        std::thread::sleep(Duration::from_millis(60)); // start times are known to 20 ms
        change(&tree);
        assert_eq!(tree.calls(42), expect);
        assert!(
            !tree.calls(41),
            "serves nobody; its workers are asked about"
        );
    };
    check(&|_| {}, false);
    check(&|tree| tree.write("/elsewhere", ""), false);
    check(&|tree| tree.write("/sites/a", "pid /c;"), true);
    check(&|tree| tree.write("/sites/c", "pid /c;"), true);
    check(
        &|tree| fs::remove_file(tree.inside("/sites/b")).unwrap(),
        true,
    );
    check(
        &|tree| fs::rename(tree.inside("/b"), tree.inside("/sites/b")).unwrap(),
        true,
    );
    check(
        &|tree| {
            fs::remove_file(tree.inside("/link")).unwrap();
            symlink("/b", tree.inside("/link")).unwrap();
        },
        true,
    );
}
