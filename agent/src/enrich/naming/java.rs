//! Names of Java programs.
//!
//! In: the command. Out: the jar's, the main class' or the source file's name. Always holds: pure.

use super::{
    Command,
    words::{is_generic, stem},
};

/// Options of `java` that take the next argument (`java --help`).
const VALUED: &[&str] = &[
    "--add-exports",
    "--add-modules",
    "--add-opens",
    "--add-reads",
    "--class-path",
    "--describe-module",
    "--enable-native-access",
    "--limit-modules",
    "--module-path",
    "--patch-module",
    "--source",
    "--upgrade-module-path",
    "-classpath",
    "-cp",
    "-d",
    "-p",
];

/// Classes that start the one that matters.
const LAUNCHERS: &[&str] = &[
    "Bootstrap",
    "GradleWrapperMain",
    "JarLauncher",
    "Launcher",
    "Main",
    "PropertiesLauncher",
    "Startup",
    "WarLauncher",
];

/// `java [options] (-jar FILE | -m MODULE/CLASS | CLASS | FILE.java) …`
pub(super) fn main_class(command: &Command<'_>) -> Option<String> {
    let mut rest = command.after(1).iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "-jar" => return Some(jar(command, rest.next()?)),
            "-m" | "--module" => {
                let module = rest.next()?;
                return Some(class(command, module.rsplit('/').next().unwrap_or(module)));
            }
            option if VALUED.contains(&option) => {
                rest.next();
            }
            option if option.starts_with('-') || option.starts_with('@') => {}
            source if source.ends_with(".java") => return Some(command.script(source)),
            name => return Some(class(command, name)),
        }
    }
    None
}

/// The class' simple name. Loaders and servers say nothing of what they run, so for them the folder is asked first; a class of
/// one's own that is called `Main` keeps its name.
fn class(command: &Command<'_>, name: &str) -> String {
    let simple = name.rsplit(['.', '$']).next().unwrap_or(name);
    let of_a_loader = [
        "org.springframework.boot.loader.",
        "org.apache.catalina.",
        "org.gradle.",
        "org.codehaus.",
    ]
    .iter()
    .any(|package| name.starts_with(package));
    if of_a_loader && LAUNCHERS.contains(&simple) {
        return command.cwd_name().unwrap_or_else(|| simple.to_owned());
    }
    simple.to_owned()
}

/// `shop-1.2-SNAPSHOT.jar` is `shop`.
fn jar(command: &Command<'_>, path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file
        .strip_suffix(".jar")
        .or_else(|| file.strip_suffix(".war"))
        .unwrap_or_else(|| stem(file));
    // Maven and Gradle write NAME-VERSION[-CLASSIFIER]; a version starts with a digit.
    let bytes = name.as_bytes();
    let version = (1..bytes.len()).find(|at| bytes[at - 1] == b'-' && bytes[*at].is_ascii_digit());
    let mut name = version.and_then(|at| name.get(..at - 1)).unwrap_or(name);
    for suffix in [
        "-jar-with-dependencies",
        "-SNAPSHOT",
        "-all",
        "-exec",
        "-fat",
        "-runner",
        "-shaded",
        "-uber",
    ] {
        name = name.strip_suffix(suffix).unwrap_or(name);
    }
    // quarkus-run.jar is every Quarkus program's name.
    if is_generic(name) || name == "quarkus-run" {
        return command.folder_of(path).unwrap_or_else(|| name.to_owned());
    }
    name.to_owned()
}
