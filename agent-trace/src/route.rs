//! Paths -> templates of low cardinality (`/users/42` -> `/users/{id}`).
//!
//! In: a path as it was on the wire, without its query. Out: the template for `url.template` and span names. Always
//! holds: the template depends on the path alone; it has at most [`SEGMENTS_MAX`] segments and [`LENGTH_MAX`] bytes; a
//! service gets at most a fixed number of different ones ([`Routes`]). Refuses: to guess routes of the program
//! (`http.route`): this is a shape of the path, no more.
//!
//! A segment is taken for a variable when it looks made by a machine: numbers, dates, UUIDs, hex, long or escaped
//! text, anything with many digits or random case. Words, versions (`v2`, `v1.4`) and clean file names stay.

use std::borrow::Cow;

use rustc_hash::FxHashSet;

/// Segments of a template; what follows becomes `{rest}`.
pub const SEGMENTS_MAX: usize = 12;
/// Bytes of a template; a longer one is cut to its first segment and `{rest}`.
pub const LENGTH_MAX: usize = 200;
/// Longest segment that can be a word.
const WORD_MAX: usize = 32;
/// What replaces a variable segment.
const ID: &str = "{id}";
/// What replaces the variable stem of a file name.
const FILE: &str = "{file}";
/// What replaces everything beyond the limits.
const REST: &str = "{rest}";
/// Extensions of files that are served as they are; their names may be kept.
const FILE_EXTENSIONS: &[&str] = &[
    "asp",
    "aspx",
    "avif",
    "bin",
    "bmp",
    "cgi",
    "css",
    "csv",
    "do",
    "eot",
    "gif",
    "gz",
    "htm",
    "html",
    "ico",
    "jpeg",
    "jpg",
    "js",
    "json",
    "jsp",
    "map",
    "md",
    "mjs",
    "mp3",
    "mp4",
    "otf",
    "pdf",
    "php",
    "png",
    "rss",
    "svg",
    "tar",
    "tgz",
    "ts",
    "ttf",
    "txt",
    "wasm",
    "webm",
    "webmanifest",
    "webp",
    "woff",
    "woff2",
    "xml",
    "zip",
];

/// The template of a path.
#[must_use]
pub fn template(path: &str) -> Cow<'_, str> {
    let body = path.strip_prefix('/').unwrap_or(path);
    let mut changed = path.len() > LENGTH_MAX;
    for (index, segment) in body.split('/').enumerate() {
        changed |= index >= SEGMENTS_MAX || !matches!(shape(segment), Shape::Word);
        if changed {
            return Cow::Owned(rewrite(body, path.starts_with('/')));
        }
    }
    Cow::Borrowed(path)
}

fn rewrite(body: &str, absolute: bool) -> String {
    let mut out = String::with_capacity(body.len().min(LENGTH_MAX) + 8);
    for (index, segment) in body.split('/').enumerate() {
        if index > 0 || absolute {
            out.push('/');
        }
        if index >= SEGMENTS_MAX || out.len() + segment.len().min(WORD_MAX) > LENGTH_MAX {
            out.push_str(REST);
            break;
        }
        match shape(segment) {
            Shape::Word => out.push_str(segment),
            Shape::Variable => out.push_str(ID),
            Shape::File(extension) => {
                out.push_str(FILE);
                out.push('.');
                out.push_str(extension);
            }
        }
    }
    out
}

/// What a segment looks like.
enum Shape<'a> {
    Word,
    Variable,
    /// A file whose stem is variable; its extension.
    File(&'a str),
}

fn shape(segment: &str) -> Shape<'_> {
    if let Some((stem, extension)) = segment.rsplit_once('.')
        && !stem.is_empty()
        && FILE_EXTENSIONS.contains(&extension)
    {
        // `app.3f9ab2.js`, `chunk-0a1b2c3d.css`: every part between dots and dashes must be a word.
        let clean = segment.len() <= WORD_MAX
            && !is_variable(stem)
            && stem
                .split(['.', '-', '_', '~'])
                .all(|part| !is_variable(part) && !is_hex_like(part, 6));
        return if clean {
            Shape::Word
        } else {
            Shape::File(extension)
        };
    }
    if is_variable(segment) {
        Shape::Variable
    } else {
        Shape::Word
    }
}

fn is_variable(segment: &str) -> bool {
    if segment.is_empty() || is_version(segment) {
        return false;
    }
    if segment.len() > WORD_MAX {
        return true;
    }
    let mut digits = 0;
    let mut lower = 0;
    let mut upper = 0;
    let mut marks = 0;
    for byte in segment.bytes() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'z' => lower += 1,
            b'A'..=b'Z' => upper += 1,
            b'-' | b'_' | b'.' | b'~' => marks += 1,
            // `@user` handles, escapes, matrix parameters, bytes beyond ASCII: somebody's data. `*` is OPTIONS.
            b'*' if segment.len() == 1 => {}
            _ => return true,
        }
    }
    let letters = lower + upper;
    // 42, 2024-11-21, 10.0.0.1
    (digits > 0 && letters == 0)
        // user-1234, order_00017, 01HV3K..., 1f0c9a32
        || digits >= 3
        || is_hex_like(segment, 8)
        // dQw4w9WgXcQ
        || (segment.len() >= 8 && digits >= 2 && upper > 0 && lower > 0 && marks == 0)
}

