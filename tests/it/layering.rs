//! Who may import whom, and where each driver stays (ARCHITECTURE.md). Reads the sources, not the
//! build: every `crate::x` in a folder must be one that the folder may use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MODEL: &[&str] = &[];
const PROTOCOL: &[&str] = &["model"];
const STORE: &[&str] = &["model", "clock", "lifecycle", "telemetry"];
const ERROR: &[&str] = &["model", "protocol", "store"];
const ACCESS: &[&str] = &["model", "protocol", "clock", "store", "error"];
const PIPELINE: &[&str] = &[
    "model",
    "protocol",
    "store",
    "error",
    "access",
    "clock",
    "lifecycle",
    "telemetry",
    "traces",
];
const INGRESS: &[&str] = &[
    "model",
    "protocol",
    "store",
    "error",
    "access",
    "pipeline",
    "egress",
    "clock",
    "lifecycle",
    "telemetry",
    "traces",
];
const CONFIG: &[&str] = &[
    "access",
    "pipeline",
    "egress",
    "ingress",
    "store",
    "telemetry",
    "traces",
];
const EVERYTHING: &[&str] = &[
    "model",
    "protocol",
    "store",
    "error",
    "access",
    "pipeline",
    "egress",
    "ingress",
    "config",
    "server",
    "cli",
    "clock",
    "lifecycle",
    "telemetry",
    "traces",
];

/// What each folder of `src` may import of the others.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", MODEL),
    // Wall time is a kind of model; nothing else of ours is below these three.
    ("clock", &["model"]),
    ("lifecycle", &[]),
    ("telemetry", &[]),
    ("traces", &["model", "clock", "telemetry"]),
    ("protocol", PROTOCOL),
    ("store", STORE),
    ("error", ERROR),
    ("access", ACCESS),
    ("pipeline", PIPELINE),
    // Side by side with the pipeline: the two meet only in the log.
    ("egress", PIPELINE),
    ("ingress", INGRESS),
    ("config", CONFIG),
    ("server", EVERYTHING),
    ("cli", EVERYTHING),
    ("main", EVERYTHING),
    ("lib", EVERYTHING),
];

/// Words that may stand only in these places: files or folders below `src`.
const STAYS: &[(&str, &[&str])] = &[
    ("warp::", &["ingress"]),
    ("hyper::", &["ingress"]),
    ("redis::", &["store/redis"]),
    ("mongodb::", &["store/mongo"]),
    ("sqlx::", &["store/embedded", "store/postgres"]),
    ("jsonwebtoken::", &["ingress/auth"]),
    ("argon2::", &["ingress/auth"]),
    ("governor::", &["ingress/limit", "egress/admission.rs"]),
    ("rustls::", &["ingress", "cli/load", "traces"]),
    ("opentelemetry::", &["traces", "traces.rs"]),
    ("opentelemetry_sdk::", &["traces", "traces.rs"]),
    ("prometheus::", &["telemetry.rs"]),
    ("clap::", &["cli"]),
    ("rustix::", &["cli/doctor"]),
    ("x509_parser::", &["ingress"]),
    ("tokio::spawn", &["lifecycle.rs"]),
    ("task::spawn", &["lifecycle.rs"]),
    ("thread::spawn", &["lifecycle.rs"]),
    ("std::env", &["config", "config.rs"]),
    ("SystemTime::now", &["clock.rs"]),
    ("Timestamp::now", &["clock.rs"]),
    (
        "store::redis",
        &["store/redis", "server/stores.rs", "config.rs"],
    ),
    (
        "store::mongo",
        &["store/mongo", "server/stores.rs", "config.rs"],
    ),
    (
        "store::postgres",
        &["store/postgres", "server/stores.rs", "config.rs"],
    ),
    (
        "store::embedded",
        &["store/embedded", "server/stores.rs", "config.rs"],
    ),
];

/// Folders that do no I/O and are not async.
const PURE: &[&str] = &["model", "protocol"];

