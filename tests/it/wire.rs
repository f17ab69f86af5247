//! The golden frames of `tests/wire`, one file each: what the server writes, byte for byte, what it
//! reads, and what it refuses. The other clients of the protocol are tested with the same files.
//!
//! After a change of the protocol that is meant, `QUNLIU_WRITE_WIRE=1` writes the `server-` files
//! anew; the diff is then the change of the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

mod client; // frames that are read, and frames that are refused
mod server; // frames that are written

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

fn path(name: &str) -> PathBuf {
    folder().join(format!("{name}.json"))
}

/// A golden frame as it stands, but for the line end.
fn golden(name: &str) -> String {
    let text =
        std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

#[test]
fn every_golden_file_is_used() {
    let files = std::fs::read_dir(folder()).unwrap();
    let there: BTreeSet<String> = files
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let frames: BTreeMap<&str, Vec<u8>> = server::frames().into_iter().collect();
    let used = frames.keys().chain(client::READ).copied();
    let used = used.chain(client::REFUSED.iter().map(|(name, _, _)| *name));
    assert_eq!(there, used.map(str::to_owned).collect());
}
