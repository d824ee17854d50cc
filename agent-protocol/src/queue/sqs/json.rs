//! JSON as it comes, piece by piece: which values stand where.
//!
//! In: the bytes of one text (RFC 8259), cut anywhere. Out: texts and numbers with the names they stand under, and where objects begin and
//! end. Always holds: the same bytes in other pieces tell the same; of a value that nobody wants only the length is kept, so that a message's
//! body is never held; what is deeper than [`DEPTH_MAX`] is stepped over. Refuses: to go on after bytes that were not seen.

use super::field::Field;

/// Objects and arrays inside each other whose names are told.
const DEPTH_MAX: usize = 8;
/// Most bytes of a value that is kept; a receipt handle has some hundred.
pub(super) const VALUE_MAX: usize = 2 * 1024;
/// Most bytes of a name that can be one of [`Field`]'s.
const NAME_MAX: usize = 32;

/// Who is told. Paths name the members from the outermost object on, with [`Field::Item`] for an array's elements.
pub(super) trait Told {
    /// Whether the bytes of a text here are wanted, or its length only.
    fn wants(&self, path: &[Field]) -> bool;
    /// A text; `len` is its length, `text` nothing where it was not wanted or is longer than [`VALUE_MAX`].
    fn text(&mut self, path: &[Field], text: Option<&[u8]>, len: u64);
    /// A number, or a word.
    fn bare(&mut self, path: &[Field], text: &[u8]);
    /// An object begins.
    fn opened(&mut self, path: &[Field]);
    /// An object is over.
    fn closed(&mut self, path: &[Field]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value.
    Value,
    /// Before a member's name, or the object's end.
    Name,
    /// After a name.
    Colon,
    /// After a value.
    After,
    /// In a text.
    Text,
    /// After a backslash in it.
    Escape,
    /// In the digits of `\u`: how many are left, and what they make so far.
    Unicode(u8, u32),
    /// In a number or a word.
    Bare,
    /// In what is too deep.
    Deep,
    /// After the outermost object.
    Over,
    /// It is no JSON, or bytes are missing.
    Broken,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    state: State,
    /// For each open object or array the member that is read; [`Field::Item`] marks an array.
    path: [Field; DEPTH_MAX],
    depth: usize,
    /// Levels beyond [`DEPTH_MAX`].
    deep: u32,
    is_name: bool,
    is_wanted: bool,
    text: Vec<u8>,
    len: u64,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            state: State::Value,
            path: [Field::Other; DEPTH_MAX],
            depth: 0,
            deep: 0,
            is_name: false,
            is_wanted: false,
            text: Vec::new(),
            len: 0,
        }
    }
}