/// What is wrong with one file.
fn faults(path: &str, text: &str) -> Vec<String> {
    let code = code_of(text);
    let folder = path
        .split('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".rs");
    let mut faults = Vec::new();
    match MAY_IMPORT.iter().find(|(name, _)| *name == folder) {
        None => faults.push(format!("{path}: the folder {folder} is not in the table")),
        Some((_, allowed)) => {
            for used in imports(&code) {
                if used != folder && !allowed.contains(&used.as_str()) {
                    faults.push(format!("{path}: {folder} may not use crate::{used}"));
                }
            }
        }
    }
    for (word, places) in STAYS {
        let at_home = places
            .iter()
            .any(|place| path == *place || path.starts_with(&format!("{place}/")));
        if !at_home && holds(&code, word) {
            faults.push(format!("{path}: {word} stays in {places:?}"));
        }
    }
    if PURE.contains(&folder) && (holds(&code, "async fn") || holds(&code, "tokio::")) {
        faults.push(format!("{path}: {folder} does no I/O and is not async"));
    }
    if code.contains("use super::super::") {
        faults.push(format!(
            "{path}: two steps up; write crate::… to show the layer"
        ));
    }
    faults
}

/// The text without comments, and without the tests at its end.
fn code_of(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text.get(..tests).unwrap_or_default().lines();
    let code = lines.map(|line| match line.find("//") {
        // Not within a string, as in an address.
        Some(at) if !line.get(..at).unwrap_or_default().ends_with(':') => {
            line.get(..at).unwrap_or_default()
        }
        _ => line,
    });
    code.collect::<Vec<_>>().join("\n")
}

/// The first names after `crate::`, those in braces too.
fn imports(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let before = code.get(..at).and_then(|before| before.chars().next_back());
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = code.get(at + found.len()..).unwrap_or_default();
        match rest.strip_prefix('{') {
            Some(list) => names.extend(outermost(list)),
            None => names.extend([identifier(rest)]),
        }
    }
    names
}

/// The names at the outer level of a list in braces.
fn outermost(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut begins) = (0, Vec::new(), true);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !letter.is_whitespace() => {
                names.push(identifier(list.get(at..).unwrap_or_default()));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// Whether the word stands there as a path of its own, not as the end of another.
fn holds(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code.get(..at).unwrap_or_default();
        let ours = ["store::", "super::", "self::"];
        let joined = before
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        !joined && !ours.iter().any(|prefix| before.ends_with(prefix))
    })
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_import_goes_downwards_and_every_driver_stays_home() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "the sources were not found");
    let mut found = Vec::new();
    for file in files {
        let path = file
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        found.extend(faults(&path, &std::fs::read_to_string(&file).unwrap()));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn planted_faults_are_found() {
    for (path, text) in [
        ("pipeline/a.rs", "use crate::egress::hub::Hub;"),
        (
            "egress/a.rs",
            "use crate::{model::id::UserId, pipeline::append::Appender};",
        ),
        ("egress/a.rs", "fn f() { crate::ingress::reply::json() }"),
        ("store/log.rs", "pub use crate::error::Error;"),
        ("model/id.rs", "use crate::store::log::Log;"),
        ("model/id.rs", "async fn f() {}"),
        ("access/mod.rs", "use crate::ingress::call::Call;"),
        ("egress/a.rs", "use prometheus::IntCounter;"),
        ("pipeline/a.rs", "use warp::Filter;"),
        ("ingress/a.rs", "tokio::spawn(async {});"),
        ("ingress/a.rs", "let key = std::env::var(\"KEY\");"),
        ("pipeline/a.rs", "use crate::store::redis::log::RedisLog;"),
        ("store/mongo/a.rs", "use redis::Client;"),
        (
            "store/redis/a.rs",
            "use super::super::embedded::log::EmbeddedLog;",
        ),
        ("elsewhere/a.rs", ""),
    ] {
        assert!(!faults(path, text).is_empty(), "{path}: {text}");
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, text) in [
        (
            "ingress/a.rs",
            "use crate::{error::Result, pipeline::{append::Appender, outbox::Outbox}};",
        ),
        ("ingress/a.rs", "use warp::Filter; // not crate::server"),
        (
            "store/redis/log.rs",
            "use redis::Client;\nuse crate::store::redis::keys::Keys;",
        ),
        ("store/mod.rs", "pub mod redis;"),
        (
            "pipeline/a.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests { use crate::egress::hub::Hub; }",
        ),
        ("lifecycle.rs", "tokio::spawn(task);"),
        ("config/layer.rs", "std::env::vars_os();"),
    ] {
        assert_eq!(faults(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
