//! Traces: OpenTelemetry spans of requests, statements and hashes, sent to a collector (OTLP over HTTP).
//!
//! The span of a request is in the context (`opentelemetry::Context`) of its future, from where the spans of its parts find it. A
//! task that goes on with the work of a request gets the context of the one that spawned it. Statements outside of a request have no
//! span. Without `GRANTD_OTLP_ENDPOINT` there is no tracer, and all of this is a comparison with `None`.

mod exporter;
mod request;

use std::{fmt, sync::Arc, time::Duration};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider, Span},
};

pub(crate) use self::request::RequestSpan;

/// How long the end of the server waits for the collector to take the last spans.
const FLUSH: Duration = Duration::from_secs(3);

/// Starts spans, if there is a collector.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Tracing>>);

struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The spans of other requests that a statement works for, in its context.
struct Others(Vec<SpanContext>);

impl Traces {
    /// Sends spans to a collector. `endpoint`: its base URL.
    pub fn start(endpoint: &str) -> Result<Self, String> {
        let resource = Resource::builder()
            .with_service_name("grantd")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let exporter = exporter::exporter(endpoint)?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer("grantd");
        Ok(Self(Some(Arc::new(Tracing { provider, tracer }))))
    }

    /// Returns the context of the request that is under way. `None`: there is none, or there are no traces.
    pub(crate) fn context(&self) -> Option<Context> {
        self.0.as_ref()?;
        Some(Context::current()).filter(Context::has_active_span)
    }

    /// Returns the context of work for several requests: the first is the parent of its spans, and they are linked to the others.
    pub(crate) fn shared(contexts: impl IntoIterator<Item = Context>) -> Option<Context> {
        let mut contexts = contexts.into_iter();
        let first = contexts.next()?;
        let others = contexts.map(|other| other.span().span_context().clone()).collect();
        Some(first.with_value(Others(others)))
    }

    /// Starts the span of a statement. `place`: where it is run, as `module_path!`, a space, and the name of its constant.
    pub(crate) fn statement(&self, system: &'static str, place: &'static str, sql: &str) -> Option<Statement> {
        let (tracing, context) = (self.0.as_ref()?, self.context()?);
        let operation = sql.split_ascii_whitespace().next().unwrap_or_default();
        let name = statement_name(place, operation);
        let links = context.get::<Others>().map(|others| others.0.iter().cloned().map(Link::with_context).collect());
        let span = tracing
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Client)
            .with_links(links.unwrap_or_default())
            .with_attributes([
                KeyValue::new("db.system.name", system),
                KeyValue::new("db.operation.name", operation.to_owned()),
            ])
            .start_with_context(&tracing.tracer, &context);
        Some(Statement(Box::new(span)))
    }

    /// Starts the span of a password hash, which ends when it is dropped. `context`: of the request that it is for.
    pub(crate) fn hash(&self, context: &Context) -> Option<Span> {
        let tracing = self.0.as_ref()?;
        Some(tracing.tracer.span_builder("password hash").start_with_context(&tracing.tracer, context))
    }

    /// Sends the last spans. Waits for at most [`FLUSH`].
    pub(crate) async fn stop(&self) {
        let Some(tracing) = self.0.clone() else { return };
        // It blocks. A failure was logged by the exporter.
        let _ = tokio::task::spawn_blocking(move || tracing.provider.shutdown_with_timeout(FLUSH)).await;
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

/// The span of a statement that is running. Boxed: it is part of the future of each statement.
pub(crate) struct Statement(Box<Span>);

impl Statement {
    /// Ends the span. `error`: the kind of the error.
    pub(crate) fn end(mut self, error: Option<&'static str>) {
        if let Some(error) = error {
            self.0.set_attribute(KeyValue::new("error.type", error));
            self.0.set_status(Status::error(error));
        }
        self.0.end();
    }
}

/// Returns the name of a statement: its feature and its constant, such as `users::BY_ID`. A statement that is no constant at the
/// place where it is run has its operation.
fn statement_name(place: &str, operation: &str) -> String {
    // BEGIN and COMMIT belong to no feature.
    let Some((module, sql)) = place.split_once(' ') else { return place.to_owned() };
    let feature = module.split("::").nth(1).unwrap_or(module);
    let name = sql.rsplit("::").next().unwrap_or_default().trim();
    let is_constant =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    format!("{feature}::{}", if is_constant { name } else { operation })
}

#[cfg(test)]
mod tests {
    use super::statement_name;

    #[test]
    fn a_statement_is_named_by_its_feature_and_its_constant() {
        for (place, name) in [
            ("grantd::users::write sql::BY_ID", "users::BY_ID"),
            ("grantd::sessions::rotation USE", "sessions::USE"),
            ("grantd::audit sql", "audit::SELECT"),
            ("COMMIT", "COMMIT"),
            ("grantd::store \"PRAGMA x\"", "store::SELECT"),
        ] {
            assert_eq!(statement_name(place, "SELECT"), name);
        }
    }
}
