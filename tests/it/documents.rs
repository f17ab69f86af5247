//! Promises name the tests that show them: each test and each file that GUARANTEES.md and
//! docs/security.md name must be there, or a promise has lost its witness.

use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 2] = ["GUARANTEES.md", "docs/security.md"];

/// Folders in which a named file may lie, from the root of the source tree.
const FOLDERS: [&str; 3] = ["", "tests/it", "tests"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust below a folder, in one text.
fn sources(folder: &Path, text: &mut String) {
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&read(&path));
        }
    }
}

/// What stands between backticks in the rows of tables.
fn quoted(document: &str) -> Vec<&str> {
    let rows = document.lines().filter(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2))
        .collect()
}

/// A test is named as a fact: words between underscores, three or more.
fn is_test_name(word: &str) -> bool {
    let is_word = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    word.split('_').count() >= 3 && word.split('_').all(is_word) && !word.starts_with("qunliu_")
}

#[test]
fn every_test_and_file_that_a_promise_names_is_there() {
    let mut code = String::new();
    for folder in ["src", "tests/it"] {
        sources(&root().join(folder), &mut code);
    }
    let mut named = 0;
    for document in DOCUMENTS {
        let text = read(&root().join(document));
        for word in quoted(&text) {
            if is_test_name(word) {
                let is_there = code.contains(&format!("fn {word}("));
                assert!(
                    is_there,
                    "{document} names the test {word}, which is not there"
                );
                named += 1;
            } else if word.ends_with(".rs") || word.ends_with(".mjs") {
                let mut places = FOLDERS.iter().map(|folder| root().join(folder).join(word));
                assert!(
                    places.any(|path| path.is_file()),
                    "{document} names the file {word}, which is not there"
                );
            }
        }
    }
    assert!(
        named > 100,
        "only {named} tests were found: is the form of the tables another?"
    );
}
