//! Trace context (W3C) of the requests to the issuer: `traceparent`, with the feature `opentelemetry`.

use std::future::Future;

use reqwest::RequestBuilder;

/// Makes a fetch, which runs in a task of its own, a part of the trace of the request that needs it.
#[cfg(feature = "opentelemetry")]
pub(super) fn in_trace<F: Future>(fetch: F) -> impl Future<Output = F::Output> {
    opentelemetry::trace::FutureExt::with_current_context(fetch)
}

#[cfg(not(feature = "opentelemetry"))]
pub(super) fn in_trace<F: Future>(fetch: F) -> impl Future<Output = F::Output> {
    fetch
}

/// Adds the trace context, if there is one.
#[cfg(feature = "opentelemetry")]
pub(super) fn traced(request: RequestBuilder) -> RequestBuilder {
    use opentelemetry::{Context, trace::TraceContextExt as _};

    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return request;
    }
    // Version 00 of the format. Its propagator is in the SDK of OpenTelemetry, which the guard does not need otherwise.
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    let request = request.header("traceparent", format!("00-{trace}-{id}-{flags:02x}"));
    match span.trace_state().header() {
        state if state.is_empty() => request,
        state => request.header("tracestate", state),
    }
}

#[cfg(not(feature = "opentelemetry"))]
pub(super) fn traced(request: RequestBuilder) -> RequestBuilder {
    request
}
