//! The span of a request.

use actix_web::http::{
    Method,
    header::{HeaderMap, HeaderName},
};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::Traces;
use crate::metrics::METHODS;

/// The span of a request that is under way. It ends when it and all copies of its context are dropped, at the latest.
pub(crate) struct RequestSpan(Context);

impl Traces {
    /// Starts the span of a request, as part of the trace of its `traceparent` (W3C Trace Context) or of a new one. `None`: there are
    /// no traces.
    pub(crate) fn request(&self, method: &Method, headers: &HeaderMap, scheme: &'static str) -> Option<RequestSpan> {
        let tracing = self.0.as_ref()?;
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Fields(headers));
        let span = tracing
            .tracer
            // It has no route yet.
            .span_builder(known(method))
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("http.request.method", known(method)), KeyValue::new("url.scheme", scheme)])
            .start_with_context(&tracing.tracer, &parent);
        Some(RequestSpan(parent.with_span(span)))
    }
}

impl RequestSpan {
    /// Returns the context of its parts.
    pub(crate) fn context(&self) -> Context {
        self.0.clone()
    }

    /// Returns the id of the trace, for the log.
    pub(crate) fn trace_id(&self) -> String {
        self.0.span().span_context().trace_id().to_string()
    }

    /// Names the span and ends it. `route`: `None` if the request had none; its path is then anything.
    pub(crate) fn end(self, method: &Method, route: Option<&str>, path: &str, status: u16, request_id: &str) {
        let span = self.0.span();
        if let Some(route) = route {
            span.update_name(format!("{} {route}", known(method)));
            span.set_attribute(KeyValue::new("http.route", route.to_owned()));
            span.set_attribute(KeyValue::new("url.path", path.to_owned()));
        }
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        span.set_attribute(KeyValue::new("grantd.request_id", request_id.to_owned()));
        // The errors of a caller are no errors of a server (HTTP conventions of OpenTelemetry).
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// Returns the method. Any other than the usual ones is what a caller made up.
fn known(method: &Method) -> &'static str {
    let names = &METHODS[..METHODS.len() - 1];
    names.iter().find(|known| **known == method.as_str()).copied().unwrap_or("_OTHER")
}

/// The header fields of a request.
struct Fields<'a>(&'a HeaderMap);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
