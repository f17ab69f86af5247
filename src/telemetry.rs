//! Every metric of the server, declared once, with its help text.
//!
//! Names are `qunliu_<noun>_<unit>_total` for counters. To add one: a line in `metrics!` here.
//! Labels take few values that are known beforehand, never a group, a user or an address.

use std::ops::Deref;
use std::sync::Arc;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
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

impl Metric for IntGaugeVec {
    fn make(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Metric for GaugeVec {
    fn make(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Metric for Histogram {
    fn make(name: &str, help: &str, _labels: &[&str]) -> prometheus::Result<Self> {
        Self::with_opts(latency(name, help))
    }
}

impl Metric for HistogramVec {
    fn make(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(latency(name, help), labels)
    }
}

fn latency(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec())
}

/// The metrics of one server. Built once and passed to whoever counts; a clone counts in the same.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Named>);

impl Deref for Metrics {
    type Target = Named;

    fn deref(&self) -> &Named {
        &self.0
    }
}

macro_rules! metrics {
    ($($field:ident: $kind:ty = $name:literal, $help:literal, [$($label:literal),*];)+) => {
        /// Each metric by its name here.
        #[derive(Debug)]
        pub struct Named {
            registry: Registry,
            $(#[doc = $help] pub $field: $kind,)+
        }

        impl Metrics {
            /// Fresh metrics, all zero, and the customary ones of the process.
            ///
            /// # Errors
            /// Two metrics share a name.
            pub fn new() -> prometheus::Result<Self> {
                let registry = Registry::new();
                registry.register(Box::new(ProcessCollector::for_self()))?;
                $(
                    let $field = <$kind as Metric>::make($name, $help, &[$($label),*])?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self(Arc::new(Named { registry, $($field,)+ })))
            }
        }
    };
}

metrics! {
    build: IntGaugeVec = "qunliu_build_info",
        "Always 1; the label is the version of the program", ["version"];
    connections_max: IntGauge = "qunliu_connections_max",
        "Connections that each listener takes at once, sockets included", [];
    sockets_open: IntGauge = "qunliu_sockets_open",
        "WebSockets that are open now", [];
    sockets: IntGaugeVec = "qunliu_sockets_greeted",
        "WebSockets that said hello, by state: arriving, live, lagging, closing", ["state"];
    queued_bytes: IntGauge = "qunliu_send_queue_bytes",
        "Bytes that wait for slow sockets, in all", [];
    queued_bytes_max: IntGauge = "qunliu_send_queue_longest_bytes",
        "Bytes that wait for the slowest socket", [];
    arrivals: IntCounterVec = "qunliu_socket_arrivals_total",
        "Sockets that were welcomed, by what their groups were read by: card, directory", ["by"];
    cold_arrivals: IntCounterVec = "qunliu_cold_arrivals_total",
        "Sockets for which there was no card in Redis, by result: admitted, refused", ["result"];
    resume_reads: IntCounterVec = "qunliu_resume_reads_total",
        "Groups whose missed events were sent to a socket, by where they came from: stores, kept",
        ["from"];
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
    request_seconds: HistogramVec = "qunliu_http_request_seconds",
        "Time from a request's head to its answer, by method and pattern of the path",
        ["method", "path"];
    request_errors: IntCounterVec = "qunliu_request_errors_total",
        "Requests and frames refused, by error code", ["code"];
    busy: IntCounterVec = "qunliu_busy_answers_total",
        "Requests, frames and arrivals that were put off, by reason: store, log_full, log, race, \
         arrivals, passwords, sessions", ["reason"];
    refused: IntCounterVec = "qunliu_limit_refusals_total",
        "Requests, frames and sockets refused because there were too many, by the limit's key",
        ["limit"];
    certificates: IntCounterVec = "qunliu_certificate_changes_total",
        "New pairs of certificate and key that were found in the files, by result: taken, refused",
        ["result"];
    appends: IntCounterVec = "qunliu_log_appends_total",
        "Answers of the log to appends, by outcome; `failed` is no answer", ["outcome"];
    append_seconds: Histogram = "qunliu_log_append_seconds",
        "Time from a valid send to its accepted position", [];
    epochs_raised: IntCounter = "qunliu_epochs_raised_total",
        "Fences raised by this node", [];
    store_older: IntCounter = "qunliu_store_older_total",
        "Partitions of which the message store was found to be older than what it had confirmed", [];
    events_lost: IntCounter = "qunliu_events_lost_total",
        "Events that were stored, are nowhere any more, and are shown as lost", [];
    groups_reopened: IntCounter = "qunliu_groups_reopened_total",
        "Group logs opened or re-opened by this node", [];
    consumed: IntCounterVec = "qunliu_consumed_events_total",
        "Events handled, by consumer", ["consumer"];
    consumer_retries: IntCounterVec = "qunliu_consumer_retries_total",
        "Batches that failed and were taken again, by consumer", ["consumer"];
    dead_letters: IntCounterVec = "qunliu_dead_letters_total",
        "Events put aside because they could not be handled, by consumer", ["consumer"];
    consumer_oldest: GaugeVec = "qunliu_consumer_oldest_event_timestamp_seconds",
        "Time of the oldest event that this node took and has not handled, by consumer; 0 if none",
        ["consumer"];
    stored_seconds: Histogram = "qunliu_stored_delay_seconds",
        "Time from an event's own time to its durable watermark", [];
    awaiting_stored: IntGauge = "qunliu_groups_awaiting_stored",
        "Groups in which a sender on this node waits for stored", [];
    outbox_due: IntGauge = "qunliu_outbox_due_changes",
        "Changes of groups that were decided over 5 s ago and are not in the log yet, 200 at most",
        [];
    events_tailed: IntCounter = "qunliu_tail_events_total",
        "Events read from logs for local listeners", [];
    push_seconds: Histogram = "qunliu_push_delay_seconds",
        "Time from an event's own time to its push to local listeners", [];
    tail_gaps: IntCounter = "qunliu_tail_gaps_total",
        "Holes in a tail that were filled from the store", [];
    groups_tailed: IntGauge = "qunliu_groups_tailed",
        "Groups with a local listener", [];
    users_here: IntGauge = "qunliu_users_here",
        "People with a socket on this node, or who had one a moment ago", [];
    signals_pushed: IntCounterVec = "qunliu_signals_pushed_total",
        "Signals pushed to the local listeners of a group, by kind: typing, online, offline",
        ["kind"];
    signals_dropped: IntCounterVec = "qunliu_signals_dropped_total",
        "Signals dropped on their way, by reason", ["reason"];
    spans: IntCounterVec = "qunliu_spans_total",
        "Spans of sampled traces, by result: exported, dropped", ["result"];
    logins: IntCounterVec = "qunliu_logins_total",
        "Attempts to log in, by result", ["result"];
    store_ready: IntGaugeVec = "qunliu_store_ready",
        "Whether a store answers (1) or not (0): directory, log, messages", ["store"];
    store_probe_seconds: GaugeVec = "qunliu_store_probe_seconds",
        "How long a store took to answer the last look at it", ["store"];
    replica_reads: IntCounterVec = "qunliu_replica_reads_total",
        "Reads of lists of people, by what answered: replica, or the primary, because of an \
         own_write, or because replicas were behind, away or failed", ["result"];
    replica_lag: GaugeVec = "qunliu_replica_lag_seconds",
        "How far a read replica is behind, 60 if further or away, by its place in the list from 1",
        ["replica"];
    redis_memory: IntGaugeVec = "qunliu_redis_memory_bytes",
        "Memory of Redis: used, and its limit: its maxmemory, else what the machine has", ["kind"];
    redis_unfit: IntGauge = "qunliu_redis_unfit_servers",
        "Servers of Redis that take writes and whose version or settings may lose messages", [];
}

/// Makes a counter show 0 before it first counts: of a series that begins with 1 Prometheus sees
/// no increase, and the first dead letter would raise no alert.
pub fn show_zero(counter: &IntCounterVec, label: &str) {
    counter.with_label_values(&[label]);
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

    #[test]
    fn what_did_not_happen_yet_is_shown_as_zero() {
        let metrics = Metrics::new().unwrap();
        show_zero(&metrics.dead_letters, "persist");
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        let zero = "qunliu_dead_letters_total{consumer=\"persist\"} 0";
        assert!(text.contains(zero), "{text}");
    }
}
