//! Traces: where each piece of work gets its id, and how long its parts took, for whoever collects
//! that (OpenTelemetry).
//!
//! In: the `traceparent` of a request, or nothing. Out: a [`Span`] with the [`Trace`] under which
//! what follows belongs. Ids are given whether or not anybody collects; spans are kept only of
//! traces that are sampled, and handed to [`export`], which waits for nobody. A span holds ids,
//! codes and counts, never what people say or are called.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    self as otel, Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use serde::Deserialize;
use tokio::time::Instant;

use self::export::{ExportError, Exporting};
use crate::clock::Clock;
use crate::model::trace::{Trace, TraceId};
use crate::telemetry::Metrics;

pub mod export; // on the way to a collector

/// The header that names a caller's trace.
pub const TRACEPARENT: &str = "traceparent";

/// What spans say they come from.
const SERVICE: &str = "qunliu";

/// Options of this folder.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where a collector takes OTLP over HTTP, as in `http://127.0.0.1:4318`; empty for nowhere.
    pub otlp_endpoint: String,
    /// Of traces that begin here, how many in a hundred are exported.
    pub sample_percent: u8,
}

/// Begins spans. Cheap to clone.
#[derive(Clone)]
pub struct Traces {
    tracer: SdkTracer,
    clock: Arc<dyn Clock>,
}

/// What a span does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers a client.
    Server,
    /// A part of something here.
    Internal,
    /// Handles what was handed on through a log.
    Consumer,
}

/// A part of some work, from its making until it is dropped.
pub struct Span {
    span: opentelemetry_sdk::trace::Span,
    began: SystemTime,
    started: Instant,
}

impl Traces {
    /// With a collector, spans to be exported by the second part, once that runs.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(
        options: &Options,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<(Self, Option<Exporting>), ExportError> {
        let provider = SdkTracerProvider::builder();
        let (provider, exporting) = match options.otlp_endpoint.as_str() {
            "" => (provider.with_sampler(Sampler::AlwaysOff), None),
            endpoint => {
                let service = Resource::builder_empty().with_service_name(SERVICE).build();
                let (queue, exporting) = export::to(endpoint, &service, metrics)?;
                let provider = provider
                    .with_resource(service)
                    .with_sampler(sampler(options.sample_percent))
                    .with_span_processor(queue);
                (provider, Some(exporting))
            }
        };
        let tracer = provider.build().tracer(SERVICE);
        Ok((Self { tracer, clock }, exporting))
    }

    /// Nobody collects.
    pub fn off(clock: Arc<dyn Clock>) -> Self {
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff);
        let tracer = provider.build().tracer(SERVICE);
        Self { tracer, clock }
    }

    /// Begins what a client asks for, in the trace that its `traceparent` names, if it is valid,
    /// else in a new one.
    pub fn entry(&self, name: impl Into<Cow<'static, str>>, traceparent: Option<&str>) -> Span {
        let header = traceparent.map(|value| (TRACEPARENT.to_owned(), value.to_owned()));
        let headers: HashMap<String, String> = header.into_iter().collect();
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
        self.begin(name.into(), Kind::Server, &parent)
    }

    /// Begins a part of something.
    pub fn child(&self, name: &'static str, kind: Kind, of: Trace) -> Span {
        let context = SpanContext::new(
            otel::TraceId::from_bytes(of.id.0),
            SpanId::from_bytes(of.span),
            TraceFlags::default().with_sampled(of.is_sampled),
            kind == Kind::Consumer,
            TraceState::default(),
        );
        let parent = Context::new().with_remote_span_context(context);
        self.begin(name.into(), kind, &parent)
    }

    fn begin(&self, name: Cow<'static, str>, kind: Kind, parent: &Context) -> Span {
        let millis = u64::try_from(self.clock.now().as_millis()).unwrap_or_default();
        let began = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let builder = self.tracer.span_builder(name);
        let builder = builder.with_kind(kind.into()).with_start_time(began);
        Span {
            span: builder.start_with_context(&self.tracer, parent),
            began,
            started: Instant::now(),
        }
    }
}

impl Span {
    /// The place under which what follows belongs.
    pub fn trace(&self) -> Trace {
        let context = self.span.span_context();
        Trace {
            id: TraceId(context.trace_id().to_bytes()),
            span: context.span_id().to_bytes(),
            is_sampled: context.is_sampled(),
        }
    }

    /// Says something of it: an id, a code or a count.
    pub fn note(&mut self, key: &'static str, value: impl fmt::Display) {
        if self.span.is_recording() {
            self.span
                .set_attribute(KeyValue::new(key, value.to_string()));
        }
    }

    /// Says that it failed, by the name of the reason.
    pub fn fail(&mut self, reason: &'static str) {
        self.span.set_status(Status::error(reason));
    }

    /// Ends it.
    pub fn end(self) {}
}

impl Drop for Span {
    fn drop(&mut self) {
        self.span
            .end_with_timestamp(self.began + self.started.elapsed());
    }
}

impl From<Kind> for otel::SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Internal => Self::Internal,
            Kind::Consumer => Self::Consumer,
        }
    }
}

/// Who began a trace elsewhere has decided whether it is sampled.
fn sampler(percent: u8) -> Sampler {
    let share = Sampler::TraceIdRatioBased(f64::from(percent) / 100.0);
    Sampler::ParentBased(Box::new(share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::model::time::Time;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traces(percent: u8) -> Traces {
        let provider = SdkTracerProvider::builder().with_sampler(sampler(percent));
        let clock = Arc::new(ManualClock::at(Time::from_millis(1_764_000_000_000)));
        Traces {
            tracer: provider.build().tracer(SERVICE),
            clock,
        }
    }

    #[test]
    fn a_valid_traceparent_is_followed() {
        let trace = traces(0).entry("request", Some(PARENT)).trace();
        assert_eq!(trace.id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(trace.is_sampled, "the caller decided");
        assert_ne!(trace.span, [0; 8]);
        let not_sampled = PARENT.replace("-01", "-00");
        assert!(
            !traces(100)
                .entry("request", Some(&not_sampled))
                .trace()
                .is_sampled
        );
    }

    #[test]
    fn anything_else_begins_a_trace_of_its_own() {
        let traces = traces(100);
        for text in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            let trace = traces.entry("request", Some(text)).trace();
            assert_ne!(trace.id, TraceId([0; 16]), "{text}");
            assert!(!trace.id.to_string().contains("0af7651916cd"), "{text}");
        }
    }

    #[test]
    fn a_part_is_in_the_trace_of_the_whole_under_a_span_of_its_own() {
        for traces in [traces(100), traces(0)] {
            let whole = traces.entry("request", None).trace();
            let part = traces.child("append", Kind::Internal, whole).trace();
            assert_eq!((part.id, part.is_sampled), (whole.id, whole.is_sampled));
            assert_ne!(part.span, whole.span);
        }
    }

    #[test]
    fn ids_are_given_although_nobody_collects() {
        let clock = Arc::new(ManualClock::at(Time::from_millis(0)));
        let traces = Traces::off(clock);
        let (one, two) = (traces.entry("a", None), traces.entry("a", None));
        assert_ne!(one.trace().id, two.trace().id);
        let followed = traces.entry("a", Some(PARENT)).trace();
        assert_eq!(followed.id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(!followed.is_sampled);
    }
}
