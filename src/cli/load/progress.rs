//! The progress bar, on standard error and only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::meter::Meter;

/// A bar for one phase of the run.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar of `length` steps under a word for the phase.
    pub(super) fn new(phase: &'static str, length: usize) -> Self {
        let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template("{prefix:>10} {wide_bar} {pos}/{len} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(phase);
        Self(bar)
    }

    /// One step.
    pub(super) fn step(&self) {
        self.0.inc(1);
    }

    /// Where the phase stands.
    pub(super) fn set(&self, position: u64, meter: &Meter) {
        let (stored, delivered) = (meter.stored.get(), meter.delivered.get());
        self.0.set_position(position);
        self.0
            .set_message(format!("stored {stored}, delivered {delivered}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How often a bar is drawn while something runs.
pub(super) const REDRAW: Duration = Duration::from_millis(100);
