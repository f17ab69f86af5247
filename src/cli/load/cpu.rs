//! CPU time of the server's process, all of its threads together.

use std::time::Duration;

use super::setup::Impossible;

/// CPU time used so far (proc(5), the first number of each task's `schedstat`: nanoseconds).
///
/// # Errors
/// There is no such process.
pub fn used(pid: u32) -> Result<Duration, Impossible> {
    let path = format!("/proc/{pid}/task");
    let unreadable = |source| Impossible::File {
        path: path.clone(),
        source,
    };
    let tasks = std::fs::read_dir(&path).map_err(unreadable)?;
    // A thread may end while it is looked at.
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(Duration::from_nanos(nanos.sum()))
}

/// The row of the report: what one delivery cost.
pub fn row(used: Duration, delivered: u64) -> String {
    let each = used / u32::try_from(delivered.max(1)).unwrap_or(u32::MAX);
    let micros = each.as_secs_f64() * 1e6;
    format!("| server CPU per delivery | {micros:.2} us |\n")
}
