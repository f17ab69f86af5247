//! CPU time of processes, of all threads that they have or had.

use std::time::Duration;

use super::setup::Impossible;

/// The kernel's unit in `/proc/PID/stat` (`USER_HZ`), the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// CPU time used so far, to 10 ms. Threads that ended count too, which the sum over those that
/// are still there would lose: a pool's threads come and go.
///
/// # Errors
/// There is no such process.
pub fn used(pid: u32) -> Result<Duration, Impossible> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|source| Impossible::File { path, source })?;
    Ok(TICK * ticks(&text))
}

/// User and system time: fields 14 and 15 of proc(5). The second is a name in parentheses, which
/// may hold spaces.
fn ticks(stat: &str) -> u32 {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = behind_name.split_whitespace().skip(11).take(2);
    times.filter_map(|field| field.parse::<u32>().ok()).sum()
}

/// What these processes used together.
///
/// # Errors
/// As [`used`].
pub fn used_by(pids: &[u32]) -> Result<Duration, Impossible> {
    pids.iter().map(|pid| used(*pid)).sum()
}

/// The rows of the report: what one delivery and one message cost.
pub fn rows(used: Duration, delivered: u64, sent: u64) -> String {
    let micros = |count: u64| {
        let each = used / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        each.as_secs_f64() * 1e6
    };
    let (delivery, message) = (micros(delivered), micros(sent));
    format!("| CPU per delivery | {delivery:.2} us |\n| CPU per message | {message:.2} us |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_with_a_strange_name_are_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 75 3 4 20 0 1 0 9 1 1";
        assert_eq!(ticks(stat), 325);
        assert_eq!(ticks("nonsense"), 0);
    }
}
