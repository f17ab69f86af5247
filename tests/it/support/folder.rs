//! A folder for what one test keeps.

use std::path::{Path, PathBuf};

/// A folder of its own for one test, removed when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    pub(crate) fn new() -> Self {
        let name = format!("sqlite-{}", uuid::Uuid::new_v4().simple());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The database file in it.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("qunliu.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}
