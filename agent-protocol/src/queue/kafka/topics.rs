//! Names of topics whose ids are used instead (KIP-516).
//!
//! In: names and ids from metadata. Out: a name for an id, a [`Topic`]. Always holds: at most [`NAMED_MAX`] names are kept; an id is never
//! given another topic's name, as ids are random. Refuses: nothing.
//!
//! A client asks for metadata on one connection and produces and fetches on others, so all connections of an agent share one table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::queue::{Key, Keyer, NAME_MAX};

/// Most names kept.
pub const NAMED_MAX: usize = 4096;

/// The table. Clones are the same table.
#[derive(Clone, Debug, Default)]
pub struct Topics(Arc<Mutex<HashMap<[u8; 16], Arc<str>>>>);

impl Topics {
    pub(super) fn learn(&self, id: [u8; 16], name: &[u8]) {
        if id == [0; 16] || name.is_empty() {
            return;
        }
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains_key(&id) {
            return;
        }
        // Topics that were deleted are never asked for again; all that live are named again within minutes.
        if names.len() >= NAMED_MAX {
            names.clear();
        }
        names.insert(id, Arc::from(text(name)));
    }

    pub(super) fn named(&self, name: &[u8]) -> Topic {
        Topic {
            name: Arc::from(text(name)),
            id: None,
        }
    }

    pub(super) fn of_id(&self, id: [u8; 16]) -> Topic {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Topic {
            name: names.get(&id).cloned().unwrap_or_default(),
            id: Some(id),
        }
    }
}

/// A topic as a message says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topic {
    /// Empty when only the id is known.
    pub(super) name: Arc<str>,
    pub(super) id: Option<[u8; 16]>,
}

impl Topic {
    /// What stands for it in keys: the name, so that clients of both kinds meet, else the id.
    pub(super) fn word(&self) -> &[u8] {
        match &self.id {
            Some(id) if self.name.is_empty() => id,
            _ => self.name.as_bytes(),
        }
    }

    /// The keys of a place in it: by its name and by its id, as far as they are known.
    pub(super) fn places(&self, keyer: &Keyer, partition: i32, offset: i64) -> Vec<Key> {
        let name = Some(self.name.as_bytes()).filter(|name| !name.is_empty());
        let words = [name, self.id.as_ref().map(|id| &id[..])];
        let place = |word| keyer.place(&[word, &partition.to_be_bytes(), &offset.to_be_bytes()]);
        words.into_iter().flatten().map(place).collect()
    }
}

/// A name as text, cut to [`NAME_MAX`] bytes.
pub(super) fn text(name: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&name[..name.len().min(NAME_MAX)]).into_owned();
    while text.len() > NAME_MAX {
        text.pop();
    }
    text
}

/// A topic as its message says it.
pub(super) fn said(topic: &Topic) -> Vec<u8> {
    match &topic.id {
        Some(id) => id.to_vec(),
        None => topic.name.as_bytes().to_vec(),
    }
}
