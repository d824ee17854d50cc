//! Names of Python programs: scripts, modules, and the application a server was told to serve.
//!
//! In: the command. Out: a name, or none when Python runs no file. Always holds: pure.

use super::{
    Command,
    words::{is_generic, stem},
};

/// Options of `python` that take the next argument (`python --help`).
const VALUED: &[&str] = &["-W", "-X", "--check-hash-based-pycs"];

/// Options of the servers below that take no value; all others take one.
const FLAGS: &[&str] = &[
    // gunicorn
    "-D",
    "-R",
    "-h",
    "-v",
    "--capture-output",
    "--check-config",
    "--daemon",
    "--disable-redirect-access-to-syslog",
    "--do-handshake-on-connect",
    "--enable-stdio-inheritance",
    "--no-sendfile",
    "--preload",
    "--print-config",
    "--proxy-protocol",
    "--reload",
    "--reuse-port",
    "--spew",
    "--suppress-ragged-eofs",
    "--version",
    // uvicorn, hypercorn, granian, flask, celery
    "--access-log",
    "--beat",
    "--date-header",
    "--debug",
    "--factory",
    "--no-access-log",
    "--no-date-header",
    "--no-debugger",
    "--no-proxy-headers",
    "--no-reload",
    "--no-server-header",
    "--no-use-colors",
    "--proxy-headers",
    "--quiet",
    "--server-header",
    "--use-colors",
    "--with-threads",
    "-B",
    "-E",
    "-q",
];

/// `python [options] (script | -m module | -c code) …`
pub(super) fn interpreter(command: &Command<'_>) -> Option<String> {
    let mut rest = command.after(1).iter();
    while let Some(arg) = rest.next() {
        let cluster = arg.strip_prefix('-').filter(|_| !arg.starts_with("--"));
        match (arg.as_str(), cluster) {
            (_, Some("")) => return None, // "-": the program comes from stdin
            (option, _) if VALUED.contains(&option) => {
                rest.next();
            }
            // Short options may be written together, the last one with its value attached: -um MODULE, -mMODULE.
            (_, Some(letters)) => match letters.find(['m', 'c']) {
                Some(at) if letters.as_bytes().get(at) == Some(&b'm') => {
                    let attached = letters.get(at + 1..).unwrap_or_default();
                    let module = if attached.is_empty() {
                        rest.next()?.as_str()
                    } else {
                        attached
                    };
                    return module_name(command, module, rest.as_slice());
                }
                Some(_) => return None,
                None => {}
            },
            (option, None) if option.starts_with("--") => {}
            (script, _) => {
                let name = stem(script);
                let args = rest.as_slice();
                return launcher(command, name, args).or_else(|| Some(command.script(script)));
            }
        }
    }
    None
}

/// `-m http.server` is `http.server`, `-m shop.main` is `shop`: what was typed, but for the words every package has.
fn module_name(command: &Command<'_>, module: &str, args: &[String]) -> Option<String> {
    let named = || {
        let short = module
            .strip_suffix(".__main__")
            .or_else(|| module.strip_suffix(".main"))
            .unwrap_or(module);
        if is_generic(short) {
            dotted(command, short, None)
        } else {
            short.to_owned()
        }
    };
    Some(launcher(command, module, args).unwrap_or_else(named))
}

