//! Reads one section of the configuration file and remembers what it was asked for.
//!
//! In: the text of a TOML file. Out: typed values, each with the line it stands on. Always holds: a key nobody asked
//! for is an error that lists the keys that were asked for, so the list of allowed keys is the code that reads them.
//! Refuses: a wrong type, a number out of range, an unknown word.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Source};

/// The file's path and text, to turn byte offsets into lines.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// Path as the user gave it.
    pub path: &'a str,
    /// The whole file.
    pub text: &'a str,
}

impl Text<'_> {
    /// An error at byte `offset`.
    pub fn error(&self, offset: usize, message: impl Into<String>) -> ConfigError {
        let before = self
            .text
            .as_bytes()
            .get(..offset)
            .unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError::new(
            Source::File {
                path: self.path.to_owned(),
                line,
            },
            message,
        )
    }
}

/// A table while it is read.
pub(super) struct Section<'a> {
    text: Text<'a>,
    /// `[scope]`; empty for the top level.
    title: String,
    table: DeTable<'a>,
    /// Where the section begins, in bytes.
    offset: usize,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The top level of a file.
    pub fn parse(text: Text<'a>) -> Result<Self, ConfigError> {
        let table = DeTable::parse(text.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            text.error(offset, format!("not valid TOML: {}", error.message()))
        })?;
        Ok(Self {
            text,
            title: String::new(),
            offset: 0,
            table: table.into_inner(),
            asked: Vec::new(),
        })
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table.remove(key)
    }

    fn wrong(&self, offset: usize, key: &str, message: impl AsRef<str>) -> ConfigError {
        let place = match self.title.as_str() {
            "" => String::new(),
            title => format!(" in [{title}]"),
        };
        self.text
            .error(offset, format!("`{key}`{place}: {}", message.as_ref()))
    }

    /// An error about this section as a whole, placed where it begins.
    pub fn error(&self, key: &str, message: impl AsRef<str>) -> ConfigError {
        self.wrong(self.offset, key, message)
    }

    fn wrong_type(&self, value: &Spanned<DeValue<'_>>, key: &str, allowed: &str) -> ConfigError {
        let found = value.get_ref().type_str();
        self.wrong(
            value.span().start,
            key,
            format!("found a TOML {found}; allowed: {allowed}"),
        )
    }

    /// The sub-table `key`, if the file has it.
    pub fn section(&mut self, key: &'static str) -> Result<Option<Section<'a>>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        if !value.get_ref().is_table() {
            return Err(self.wrong_type(&value, key, "a section"));
        }
        let title = match self.title.as_str() {
            "" => key.to_owned(),
            above => format!("{above}.{key}"),
        };
        let offset = value.span().start;
        let DeValue::Table(table) = value.into_inner() else {
            return Ok(None);
        };
        Ok(Some(Section {
            text: self.text,
            title,
            table,
            offset,
            asked: Vec::new(),
        }))
    }

    /// A whole number in a range.
    pub fn integer(
        &mut self,
        key: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let allowed = format!("a whole number from {min} to {max}");
        match as_integer(value.get_ref()) {
            Some(number) if number >= i128::from(min) && number <= i128::from(max) => {
                Ok(Some(number as u64))
            }
            Some(number) => Err(self.wrong(
                value.span().start,
                key,
                format!("{number} is out of range; allowed: {allowed}"),
            )),
            None => Err(self.wrong_type(&value, key, &allowed)),
        }
    }

    /// A number with a fraction (a whole one counts too).
    pub fn number(&mut self, key: &'static str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            other => as_integer(other).map(|number| number as f64),
        };
        number
            .map(Some)
            .ok_or_else(|| self.wrong_type(&value, key, "a number"))
    }

    /// true or false.
    pub fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        value
            .get_ref()
            .as_bool()
            .map(Some)
            .ok_or_else(|| self.wrong_type(&value, key, "true, false"))
    }

    /// A string that `parse` accepts.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let Some(text) = value.get_ref().as_str() else {
            return Err(self.wrong_type(&value, key, "a string"));
        };
        parse(text)
            .map(Some)
            .map_err(|message| self.wrong(value.span().start, key, message))
    }

    /// A list of strings, each of which `parse` accepts.
    pub fn strings<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.wrong_type(&value, key, "a list of strings"));
        };
        let mut items = Vec::with_capacity(array.len());
        for item in array.iter() {
            let Some(text) = item.get_ref().as_str() else {
                return Err(self.wrong_type(item, key, "a list of strings"));
            };
            items.push(parse(text).map_err(|message| self.wrong(item.span().start, key, message))?);
        }
        Ok(Some(items))
    }

    /// A list of whole numbers in a range.
    pub fn integers(
        &mut self,
        key: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<Vec<u64>>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let allowed = format!("a list of whole numbers from {min} to {max}");
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.wrong_type(&value, key, &allowed));
        };
        let mut items = Vec::with_capacity(array.len());
        for item in array.iter() {
            match as_integer(item.get_ref()) {
                Some(number) if number >= i128::from(min) && number <= i128::from(max) => {
                    items.push(number as u64)
                }
                Some(number) => {
                    let message = format!("{number} is out of range; allowed: {allowed}");
                    return Err(self.wrong(item.span().start, key, message));
                }
                None => return Err(self.wrong_type(item, key, &allowed)),
            }
        }
        Ok(Some(items))
    }

    /// All entries of this section, whatever their keys, in the order of the file; `convert` sees key and value.
    pub fn entries<T>(
        self,
        mut convert: impl FnMut(&str, &DeValue<'_>) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut items = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let item = convert(key.get_ref(), value.get_ref())
                .map_err(|message| self.wrong(value.span().start, key.get_ref(), message))?;
            items.push(item);
        }
        Ok(items)
    }

    /// Ends the reading: a key that nobody asked for is an error.
    pub fn finish(self) -> Result<(), ConfigError> {
        let Some((key, value)) = self.table.iter().min_by_key(|(key, _)| key.span().start) else {
            return Ok(());
        };
        let offset = key.span().start;
        let name = key.get_ref();
        let allowed = self.asked.join(", ");
        let message = match (self.title.as_str(), value.get_ref()) {
            ("", DeValue::Table(_)) => format!("unknown section [{name}]; allowed: {allowed}"),
            ("", _) => format!("unknown key `{name}` outside of any section; sections: {allowed}"),
            (title, _) => format!("unknown key `{name}` in [{title}]; allowed: {allowed}"),
        };
        Err(self.text.error(offset, message))
    }
}

/// The value of a TOML integer of any radix.
pub(super) fn as_integer(value: &DeValue<'_>) -> Option<i128> {
    let integer = value.as_integer()?;
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}
