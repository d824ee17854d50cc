//! Names that say nothing, and what stands in for them.
//!
//! In: file names and folders. Out: the part an operator would use. Always holds: pure; a name that is generic is replaced by
//! a folder's or kept, never made empty.

use std::path::{Component, Path};

/// File names (without ending) that many projects share.
const FILES: &[&str] = &[
    "__init__",
    "__main__",
    "a.out",
    "app",
    "application",
    "asgi",
    "bin",
    "boot",
    "bootstrap",
    "cli",
    "cluster",
    "entry",
    "entrypoint",
    "exe",
    "index",
    "init",
    "launch",
    "launcher",
    "main",
    "manage",
    "prod",
    "program",
    "root",
    "run",
    "runner",
    "serve",
    "server",
    "service",
    "start",
    "startup",
    "test",
    "web",
    "wsgi",
    "www",
];

/// Folders that many projects share.
const FOLDERS: &[&str] = &[
    ".bin",
    ".output",
    ".venv",
    "app",
    "apps",
    "application",
    "backend",
    "bin",
    "build",
    "classes",
    "cmd",
    "code",
    "current",
    "debug",
    "deploy",
    "dist",
    "exe",
    "home",
    "htdocs",
    "html",
    "http",
    "lib",
    "libexec",
    "local",
    "main",
    "node_modules",
    "opt",
    "out",
    "output",
    "project",
    "projects",
    "public",
    "release",
    "releases",
    "repo",
    "root",
    "run",
    "sbin",
    "scripts",
    "server",
    "site",
    "source",
    "srv",
    "src",
    "standalone",
    "target",
    "tmp",
    "usr",
    "var",
    "venv",
    "web",
    "work",
    "workspace",
    "www",
];

/// True for file names such as `main` or `server`.
pub fn is_generic(name: &str) -> bool {
    name.is_empty() || FILES.contains(&name.to_ascii_lowercase().as_str())
}

/// File name without folders and without its ending.
pub fn stem(path: &str) -> &str {
    let name = path
        .rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && !ending.is_empty() && ending.len() <= 5 => stem,
        _ => name,
    }
}

/// `python3.11` is `python`, `php-fpm8.2` is `php-fpm`.
pub fn without_version(program: &str) -> &str {
    let cut = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if cut.is_empty() {
        program
    } else {
        cut.trim_end_matches('-')
    }
}

/// The last folder of `path` that names something: not `src` or `bin`, not a release's number or hash, not a home.
pub fn folder_name(path: &Path) -> Option<String> {
    let parts: Vec<&str> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    for (index, name) in parts.iter().enumerate().rev() {
        // /home/NAME and /Users/NAME name a person.
        let is_home = index == 1
            && parts
                .first()
                .is_some_and(|first| *first == "home" || *first == "Users");
        // /tmp/x.Ab12 names nothing that lives on.
        let is_scratch =
            name.starts_with("go-build") || name.starts_with("tmp.") || name.starts_with("tmp");
        let is_number = name.bytes().filter(u8::is_ascii_digit).count() * 2 > name.len()
            || (name.len() >= 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_home {
            return None;
        }
        if !is_scratch && !is_number && !FOLDERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Some((*name).to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{folder_name, stem, without_version};

    #[test]
    fn the_folder_that_names_the_project_is_found() {
        let check = |path: &str, expect: Option<&str>| {
            assert_eq!(folder_name(Path::new(path)).as_deref(), expect, "{path}");
        };
        check("/srv/shop", Some("shop"));
        check("/srv/shop/src/app", Some("shop"));
        check("/var/www/shop/releases/20240102030405", Some("shop"));
        check("/var/www/shop/current/public", Some("shop"));
        check("/home/ada/shop", Some("shop"));
        check("/home/ada", None);
        check("/root", None);
        check("/app", None);
        check("/tmp/go-build1234/b001/exe", None);
        check("/", None);
    }

    #[test]
    fn stems_and_versions_are_cut() {
        assert_eq!(stem("/srv/shop.py"), "shop");
        assert_eq!(stem("/srv/shop"), "shop");
        assert_eq!(stem(".hidden"), ".hidden");
        assert_eq!(stem("shop.config.js"), "shop.config");
        assert_eq!(without_version("python3.11"), "python");
        assert_eq!(without_version("php-fpm8.2"), "php-fpm");
        assert_eq!(without_version("php8.2"), "php");
        assert_eq!(without_version("7z"), "7z");
    }
}
