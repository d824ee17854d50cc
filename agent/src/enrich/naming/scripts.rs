//! Names of scripts for Node, Ruby, PHP, .NET and shells.
//!
//! In: the command. Out: the script's name, or none when the interpreter runs none. Always holds: pure.

use std::path::Path;

use super::{
    Command,
    words::{folder_name, stem},
};

/// Options of node, bun and deno that take the next argument.
const NODE_VALUED: &[&str] = &[
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "--env-file",
    "-C",
    "--conditions",
    "--config",
    "-c",
    "--title",
    "--stack-trace-limit",
];

/// Programs under `node_modules` that run the script named next.
const NODE_RUNNERS: &[&str] = &[
    "babel-node",
    "nodemon",
    "ts-node",
    "ts-node-dev",
    "tsx",
    "vite-node",
    "pm2-runtime",
    "npx",
    "c8",
    "dotenv",
];

/// Programs that run what the working folder's `package.json` says.
const PACKAGE_TOOLS: &[&str] = &[
    "npm", "npm-cli", "npx", "npx-cli", "yarn", "pnpm", "corepack",
];

/// `node [options] server.js`, `node …/node_modules/.bin/next`, `deno run server.ts`, `bun server.ts`.
pub(super) fn javascript(command: &Command<'_>) -> Option<String> {
    let mut rest = command.after(1).iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "-e" | "--eval" | "-p" | "--print" | "-pe" | "-i" | "--interactive" | "-" => {
                return None;
            }
            "run" | "x" | "serve" | "start" | "watch" if command.program() != "node" => {}
            option if NODE_VALUED.contains(&option) => {
                rest.next();
            }
            option if option.starts_with('-') => {}
            script => return Some(javascript_file(command, script, rest.as_slice())),
        }
    }
    None
}

fn javascript_file(command: &Command<'_>, script: &str, args: &[String]) -> String {
    let Some((project, _)) = script.split_once("node_modules") else {
        // npm, yarn and the like, installed with node, run what their folder's package.json says.
        let name = stem(script);
        if matches!(
            name,
            "npm" | "npm-cli" | "npx" | "npx-cli" | "yarn" | "pnpm"
        ) {
            return command.cwd_name().unwrap_or_else(|| name.to_owned());
        }
        return command.script(script);
    };
    // node_modules/.bin/NAME, node_modules/NAME/…, node_modules/@scope/NAME/…
    let mut parts = script
        .rsplit_once("node_modules/")
        .map_or("", |(_, tail)| tail)
        .split('/');
    let first = parts.next().unwrap_or_default();
    let tool = if first == ".bin" || first.starts_with('@') {
        parts.next().unwrap_or(first)
    } else {
        first
    };
    if NODE_RUNNERS.contains(&tool) {
        let run = args
            .iter()
            .find(|arg| !arg.starts_with('-') && arg.contains('.'));
        if let Some(run) = run {
            return command.script(run);
        }
    }
    // A tool that serves the project (next, vite, nest): the project is the service.
    let folder = match (
        project.is_empty() || PACKAGE_TOOLS.contains(&tool),
        Path::new(project).is_absolute(),
    ) {
        (true, _) => command.cwd_name(),
        (false, true) => folder_name(Path::new(project)),
        (false, false) => command.folder_of(&format!("{project}x")),
    };
    folder.unwrap_or_else(|| tool.to_owned())
}

/// `ruby [options] app.rb`, `ruby bin/rails server`, `ruby …/bin/puma`.
pub(super) fn ruby(command: &Command<'_>) -> Option<String> {
    let mut rest = command.after(1).iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "-e" => return None,
            // -I and friends may carry their value in the next argument.
            "-I" | "-r" | "-C" | "-E" => {
                rest.next();
            }
            // A one-line library run: ruby -run -e httpd
            option if option.starts_with('-') => {}
            script => {
                let name = stem(script);
                let serves_folder = matches!(
                    name,
                    "rails"
                        | "puma"
                        | "unicorn"
                        | "unicorn_rails"
                        | "thin"
                        | "rackup"
                        | "falcon"
                        | "bundle"
                        | "sidekiq"
                        | "rake"
                );
                if serves_folder {
                    return Some(command.cwd_name().unwrap_or_else(|| name.to_owned()));
                }
                return Some(command.script(script));
            }
        }
    }
    None
}

/// `php [options] script.php`, `php -S HOST:PORT [-t FOLDER] [router.php]`, `php artisan serve`.
pub(super) fn php(command: &Command<'_>) -> Option<String> {
    let mut rest = command.after(1).iter();
    let (mut folder, mut serves) = (None, false);
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "-r" | "-a" => return None,
            "-S" => {
                serves = true;
                rest.next();
            }
            "-t" => folder = rest.next(),
            "-d" | "-c" | "-z" => {
                rest.next();
            }
            "-f" => {}
            option if option.starts_with('-') => {}
            "artisan" | "bin/console" | "yii" => {
                return Some(command.cwd_name().unwrap_or_else(|| stem(arg).to_owned()));
            }
            script => return Some(command.script(script)),
        }
    }
    match folder {
        Some(folder) => command.folder_of(&format!("{folder}/x")),
        None if serves => command.cwd_name(),
        None => None,
    }
}

/// `dotnet Shop.dll`, `dotnet exec Shop.dll`, `dotnet run`.
pub(super) fn dotnet(command: &Command<'_>) -> Option<String> {
    let file = command.after(1).iter().find(|arg| arg.ends_with(".dll"));
    file.map(|file| stem(file).to_owned())
        .or_else(|| command.cwd_name())
}

/// `bash script.sh`, `perl script.pl`: the first argument that is no option.
pub(super) fn plain(command: &Command<'_>) -> Option<String> {
    for arg in command.after(1) {
        match arg.as_str() {
            "-" | "-s" => return None,
            // -c CODE, -lc CODE, -e CODE: no file is run
            option if option.starts_with('-') => {
                if !option.starts_with("--") && option.contains(['c', 'e']) {
                    return None;
                }
            }
            script => return Some(command.script(script)),
        }
    }
    None
}
