//! Whether the tables are those of this program, by the versions of the migrations that made them.

use crate::store::finding::Finding;

/// The versions that were applied whole, from the driver's own table.
pub const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";

/// Compares what was applied with what this program knows.
pub fn judge(what: &'static str, known: impl Iterator<Item = i64>, applied: &[i64]) -> Finding {
    let known: Vec<i64> = known.collect();
    let newer = applied.iter().filter(|version| !known.contains(version));
    let missing = known.iter().filter(|version| !applied.contains(version));
    let (newer, missing) = (newer.count(), missing.count());
    let found = format!("{} of {} migrations", known.len() - missing, known.len());
    if newer > 0 {
        let found = format!("{found}, and {newer} of a newer program");
        return Finding::fail(what, found, "run the newer program, or restore a backup");
    }
    match (missing, applied.is_empty()) {
        (0, _) => Finding::ok(what, found),
        (_, true) => Finding::warn(what, "not there yet", "nothing: the first start makes it"),
        (_, false) => Finding::warn(what, found, "nothing: the next start brings it up to date"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::finding::Verdict;

    #[test]
    fn a_schema_of_a_newer_program_fails_and_an_older_one_does_not() {
        let verdict = |applied: &[i64]| judge("schema", [1, 2].into_iter(), applied).verdict;
        assert_eq!(verdict(&[1, 2]), Verdict::Ok);
        assert_eq!(verdict(&[1]), Verdict::Warn);
        assert_eq!(verdict(&[]), Verdict::Warn);
        assert_eq!(verdict(&[1, 2, 3]), Verdict::Fail);
    }
}
