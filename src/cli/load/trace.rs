//! The counts as lines on standard error while the run goes on, for whoever breaks something in
//! the middle of it and must know what was on its way at that moment.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::meter::Meter;
use super::socket::Run;

/// The pause between two lines.
const PAUSE: Duration = Duration::from_millis(50);

/// Writes a line after every pause until the run stops.
pub(super) async fn trace(run: Arc<Run>) {
    while !run.stop.is_cancelled() {
        // A reader that went away is no reason to fail.
        std::io::stderr()
            .write_all(line(&run.meter).as_bytes())
            .unwrap_or_default();
        tokio::time::sleep(PAUSE).await;
    }
}

fn line(meter: &Meter) -> String {
    let counts = [
        ("sent", &meter.sent),
        ("accepted", &meter.accepted),
        ("stored", &meter.stored),
        ("again", &meter.again),
        ("reconnects", &meter.reconnects),
        ("live", &meter.live),
    ];
    let counts = counts.map(|(what, count)| format!(" {what}={}", count.get()));
    format!("trace{}\n", counts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_every_count() {
        let meter = Meter::default();
        meter.sent.add(7);
        meter.accepted.add(5);
        assert_eq!(
            line(&meter),
            "trace sent=7 accepted=5 stored=0 again=0 reconnects=0 live=0\n"
        );
    }
}
