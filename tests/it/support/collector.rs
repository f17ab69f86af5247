//! A collector of OpenTelemetry: takes spans by OTLP over HTTP, as protobuf, and keeps them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span as Told;
use prost::Message as _;
use qunliu::lifecycle::Tasks;
use tokio::net::TcpListener;

use super::eventually;
use super::socket::DEADLINE;

/// A running collector.
pub(crate) struct Collector {
    pub(crate) url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    tasks: Tasks,
}

/// A span as it was told.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    /// As in the protocol: 1 internal, 2 server, 5 consumer.
    pub(crate) kind: i32,
    pub(crate) took_ns: u64,
    /// All of it, for whoever looks for what must not be there.
    pub(crate) text: String,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self {
            url,
            spans: Arc::default(),
            tasks: Tasks::default(),
        };
        let (spans, tasks) = (collector.spans.clone(), collector.tasks.clone());
        collector.tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let spans = spans.clone();
                tasks.spawn(async move {
                    let service = service_fn(move |request| take(request, spans.clone()));
                    let served = Builder::new().serve_connection(TokioIo::new(stream), service);
                    drop(served.await);
                });
            }
        });
        collector
    }

    /// The spans of a trace that came so far.
    pub(crate) fn of(&self, trace: &str) -> Vec<Span> {
        let mut spans = self.all();
        spans.retain(|span| span.trace == trace);
        spans
    }

    /// All spans that came so far.
    pub(crate) fn all(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits until a span fits.
    pub(crate) async fn span(&self, fits: impl Fn(&Span) -> bool) -> Span {
        eventually(DEADLINE, async || self.all().iter().any(&fits)).await;
        self.all().into_iter().find(fits).unwrap()
    }
}

async fn take(
    request: Request<Incoming>,
    spans: Arc<Mutex<Vec<Span>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let told = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = told
        .resource_spans
        .into_iter()
        .flat_map(|of| of.scope_spans);
    let found = scopes
        .flat_map(|scope| scope.spans)
        .map(|span| span_of(&span));
    spans.lock().unwrap().extend(found);
    Ok(Response::new(Empty::new()))
}

fn span_of(told: &Told) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Span {
        trace: hex(&told.trace_id),
        id: hex(&told.span_id),
        parent: hex(&told.parent_span_id),
        name: told.name.clone(),
        kind: told.kind,
        took_ns: told
            .end_time_unix_nano
            .checked_sub(told.start_time_unix_nano)
            .unwrap(),
        text: format!("{told:?}"),
    }
}
