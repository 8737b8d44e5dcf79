//! The exporter of spans, which reports its failures once in a while.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter as OtlpExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

/// How long the collector may take. Spans of this time wait in a queue of 2,048, and are dropped when it is full.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a failed export rests before its one repetition.
const RETRY: Duration = Duration::from_millis(500);
/// How often a collector that cannot be reached is reported.
const REPORT: Duration = Duration::from_mins(10);

/// Exports spans. The SDK drops what cannot be exported, without a word.
#[derive(Debug)]
pub(super) struct Exporter {
    otlp: OtlpExporter,
    url: String,
    /// When a failure was last reported; `None`: the last export succeeded.
    reported: Mutex<Option<Instant>>,
}

impl Exporter {
    pub(super) fn new(endpoint: &str) -> Result<Self, String> {
        let url = format!("{endpoint}/v1/traces");
        let once = RetryPolicy::default().with_max_retries(1).with_initial_delay(RETRY).with_max_delay(RETRY);
        let otlp = OtlpExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&url)
            .with_timeout(TIMEOUT)
            .with_retry_policy(once)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { otlp, url, reported: Mutex::default() })
    }

    fn report(&self, exported: &OTelSdkResult) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        match exported {
            Ok(()) => {
                if reported.take().is_some() {
                    tracing::info!(url = self.url, "the collector of traces is reached again");
                }
            }
            Err(error) if reported.is_none_or(|at| at.elapsed() > REPORT) => {
                *reported = Some(Instant::now());
                tracing::warn!(%error, url = self.url, "the collector of traces cannot be reached: spans are dropped");
            }
            Err(_) => {}
        }
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exported = self.otlp.export(batch).await;
        self.report(&exported);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.otlp.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
