//! What a contract case runs on: a store of one backend, and what must go once the case is over.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

/// A store that a case owns. It is used as the trait itself.
pub(crate) struct Fixture<T: ?Sized> {
    // Dropped in this order: a store's files or database outlive the store.
    store: Arc<T>,
    _place: Option<Box<dyn Any>>,
}

impl<T: ?Sized> Fixture<T> {
    /// A store that lives in `place`: a guard whose drop removes the folder or the database.
    pub(crate) fn in_place(store: Arc<T>, place: impl Any) -> Self {
        Self {
            store,
            _place: Some(Box::new(place)),
        }
    }
}

impl<T: ?Sized> From<Arc<T>> for Fixture<T> {
    /// A store that leaves nothing behind.
    fn from(store: Arc<T>) -> Self {
        Self {
            store,
            _place: None,
        }
    }
}

impl<T: ?Sized> Deref for Fixture<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.store
    }
}
