//! Every metric of the server, declared once, with its help text.
//!
//! Names are `qunliu_<noun>_<unit>_total` for counters. To add one: a line in [`Metrics`] here.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// Bounds of latency histograms, in seconds.
const LATENCY_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

trait Metric: Sized {
    fn make(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self>;
}

impl Metric for IntCounter {
    fn make(name: &str, help: &str, _labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(name, help)
    }
}

impl Metric for IntGauge {
    fn make(name: &str, help: &str, _labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(name, help)
    }
}

impl Metric for IntCounterVec {
    fn make(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Metric for Histogram {
    fn make(name: &str, help: &str, _labels: &[&str]) -> prometheus::Result<Self> {
        Self::with_opts(HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec()))
    }
}

macro_rules! metrics {
    ($($field:ident: $kind:ty = $name:literal, $help:literal, [$($label:literal),*];)+) => {
        /// The metrics of one server. Built once and passed to whoever counts.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $kind,)+
        }

        impl Metrics {
            /// Fresh metrics, all zero.
            ///
            /// # Errors
            /// Two metrics share a name.
            pub fn new() -> prometheus::Result<Self> {
                let registry = Registry::new();
                $(
                    let $field = <$kind as Metric>::make($name, $help, &[$($label),*])?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { registry, $($field,)+ })
            }
        }
    };
}

metrics! {
    sockets_open: IntGauge = "qunliu_sockets_open",
        "WebSockets that are open now", [];
    frames_received: IntCounter = "qunliu_frames_received_total",
        "Text frames received from clients", [];
    frames_sent: IntCounter = "qunliu_frames_sent_total",
        "Frames handed to sockets", [];
    socket_overflows: IntCounter = "qunliu_socket_overflows_total",
        "Pushes not queued because a socket's queue was full; each is answered with resync", [];
    sockets_closed: IntCounterVec = "qunliu_sockets_closed_total",
        "WebSockets closed by the server, by close code", ["code"];
    requests: IntCounterVec = "qunliu_http_requests_total",
        "REST requests answered, by status", ["status"];
    request_errors: IntCounterVec = "qunliu_request_errors_total",
        "Requests and frames refused, by error code", ["code"];
    appends: IntCounterVec = "qunliu_log_appends_total",
        "Answers of the log to appends, by outcome", ["outcome"];
    append_seconds: Histogram = "qunliu_log_append_seconds",
        "Time from a valid send to its accepted position", [];
    epochs_raised: IntCounter = "qunliu_epochs_raised_total",
        "Fences raised by this node", [];
    groups_reopened: IntCounter = "qunliu_groups_reopened_total",
        "Group logs opened or re-opened by this node", [];
    consumed: IntCounterVec = "qunliu_consumed_events_total",
        "Events handled, by consumer", ["consumer"];
    consumer_retries: IntCounterVec = "qunliu_consumer_retries_total",
        "Batches that failed and were taken again, by consumer", ["consumer"];
    dead_letters: IntCounterVec = "qunliu_dead_letters_total",
        "Events put aside because they could not be handled, by consumer", ["consumer"];
    stored_seconds: Histogram = "qunliu_stored_delay_seconds",
        "Time from an event's own time to its durable watermark", [];
    events_tailed: IntCounter = "qunliu_tail_events_total",
        "Events read from logs for local listeners", [];
    tail_gaps: IntCounter = "qunliu_tail_gaps_total",
        "Holes in a tail that were filled from the store", [];
    groups_tailed: IntGauge = "qunliu_groups_tailed",
        "Groups with a local listener", [];
    logins: IntCounterVec = "qunliu_logins_total",
        "Attempts to log in, by result", ["result"];
}

impl Metrics {
    /// All metrics in the Prometheus text format.
    ///
    /// # Errors
    /// A metric could not be encoded.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_own_name() {
        let metrics = Metrics::new().unwrap();
        metrics.frames_sent.inc();
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(text.contains("qunliu_frames_sent_total 1"), "{text}");
    }
}
