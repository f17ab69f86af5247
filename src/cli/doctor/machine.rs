//! What this machine gives a server: room on the disk, and files that may be open.

use std::path::Path;

use rustix::fs::{StatVfs, statvfs};
use rustix::process::{Resource, getrlimit};

use crate::config::Config;
use crate::store::finding::Finding;

/// With less free than this a store soon takes no writes.
const FREE_BYTES_FAIL: u64 = 256 << 20;

/// With less free than this somebody should look.
const FREE_BYTES_WARN: u64 = 2 << 30;

/// Open files beside those of clients: stores, logs, operators.
const FILES_BESIDE: u64 = 300;

/// The free room of the disk that the data lies on, or will.
pub(super) fn disk(data: &Path) -> Finding {
    let what = "free disk of the data";
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let there = absolute.ancestors().find(|path| path.exists());
    match there.map(statvfs) {
        Some(Ok(disk)) => free(free_bytes(&disk)),
        Some(Err(error)) => Finding::unseen(what, error),
        None => Finding::unseen(what, "there is no such folder"),
    }
}

/// What a user who is not root may still write.
const fn free_bytes(disk: &StatVfs) -> u64 {
    disk.f_bavail.saturating_mul(disk.f_frsize)
}

fn free(bytes: u64) -> Finding {
    let what = "free disk of the data";
    let found = format!("{} MiB", bytes >> 20);
    if bytes < FREE_BYTES_FAIL {
        Finding::fail(what, found, "make room: writes are about to fail")
    } else if bytes < FREE_BYTES_WARN {
        Finding::warn(what, found, "make room, or move server.data")
    } else {
        Finding::ok(what, found)
    }
}

/// The limit of this shell, which is the server's only if it is started from it.
pub(super) fn open_files(config: &Config) -> Finding {
    let sockets = u64::try_from(config.http.connections_max).unwrap_or(u64::MAX);
    enough_files(getrlimit(Resource::Nofile).current, sockets)
}

fn enough_files(limit: Option<u64>, sockets: u64) -> Finding {
    let what = "open files";
    let needed = sockets.saturating_add(FILES_BESIDE);
    match limit {
        Some(limit) if limit < needed => {
            let mend = format!(
                "allow {needed} where the server is started (ulimit -n, LimitNOFILE=), or lower \
                 http.connections_max"
            );
            Finding::warn(what, format!("{limit} for {sockets} sockets"), mend)
        }
        Some(limit) => Finding::ok(what, format!("{limit} for {sockets} sockets")),
        None => Finding::ok(what, "no limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::finding::Verdict;

    #[test]
    fn a_disk_that_fills_up_is_told_before_it_is_full() {
        assert_eq!(free(1 << 20).verdict, Verdict::Fail);
        assert_eq!(free(1 << 30).verdict, Verdict::Warn);
        assert_eq!(free(1 << 40).verdict, Verdict::Ok);
    }

    #[test]
    fn every_socket_needs_a_file() {
        assert_eq!(enough_files(Some(1024), 20_000).verdict, Verdict::Warn);
        assert_eq!(enough_files(Some(20_300), 20_000).verdict, Verdict::Ok);
        assert_eq!(enough_files(None, 20_000).verdict, Verdict::Ok);
    }

    #[test]
    fn the_disk_of_a_folder_that_is_not_there_yet_is_that_of_its_parent() {
        let missing = std::env::temp_dir().join("not/there/yet");
        assert!(disk(&missing).found.ends_with("MiB"));
    }
}
