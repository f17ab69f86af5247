//! The result as Markdown tables: what was counted, and latencies. They count from the moment a
//! message was due, but for one, which counts from `accepted`.

use std::fmt::Write as _;
use std::time::Duration;

use super::check::{Findings, Flaw};
use super::meter::{Latency, Meter};

/// The tables.
pub fn tables(meter: &Meter, findings: &Findings) -> String {
    let counts = [
        ("sent", meter.sent.get()),
        ("accepted", meter.accepted.get()),
        ("stored", meter.stored.get()),
        ("delivered", meter.delivered.get()),
        ("missing", findings.count(Flaw::Missing)),
        ("doubled", findings.count(Flaw::Doubled)),
        ("out of order", findings.count(Flaw::OutOfOrder)),
        ("foreign", findings.count(Flaw::Foreign)),
        ("wrong receipts", findings.count(Flaw::Receipt)),
        ("wrong unread", findings.count(Flaw::Unread)),
        ("protocol faults", findings.count(Flaw::Protocol)),
        ("shown as lost", findings.lost()),
        ("again", meter.again.get()),
        ("reconnects", meter.reconnects.get()),
        ("told to go away", meter.goaways.get()),
        ("epochs told", meter.epochs.get()),
        ("resyncs", meter.resyncs.get()),
        ("silent holes", meter.holes.get()),
        ("pulls", meter.pulls.get()),
    ];
    let mut text = String::from("| what | count |\n| --- | ---: |\n");
    for (what, count) in counts {
        // Writing to a String cannot fail.
        writeln!(text, "| {what} | {count} |").unwrap_or_default();
    }
    text.push_str("\n| latency | samples | p50 | p99 | p99.9 | max |\n");
    text.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
    let latencies = [
        ("accept", &meter.accept),
        ("store", &meter.store),
        ("stored minus accepted", &meter.archive),
        ("delivery", &meter.delivery),
        ("lag of this generator", &meter.lag),
    ];
    for (what, latency) in latencies {
        text.push_str(&latency_row(what, latency));
    }
    text
}

fn latency_row(what: &str, latency: &Latency) -> String {
    let quantiles = [0.5, 0.99, 0.999, 1.0].map(|quantile| shown(latency.at(quantile)));
    format!(
        "| {what} | {} | {} |\n",
        latency.count(),
        quantiles.join(" | ")
    )
}

fn shown(latency: Option<Duration>) -> String {
    match latency {
        Some(latency) => format!("{:.2} ms", latency.as_secs_f64() * 1000.0),
        None => "∞".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_came_is_shown_as_infinite() {
        let meter = Meter::default();
        meter.delivery.record(Duration::from_micros(2500));
        meter.delivery.record_never(1);
        meter.archive.record(Duration::from_millis(48));
        meter.sent.add(2);
        let text = tables(&meter, &Findings::default());
        assert!(text.contains("| sent | 2 |"), "{text}");
        assert!(
            text.contains("| delivery | 2 | 2.50 ms | ∞ | ∞ | ∞ |"),
            "{text}"
        );
        assert!(text.contains("| stored minus accepted | 1 | 48"), "{text}");
    }
}