/// What a server or tool named `name` was asked to run. None when it is not one of them.
pub(super) fn launcher(command: &Command<'_>, name: &str, args: &[String]) -> Option<String> {
    let folder = |option| value_of(args, option);
    match name {
        "gunicorn" | "uvicorn" | "hypercorn" | "daphne" | "granian" | "waitress-serve"
        | "waitress" => {
            let within = folder("--chdir").or_else(|| folder("--app-dir"));
            let found = positional(args).or_else(|| {
                args.iter()
                    .map(String::as_str)
                    .find(|arg| is_application(arg))
            });
            Some(match found {
                Some(spec) => application(command, spec, within),
                None => command.cwd_name().unwrap_or_else(|| name.to_owned()),
            })
        }
        "celery" => Some(celery(command, args).unwrap_or_else(|| name.to_owned())),
        "flask" | "fastapi" => {
            let spec = value_of(args, "--app").or_else(|| value_of(args, "-A"));
            // fastapi run FILE
            let spec = spec.or_else(|| {
                args.iter()
                    .map(String::as_str)
                    .find(|arg| arg.ends_with(".py"))
            });
            let by_folder = || command.cwd_name().unwrap_or_else(|| name.to_owned());
            Some(spec.map_or_else(by_folder, |spec| application(command, spec, None)))
        }
        "uwsgi" | "uwsgi-core" => {
            let spec = ["-w", "--module", "--wsgi-file", "--file", "--ini"]
                .iter()
                .find_map(|option| value_of(args, option));
            let spec = spec.or_else(|| {
                args.iter()
                    .map(String::as_str)
                    .find(|arg| arg.ends_with(".ini"))
            });
            let by_folder = || command.cwd_name().unwrap_or_else(|| "uwsgi".to_owned());
            Some(spec.map_or_else(by_folder, |spec| {
                application(command, spec, value_of(args, "--chdir"))
            }))
        }
        "dramatiq" | "huey_consumer" | "arq" | "streamlit" => {
            let spec = args
                .iter()
                .map(String::as_str)
                .find(|arg| !arg.starts_with('-') && *arg != "run");
            Some(spec.map_or_else(|| name.to_owned(), |spec| application(command, spec, None)))
        }
        "rq" | "django-admin" => Some(command.cwd_name().unwrap_or_else(|| name.to_owned())),
        _ => None,
    }
}

/// `celery -A shop worker`.
pub(super) fn celery(command: &Command<'_>, args: &[String]) -> Option<String> {
    let spec = ["-A", "--app"]
        .iter()
        .find_map(|option| value_of(args, option))?;
    Some(application(command, spec, value_of(args, "--workdir")))
}

/// `shop.wsgi:app`, `shop:create_app()`, `shop/wsgi.py` as a name; `within` is the folder it is in, when it was given.
pub(super) fn application(command: &Command<'_>, spec: &str, within: Option<&str>) -> String {
    let module = spec.split(':').next().unwrap_or(spec);
    if module.contains('/') || module.ends_with(".py") || module.ends_with(".ini") {
        return command.script(module);
    }
    dotted(command, module, within)
}

/// `src.shop.main` is `shop`: generic parts are dropped from both ends.
fn dotted(command: &Command<'_>, module: &str, within: Option<&str>) -> String {
    let mut parts: Vec<&str> = module.split('.').filter(|part| !part.is_empty()).collect();
    while parts.last().is_some_and(|last| is_generic(last)) {
        parts.pop();
    }
    while parts
        .first()
        .is_some_and(|first| matches!(*first, "src" | "app" | "apps" | "backend"))
    {
        parts.remove(0);
    }
    if !parts.is_empty() {
        return parts.join(".");
    }
    let folder = within.map_or_else(
        || command.cwd_name(),
        |folder| command.folder_of(&format!("{folder}/x")),
    );
    folder.unwrap_or_else(|| module.to_owned())
}

/// Value of `--option value`, `--option=value` or `-Ovalue`.
fn value_of<'a>(args: &'a [String], option: &str) -> Option<&'a str> {
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == option {
            return rest.next().map(String::as_str);
        }
        let attached = arg.strip_prefix(option).filter(|value| !value.is_empty());
        match attached {
            Some(value) if option.starts_with("--") => {
                if let Some(value) = value.strip_prefix('=') {
                    return Some(value);
                }
            }
            Some(value) => return Some(value),
            None => {}
        }
    }
    None
}

/// The first argument that is neither an option nor an option's value.
fn positional(args: &[String]) -> Option<&str> {
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if !arg.starts_with('-') {
            return Some(arg);
        }
        let has_value = !arg.contains('=') && !FLAGS.contains(&arg.as_str());
        // -w4: a short option with its value attached
        let attached = !arg.starts_with("--") && arg.len() > 2;
        if has_value && !attached {
            rest.next();
        }
    }
    None
}

/// `package.module:object`, and not `host:port` or `unix:path`.
fn is_application(arg: &str) -> bool {
    let Some((module, object)) = arg.split_once(':') else {
        return false;
    };
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || "_.()".contains(c))
    };
    module != "unix" && is_name(module) && is_name(object)
}