/// Hex digits (dashes allowed) of at least `least` characters, at least one of them a decimal digit: `decade` and `facade` are words.
fn is_hex_like(text: &str, least: usize) -> bool {
    text.len() >= least
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// `v1`, `v2.1`, `V3`
fn is_version(segment: &str) -> bool {
    segment.strip_prefix(['v', 'V']).is_some_and(|rest| {
        !rest.is_empty()
            && rest.len() <= 8
            && rest.split('.').all(|part| {
                (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
            })
    })
}

/// The templates one service has shown, up to a limit.
#[derive(Debug, Default)]
pub struct Routes {
    seen: FxHashSet<String>,
}

impl Routes {
    /// Whether the path is its own template, and may be used: a template that was seen and has no variable part is made
    /// of words, and a path of words stays as it is.
    #[must_use]
    pub fn knows(&self, path: &str) -> bool {
        self.seen.contains(path) && !path.contains('{')
    }

    /// Whether this template may be used: it was seen before, or there is room for it.
    pub fn admit(&mut self, template: &str, limit: usize) -> bool {
        if self.seen.contains(template) {
            return true;
        }
        self.seen.len() < limit && self.seen.insert(template.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{LENGTH_MAX, Routes, SEGMENTS_MAX, template};

    #[test]
    fn templates_of_paths() {
        for (path, expect) in [
            ("/", "/"),
            ("", ""),
            ("*", "*"),
            ("/users", "/users"),
            ("/users/", "/users/"),
            ("/users/42", "/users/{id}"),
            ("/users/42/orders/7", "/users/{id}/orders/{id}"),
            ("/users/6e0f4a52-9d1f-4b8e-8f3e-0c7f0a4f9b11", "/users/{id}"),
            ("/blobs/deadbeef", "/blobs/deadbeef"),
            ("/blobs/deadbee1", "/blobs/{id}"),
            ("/blobs/1f0c9a32", "/blobs/{id}"),
            ("/facade/decade", "/facade/decade"),
            ("/api/v1/items", "/api/v1/items"),
            ("/api/v2.14/items", "/api/v2.14/items"),
            ("/reports/2024-11-21", "/reports/{id}"),
            ("/hosts/10.0.0.1", "/hosts/{id}"),
            ("/orders/order-8812", "/orders/{id}"),
            ("/watch/dQw4w9WgXcQ", "/watch/{id}"),
            ("/oauth2/login", "/oauth2/login"),
            ("/utf8", "/utf8"),
            ("/OAuth2Login", "/OAuth2Login"),
            ("/mail/a@example.com", "/mail/{id}"),
            ("/search/%E4%B8%AD", "/search/{id}"),
            ("/a;v=1/b", "/{id}/b"),
            ("/this-is-a-rather-long-slug-of-an-article", "/{id}"),
            ("/index.html", "/index.html"),
            ("/favicon.ico", "/favicon.ico"),
            ("/static/app.js", "/static/app.js"),
            ("/static/app.3f9ab2.js", "/static/{file}.js"),
            ("/static/chunk-0a1b2c3d.css", "/static/{file}.css"),
            ("/img/2024-11-21.png", "/img/{file}.png"),
            ("/1kb.bin", "/1kb.bin"),
            ("/a/../b", "/a/../b"),
            ("//x", "//x"),
        ] {
            assert_eq!(template(path), expect, "{path}");
        }
    }

    #[test]
    fn templates_are_bounded() {
        let deep = "/a".repeat(100);
        assert_eq!(
            template(&deep),
            format!("{}/{{rest}}", "/a".repeat(SEGMENTS_MAX))
        );
        let wide = format!("/{}", "abcdefghijklmnopqrstuvwxyzabcd/".repeat(12));
        assert!(template(&wide).len() <= LENGTH_MAX + "/{rest}".len());
        assert!(template(&wide).ends_with("/{rest}"));
    }

    #[test]
    fn a_service_gets_no_more_templates_than_its_limit() {
        let mut routes = Routes::default();
        assert!(routes.admit("/a", 2));
        assert!(routes.admit("/b", 2));
        assert!(!routes.admit("/c", 2));
        assert!(routes.admit("/a", 2));
        assert!(routes.knows("/a") && !routes.knows("/c"));
    }

    #[test]
    fn a_path_that_looks_like_a_template_with_variables_is_no_template() {
        let mut routes = Routes::default();
        let long = format!("/{}/b", "a".repeat(LENGTH_MAX));
        for path in [long.as_str(), "/users/42"] {
            let seen = template(path).into_owned();
            assert!(routes.admit(&seen, 10));
            assert!(!routes.knows(&seen), "{seen}");
        }
    }
}
