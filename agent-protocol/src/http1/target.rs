//! Request targets (RFC 9112 §3.2).
//!
//! In: the text between method and version. Out: its form and parts. Always holds: parts are slices of the raw text.

use std::ops::Range;

/// Forms of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://authority/path?query`, to proxies
    Absolute,
    /// `host:port`, of CONNECT
    Authority,
    /// `*`, of OPTIONS
    Asterisk,
}

/// A request target, kept as one string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    raw: String,
    form: TargetForm,
    scheme: Range<usize>,
    authority: Range<usize>,
    path: Range<usize>,
    query: Option<Range<usize>>,
}

impl Target {
    /// From the raw text; `connect` says that the method is CONNECT.
    pub fn new(raw: &str, connect: bool) -> Self {
        let mut target = Self {
            raw: raw.to_owned(),
            form: TargetForm::Origin,
            scheme: 0..0,
            authority: 0..0,
            path: 0..raw.len(),
            query: None,
        };
        if connect {
            target.form = TargetForm::Authority;
            target.authority = after_user(raw, 0..raw.len());
            target.path = raw.len()..raw.len();
            return target;
        }
        if raw == "*" {
            target.form = TargetForm::Asterisk;
            return target;
        }
        let mut path = 0;
        if !raw.starts_with('/')
            && let Some(colon) = raw.find("://")
            && raw[..colon]
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        {
            let authority = colon + 3;
            path = raw[authority..]
                .find(['/', '?', '#'])
                .map_or(raw.len(), |at| authority + at);
            target.form = TargetForm::Absolute;
            target.scheme = 0..colon;
            target.authority = after_user(raw, authority..path);
        }
        let end = raw[path..].find('#').map_or(raw.len(), |at| path + at);
        match raw[path..end].find('?') {
            Some(at) => {
                target.path = path..path + at;
                target.query = Some(path + at + 1..end);
            }
            None => target.path = path..end,
        }
        target
    }

    /// As it was on the wire. May hold secrets in its query and user part.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Form.
    pub const fn form(&self) -> TargetForm {
        self.form
    }

    /// Scheme of an absolute form.
    pub fn scheme(&self) -> Option<&str> {
        self.part(&self.scheme)
    }

    /// `host:port` of an absolute or authority form, without a user part.
    pub fn authority(&self) -> Option<&str> {
        self.part(&self.authority)
    }

    /// Path; `/` for an absolute form that has none, `*` for the asterisk form, empty for the authority form.
    pub fn path(&self) -> &str {
        match self.part(&self.path) {
            None if self.form == TargetForm::Absolute => "/",
            None => "",
            Some(path) => path,
        }
    }

    /// Query without its `?`; `Some("")` for a bare `?`.
    pub fn query(&self) -> Option<&str> {
        self.query
            .as_ref()
            .map(|range| self.raw.get(range.clone()).unwrap_or(""))
    }

    fn part(&self, range: &Range<usize>) -> Option<&str> {
        self.raw.get(range.clone()).filter(|text| !text.is_empty())
    }
}

/// The authority without `user:password@`.
fn after_user(raw: &str, authority: Range<usize>) -> Range<usize> {
    let start = raw[authority.clone()]
        .rfind('@')
        .map_or(authority.start, |at| authority.start + at + 1);
    start..authority.end
}
