//! The name an operator would give a program, from its command line.
//!
//! In: arguments, executable, working directory, the main thread's name. Out: `service.name`, never empty. Always holds: the same
//! input gives the same name; workers of one server get one name (a title such as `nginx: worker process` names its
//! program). Refuses: to take a name from values of options other than the known ones, where secrets stand.

mod java;
mod python;
mod scripts;
pub mod words;

use std::path::Path;

use words::{folder_name, is_generic, stem, without_version};

/// What a process shows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Arguments; one string with blanks where the program wrote a title over them.
    pub args: &'a [String],
    /// Executable.
    pub exe: Option<&'a Path>,
    /// Working directory.
    pub cwd: Option<&'a Path>,
    /// Name of the main thread.
    pub comm: &'a str,
}

impl<'a> Command<'a> {
    /// File name of the executable; of the first argument for programs of many names (busybox) or when it is unknown.
    fn program(&self) -> &'a str {
        let by_exe = self
            .exe
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        match by_exe {
            Some("busybox" | "toybox" | "coreutils") | None => {
                self.typed().or(by_exe).unwrap_or(self.comm)
            }
            // A program that runs from memory has no file; what it was called as says more.
            Some(name) if name.starts_with("memfd:") => self.typed().unwrap_or(self.comm),
            Some(name) => name,
        }
    }

    /// File name of the first argument, as the user typed it.
    fn typed(&self) -> Option<&'a str> {
        let first = self.args.first()?.split_ascii_whitespace().next()?;
        let name = first.rsplit('/').next()?.trim_start_matches('-'); // a login shell is "-bash"
        // /proc/self/fd/3 is no name.
        (!name.is_empty() && !name.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
    }

    fn after(&self, count: usize) -> &'a [String] {
        self.args.get(count..).unwrap_or_default()
    }

    /// Name of the folder `script` lies in, or of the first folder above that is not called `src` and the like.
    fn folder_of(&self, script: &str) -> Option<String> {
        let path = Path::new(script);
        let whole = if path.is_absolute() {
            path.to_owned()
        } else {
            self.cwd?.join(path)
        };
        folder_name(whole.parent()?)
    }

    /// Name of the working folder, the same way.
    fn cwd_name(&self) -> Option<String> {
        folder_name(self.cwd?)
    }

    /// The script's name without its ending; its folder's when the name says nothing; the interpreter's for a script that is only an
    /// open file (/dev/fd/3).
    fn script(&self, script: &str) -> String {
        if script.starts_with("/dev/") || script.starts_with("/proc/") {
            return self.typed().unwrap_or_else(|| self.program()).to_owned();
        }
        let name = stem(script);
        if is_generic(name) {
            return self.folder_of(script).unwrap_or_else(|| name.to_owned());
        }
        name.to_owned()
    }
}

/// The name. See the tests for the whole list of forms.
pub fn service_name(command: &Command<'_>) -> String {
    let name = title(command)
        .or_else(|| by_program(command))
        .unwrap_or_else(|| binary(command));
    let clean: String = name
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    if clean.is_empty() {
        "unknown_service".to_owned()
    } else {
        clean
    }
}

/// True for a title that belongs to a worker and does not say whose; the parent's arguments do.
pub fn names_parent(args: &[String]) -> bool {
    matches!(args, [title] if title.starts_with("[celeryd:") && !title.contains("(-A ") && !title.contains(" --app"))
}

/// Titles that programs write over their arguments (setproctitle): one argument with blanks in it.
fn title(command: &Command<'_>) -> Option<String> {
    let [line] = command.args else { return None };
    let (first, rest) = line.split_once(' ')?;
    if first == "[celeryd:" {
        let inner = rest
            .split_once('(')
            .and_then(|(_, inner)| inner.rsplit_once(')'))
            .map_or("", |(inner, _)| inner);
        let words: Vec<String> = inner.split_whitespace().map(str::to_owned).collect();
        return Some(python::celery(command, &words).unwrap_or_else(|| "celery".to_owned()));
    }
    let bracket = line
        .strip_suffix(']')
        .and_then(|text| text.rsplit_once('['))
        .map(|(_, inner)| inner);
    let named = first.strip_suffix(':');
    match (named.or(Some(first)), bracket) {
        // gunicorn writes its proc_name there, by default the application.
        (Some("gunicorn"), Some(application)) => {
            return Some(python::application(command, application, None));
        }
        // puma writes the application's folder there.
        (Some("puma"), Some(tag)) if !is_generic(tag) => return Some(tag.to_owned()),
        (Some("puma"), _) => return Some(command.cwd_name().unwrap_or_else(|| "puma".to_owned())),
        _ => {}
    }
    if let Some(name) = named {
        // "nginx: worker process", "php-fpm: pool www", "postgres: ..."
        let is_word = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        return (is_word && !name.is_empty()).then(|| name.to_owned());
    }
    match first {
        "sidekiq" => {
            // "sidekiq 6.4.1 shop [0 of 5 busy]"
            let application = rest
                .split_ascii_whitespace()
                .nth(1)
                .filter(|word| !word.starts_with('['));
            Some(
                application
                    .map(str::to_owned)
                    .or_else(|| command.cwd_name())
                    .unwrap_or_else(|| first.to_owned()),
            )
        }
        "next-server" | "npm" | "pnpm" | "yarn" => {
            Some(command.cwd_name().unwrap_or_else(|| first.to_owned()))
        }
        _ => None,
    }
}

/// Programs that run other people's code.
fn by_program(command: &Command<'_>) -> Option<String> {
    let program = command.program();
    let family = without_version(program);
    let named = match family {
        "python" | "pypy" => python::interpreter(command),
        "gunicorn" | "uvicorn" | "hypercorn" | "celery" | "uwsgi" | "uwsgi-core" | "granian" => {
            python::launcher(command, family, command.after(1))
        }
        "java" | "javaw" => java::main_class(command),
        "node" | "nodejs" | "bun" | "deno" => scripts::javascript(command),
        "ruby" => scripts::ruby(command),
        "php-fpm" | "php-cgi" => return Some(family.to_owned()),
        "php" => scripts::php(command),
        "dotnet" => scripts::dotnet(command),
        "perl" | "bash" | "sh" | "dash" | "zsh" | "ksh" | "lua" | "luajit" | "Rscript" => {
            scripts::plain(command)
        }
        _ => return None,
    };
    // An interpreter without a script (a prompt, -c CODE) is named as it was typed: the code is nobody's name.
    Some(named.unwrap_or_else(|| command.typed().unwrap_or(program).to_owned()))
}

/// A compiled program: its file name; its folder's, when it is called `main` or `server`.
fn binary(command: &Command<'_>) -> String {
    let program = command.program();
    if is_generic(program) {
        let by_exe = command.exe.and_then(Path::parent).and_then(folder_name);
        // `go run .` builds into a folder of its own, so where it was started says more.
        return by_exe
            .or_else(|| command.cwd_name())
            .unwrap_or_else(|| program.to_owned());
    }
    program.to_owned()
}

#[cfg(test)]
mod tests;
