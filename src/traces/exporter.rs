//! The exporter of spans, and its HTTP client, which reports failures once in a while.

use std::{
    error::Error,
    pin::Pin,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use reqwest::{blocking::Client, redirect};

use crate::error::innermost;

/// How long the collector may take. Spans of this time wait in a queue of 2,048, and are dropped when it is full.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a failed export rests before its one repetition.
const RETRY: Duration = Duration::from_millis(500);
/// How often a collector that takes no spans is reported.
const REPORT: Duration = Duration::from_mins(10);

/// Returns an exporter to a collector. `endpoint`: its base URL.
pub(super) fn exporter(endpoint: &str) -> Result<SpanExporter, String> {
    let url = format!("{endpoint}/v1/traces");
    let client = client().map_err(|error| {
        format!(
            "no HTTP client, perhaps because this machine has no CA certificates (package ca-certificates): {error}"
        )
    })?;
    let once = RetryPolicy::default().with_max_retries(1).with_initial_delay(RETRY).with_max_delay(RETRY);
    SpanExporter::builder()
        .with_http()
        .with_http_client(Collector { client, url: url.clone(), reported: Mutex::default() })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&url)
        .with_timeout(TIMEOUT)
        .with_retry_policy(once)
        .build()
        .map_err(|error| error.to_string())
}

/// A client that blocks, for the thread of the exporter.
fn client() -> Result<Client, String> {
    let build = || Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).build();
    // It cannot be built in a thread of the asynchronous runtime.
    let client = thread::spawn(build).join().map_err(|_| "its thread has panicked".to_owned())?;
    client.map_err(|error| innermost(&error))
}

/// Sends spans to the collector. The SDK drops what the collector does not take, without a word.
#[derive(Debug)]
struct Collector {
    client: Client,
    url: String,
    reported: Mutex<Reported>,
}

/// What was last reported.
#[derive(Debug, Default)]
struct Reported {
    failure: Option<Instant>,
    is_failing: bool,
}

impl Collector {
    fn report(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let problem = match sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status().as_u16())),
            Err(error) => {
                let error: &(dyn Error + 'static) = &**error;
                Some(innermost(error))
            }
        };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            None => {
                if std::mem::take(&mut reported.is_failing) {
                    tracing::info!(url = self.url, "the collector of traces takes spans again");
                }
            }
            Some(error) if reported.failure.is_none_or(|at| at.elapsed() > REPORT) => {
                *reported = Reported { failure: Some(Instant::now()), is_failing: true };
                let url = &self.url;
                tracing::warn!(
                    error,
                    url,
                    "the collector of traces does not take spans: they are sent once more, then dropped"
                );
            }
            Some(_) => {}
        }
    }
}

impl HttpClient for Collector {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let sent = self.client.send_bytes(request).await;
            self.report(&sent);
            sent
        })
    }
}
