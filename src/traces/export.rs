//! Spans on the way to a collector: OTLP over HTTP, as protobuf (opentelemetry.io, "OTLP").
//!
//! In: ended spans, from any task, without waiting. Out: batches, one at a time. A span that finds
//! the queue full, and a batch that the collector does not take, are dropped and counted: nothing
//! of the server waits for its collector.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use crate::clock::every;
use crate::telemetry::{Metrics, show_zero};

/// Where a collector takes traces, behind its address.
const PATH: &str = "/v1/traces";

/// Spans that wait; more are dropped.
const QUEUED_MAX: usize = 4_096;

/// Spans in one call to the collector.
const BATCH: usize = 512;

/// How long spans are gathered.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a collector may take; then the batch is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The address is none.
    #[error("tracing.otlp_endpoint is no address of a collector")]
    Endpoint(#[from] ExporterBuildError),
    /// No HTTP client can be made.
    #[error("no HTTP client can be made")]
    Client(#[from] reqwest::Error),
    /// No TLS can be set up.
    #[error("no TLS can be set up")]
    Tls(#[from] rustls::Error),
}

/// Where ended spans wait.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    metrics: Metrics,
}

/// The task that hands them on.
pub struct Exporting {
    spans: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    metrics: Metrics,
}

/// A queue to the collector at `endpoint`.
pub(super) fn to(
    endpoint: &str,
    service: &Resource,
    metrics: &Metrics,
) -> Result<(Queue, Exporting), ExportError> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client()?)
        .with_endpoint(format!("{}{PATH}", endpoint.trim_end_matches('/')))
        .with_timeout(PATIENCE)
        .build()?;
    exporter.set_resource(service);
    let (sender, spans) = mpsc::channel(QUEUED_MAX);
    show_zero(&metrics.spans, "exported");
    show_zero(&metrics.spans, "dropped");
    let queue = Queue {
        spans: sender,
        metrics: metrics.clone(),
    };
    let exporting = Exporting {
        spans,
        exporter,
        metrics: metrics.clone(),
    };
    Ok((queue, exporting))
}

/// Plain text only: a collector stands beside the server, and goes on over TLS from there.
fn client() -> Result<reqwest::Client, ExportError> {
    let provider = Arc::new(ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        .tls_backend_preconfigured(tls);
    Ok(client.build()?)
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.metrics.spans.with_label_values(&["dropped"]).inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Exporting {
    /// Hands spans on until `stop`, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = every(PERIOD);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.export_all().await;
        }
        self.export_all().await;
    }

    async fn export_all(&mut self) {
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            self.export(batch).await;
        }
    }

    async fn export(&self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let exported = timeout(PATIENCE, self.exporter.export(batch)).await;
        let result = match exported {
            Ok(Ok(())) => "exported",
            Ok(Err(error)) => {
                tracing::debug!(%error, "the collector did not take spans");
                "dropped"
            }
            Err(_elapsed) => "dropped",
        };
        let spans = self.metrics.spans.with_label_values(&[result]);
        spans.inc_by(count);
    }
}