impl Scan {
    /// The outermost object is over.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Nothing more can be told.
    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Bytes of it were not seen.
    pub(super) fn lose(&mut self) {
        if self.state != State::Over {
            self.state = State::Broken;
            self.text = Vec::new();
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.text.capacity()
    }

    pub(super) fn push(&mut self, bytes: &[u8], told: &mut dyn Told) {
        for &byte in bytes {
            self.byte(byte, told);
            if matches!(self.state, State::Broken | State::Over) {
                return;
            }
        }
    }

    fn path(&self) -> &[Field] {
        self.path.get(..self.depth).unwrap_or_default()
    }

    fn is_in_array(&self) -> bool {
        self.path().last() == Some(&Field::Item)
    }

    fn byte(&mut self, byte: u8, told: &mut dyn Told) {
        match self.state {
            State::Text => self.in_text(byte, told),
            State::Escape => self.escaped(byte),
            State::Unicode(left, value) => self.unicode(left, value, byte),
            State::Bare if !matches!(byte, b',' | b'}' | b']') && !byte.is_ascii_whitespace() => {
                self.keep(byte);
            }
            State::Bare => {
                told.bare(self.path(), &self.text);
                self.state = State::After;
                self.byte(byte, told);
            }
            State::Deep => self.in_deep(byte),
            State::Over | State::Broken => {}
            State::Value | State::Name | State::Colon | State::After
                if byte.is_ascii_whitespace() => {}
            State::Value => self.value(byte, told),
            State::Name if byte == b'"' => self.begin_text(true, true),
            State::Name if byte == b'}' => self.close(told),
            State::Colon if byte == b':' => self.state = State::Value,
            State::After if byte == b',' => {
                self.state = if self.is_in_array() {
                    State::Value
                } else {
                    State::Name
                };
            }
            State::After if byte == b'}' && !self.is_in_array() => self.close(told),
            State::After if byte == b']' && self.is_in_array() => self.close(told),
            State::Name | State::Colon | State::After => self.lose(),
        }
    }

    fn value(&mut self, byte: u8, told: &mut dyn Told) {
        match byte {
            b'{' | b'[' if self.depth == DEPTH_MAX => {
                self.deep = 1;
                self.state = State::Deep;
            }
            b'{' => {
                told.opened(self.path());
                self.open(Field::Other, State::Name);
            }
            // A text of these calls is an object.
            b'[' if self.depth > 0 => self.open(Field::Item, State::Value),
            b']' if self.is_in_array() => self.close(told),
            b'"' if self.depth > 0 => {
                let is_wanted = told.wants(self.path());
                self.begin_text(false, is_wanted);
            }
            _ if self.depth > 0 && (byte.is_ascii_alphanumeric() || byte == b'-') => {
                self.begin_text(false, true);
                self.state = State::Bare;
                self.keep(byte);
            }
            _ => self.lose(),
        }
    }

    fn open(&mut self, member: Field, state: State) {
        if let Some(place) = self.path.get_mut(self.depth) {
            *place = member;
            self.depth += 1;
        }
        self.state = state;
    }

    fn close(&mut self, told: &mut dyn Told) {
        let is_array = self.is_in_array();
        self.depth = self.depth.saturating_sub(1);
        if !is_array {
            told.closed(self.path());
        }
        self.state = if self.depth == 0 {
            State::Over
        } else {
            State::After
        };
    }

    fn in_deep(&mut self, byte: u8) {
        match byte {
            b'"' => self.begin_text(false, false),
            b'{' | b'[' => self.deep += 1,
            b'}' | b']' => {
                self.deep -= 1;
                if self.deep == 0 {
                    self.state = State::After;
                }
            }
            _ => {}
        }
    }

    fn begin_text(&mut self, is_name: bool, is_wanted: bool) {
        self.state = State::Text;
        (self.is_name, self.is_wanted) = (is_name, is_wanted);
        self.text.clear();
        self.len = 0;
    }

    fn keep(&mut self, byte: u8) {
        self.len += 1;
        let most = if self.is_name { NAME_MAX } else { VALUE_MAX };
        if self.is_wanted && self.text.len() < most {
            self.text.push(byte);
        }
    }

    fn in_text(&mut self, byte: u8, told: &mut dyn Told) {
        match byte {
            b'\\' => self.state = State::Escape,
            b'"' => self.end_text(told),
            _ => self.keep(byte),
        }
    }

    fn end_text(&mut self, told: &mut dyn Told) {
        if self.deep > 0 {
            self.state = State::Deep;
            return;
        }
        let is_kept = self.is_wanted && self.text.len() as u64 == self.len;
        if self.is_name {
            let field = if is_kept {
                Field::of(&self.text)
            } else {
                Field::Other
            };
            if let Some(member) = self.path.get_mut(self.depth - 1) {
                *member = field;
            }
            self.state = State::Colon;
            return;
        }
        let text = is_kept.then_some(self.text.as_slice());
        told.text(
            self.path.get(..self.depth).unwrap_or_default(),
            text,
            self.len,
        );
        self.state = State::After;
    }

    fn escaped(&mut self, byte: u8) {
        self.state = State::Text;
        match byte {
            b'u' => self.state = State::Unicode(4, 0),
            b'n' => self.keep(b'\n'),
            b't' => self.keep(b'\t'),
            b'r' => self.keep(b'\r'),
            b'b' => self.keep(8),
            b'f' => self.keep(12),
            other => self.keep(other),
        }
    }

    fn unicode(&mut self, left: u8, value: u32, byte: u8) {
        let Some(digit) = char::from(byte).to_digit(16) else {
            return self.lose();
        };
        let value = value * 16 + digit;
        if left > 1 {
            self.state = State::Unicode(left - 1, value);
            return;
        }
        // Halves of a pair: two and two make the four bytes that the character has.
        if (0xd800..0xe000).contains(&value) {
            self.keep(b'?');
            self.keep(b'?');
        } else {
            let mut bytes = [0; 4];
            let character = char::from_u32(value).unwrap_or('?');
            for byte in character.encode_utf8(&mut bytes).bytes() {
                self.keep(byte);
            }
        }
        self.state = State::Text;
    }
}
