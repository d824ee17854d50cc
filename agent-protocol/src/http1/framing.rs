//! What tells where messages begin and end.
//!
//! In: a message's first bytes, the values of its headers, the last bytes of its body. Out: what they say. Always holds:
//! whoever follows a stream without keeping its messages (the daemon, when it masks a recording) sees their borders where
//! the parsers see them, because it asks the same questions here. Refuses: nothing.

/// Longest method; the longest registered one has 17 bytes.
pub const METHOD_MAX: usize = 32;

/// Whether bytes can begin a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// No.
    No,
    /// As far as they go.
    Maybe,
    /// They have all the marks of one.
    Yes,
}

/// Whether bytes can begin a response: its version and status (RFC 9112 §4).
pub fn response_start(bytes: &[u8]) -> Start {
    const START: &[u8] = b"HTTP/1.";
    match bytes.strip_prefix(START) {
        Some([b'0' | b'1', b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', ..]) => Start::Yes,
        Some(_) => Start::Maybe,
        None if START.starts_with(bytes) => Start::Maybe,
        None => Start::No,
    }
}

/// `Content-Length` over all its headers (RFC 9112 §6.3: a list of the same number is that number).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    #[default]
    Absent,
    /// In bytes.
    Known(u64),
    /// Not a number, or several that differ.
    Invalid,
}

impl Length {
    /// Takes one more header's value.
    pub fn add(&mut self, value: &[u8]) {
        for part in value.split(|&byte| byte == b',') {
            let part = part.trim_ascii();
            let number = number(part);
            *self = match (*self, number) {
                (Self::Absent, Some(number)) => Self::Known(number),
                (Self::Known(before), Some(number)) if before == number => Self::Known(number),
                _ => Self::Invalid,
            };
        }
    }
}

/// A number of digits alone, if it fits.
fn number(digits: &[u8]) -> Option<u64> {
    digits.first()?;
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// `Transfer-Encoding` over all its headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// There is none.
    #[default]
    Absent,
    /// `chunked` is the last one.
    Chunked,
    /// Something else is the last one.
    Other,
}

impl Coding {
    /// Takes one more header's value.
    pub fn add(&mut self, value: &[u8]) {
        let last = value
            .rsplit(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
            .find(|part| !part.is_empty());
        if let Some(last) = last {
            *self = if last.eq_ignore_ascii_case(b"chunked") {
                Self::Chunked
            } else {
                Self::Other
            };
        }
    }
}

/// The rest of a message whose end is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// It is chunked and its last bytes may tell the end.
    chunked: bool,
    /// There was a hole: a piece that begins like a message is taken for one.
    pub hole: bool,
    /// The last bytes that are next to each other, right-aligned.
    last: [u8; 7],
    /// How many of `last` count.
    known: u8,
}

impl Rest {
    /// The rest of a message of which this is known.
    pub fn new(chunked: bool, hole: bool) -> Self {
        Self {
            chunked,
            hole,
            ..Self::default()
        }
    }

    /// Bytes of unknown content went by.
    pub fn forget(&mut self) {
        self.known = 0;
    }

    /// A piece (or the tail of one) went by whose last bytes are `bytes`; `whole`: these are all its bytes. True:
    /// it ends as a chunked body without trailers must end.
    pub fn ends_with(&mut self, bytes: &[u8], whole: bool) -> bool {
        let kept = bytes.len().min(self.last.len());
        self.last.rotate_left(kept);
        let at = self.last.len() - kept;
        self.last[at..].copy_from_slice(&bytes[bytes.len() - kept..]);
        self.known = self.known.saturating_add(kept as u8).min(7);
        self.chunked
            && (self.known == 7 && &self.last == b"\r\n0\r\n\r\n" || whole && bytes == b"0\r\n\r\n")
    }
}
