//! Typed reading of documents that came from the server. A field that is missing or of another
//! type makes the document unreadable ([`crate::store::StoreError::Corrupt`]), never a panic and
//! never a default.

use mongodb::bson::RawDocument;

use super::failure::corrupt;
use crate::model::position::Position;
use crate::store::Result;

/// A document under reading, with the name of its collection for errors.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    document: &'a RawDocument,
    collection: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads a document of `collection`.
    pub(super) const fn new(document: &'a RawDocument, collection: &'static str) -> Self {
        Self {
            document,
            collection,
        }
    }

    /// The bytes of a binary field.
    pub(super) fn bytes(&self, name: &str) -> Result<&'a [u8]> {
        let found = self.document.get_binary(name).ok();
        found
            .map(|binary| binary.bytes)
            .ok_or_else(|| self.bad(name))
    }

    /// What `parse` makes of a binary field.
    pub(super) fn parsed<T>(&self, name: &str, parse: fn(&[u8]) -> Option<T>) -> Result<T> {
        parse(self.bytes(name)?).ok_or_else(|| self.bad(name))
    }

    /// A position.
    pub(super) fn position(&self, name: &str) -> Result<Position> {
        self.parsed(name, Position::from_slice)
    }

    /// A signed number.
    pub(super) fn signed(&self, name: &str) -> Result<i64> {
        self.document
            .get_i64(name)
            .ok()
            .ok_or_else(|| self.bad(name))
    }

    /// A number that is never negative.
    pub(super) fn number(&self, name: &str) -> Result<u64> {
        u64::try_from(self.signed(name)?)
            .ok()
            .ok_or_else(|| self.bad(name))
    }

    /// A number that is never negative; 0 where it is not set.
    pub(super) fn optional_number(&self, name: &str) -> Result<u64> {
        match self.document.get(name) {
            Ok(None) => Ok(0),
            _ => self.number(name),
        }
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        self.document
            .get_str(name)
            .ok()
            .ok_or_else(|| self.bad(name))
    }

    /// A document within the document; `None` if it is not there.
    pub(super) fn inner(&self, name: &str) -> Result<Option<Self>> {
        let value = self.document.get(name).ok().ok_or_else(|| self.bad(name))?;
        let document = value.map(|value| value.as_document().ok_or_else(|| self.bad(name)));
        Ok(document
            .transpose()?
            .map(|inner| Self::new(inner, self.collection)))
    }

    /// The error that this field makes the document unreadable.
    pub(super) fn bad(&self, name: &str) -> crate::store::StoreError {
        corrupt(format!("field {name} of a document in {}", self.collection))
    }
}
