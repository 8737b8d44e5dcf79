//! `GET /metrics`: what the server counts, for Prometheus (OpenMetrics 1.0). `docs/operations.md` describes each metric.
//!
//! What other parts know anyway is read here, and counted nowhere else.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use actix_web::{
    App as ActixApp, Error, HttpResponse,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    http::{StatusCode, header::X_CONTENT_TYPE_OPTIONS},
    web,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};

use super::no_store;
use crate::{
    app::App,
    metrics::{Histogram, Process, series},
    principal::{AuditRead, Permit},
    throttle::Budget,
};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Get metrics
///
/// For Prometheus, in the format OpenMetrics 1.0. Not found if `GRANTD_METRICS_ADDRESS` is set, which serves them without
/// credentials.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "metrics",
    security(("oauth2" = ["audit:read"]), ("bearer" = [])),
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"))
)]
pub(crate) async fn metrics(_: Permit<AuditRead>, app: web::Data<App>) -> Result<HttpResponse, Error> {
    scrape(app).await
}

/// Builds the application of the address for metrics.
pub(crate) fn server(
    app: Arc<App>,
) -> ActixApp<impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse, Error = Error, InitError = ()>>
{
    ActixApp::new().app_data(web::Data::from(app)).service(web::resource("/metrics").route(super::get(scrape).route))
}

async fn scrape(app: web::Data<App>) -> Result<HttpResponse, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(app.into_inner())));
    let mut body = String::new();
    text::encode(&mut body, &registry).map_err(actix_web::error::ErrorInternalServerError)?;
    let mut response = no_store(StatusCode::OK);
    Ok(response.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff")).content_type(CONTENT_TYPE).body(body))
}

const SECONDS: Option<&Unit> = Some(&Unit::Seconds);
const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

/// Writes the values of this moment.
struct Scrape(Arc<App>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Writer(&mut encoder);
        self.requests(&mut to)?;
        self.logins(&mut to)?;
        self.hashes(&mut to)?;
        self.database(&mut to)?;
        self.keys(&mut to)?;
        self.lags(&mut to)?;
        to.metric("grantd_build", "Version of grantd", None, MetricType::Info, |mut metric| {
            metric.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
        })?;
        process(&mut to)
    }
}

impl Scrape {
    fn requests(&self, to: &mut Writer<'_, '_>) -> fmt::Result {
        let routes = self.0.metrics.requests.all();
        let series = series(&routes);
        let name = "grantd_http_requests";
        to.metric(name, "Answered requests", None, MetricType::Counter, |mut metric| {
            for one in &series {
                for (status, count) in one.statuses() {
                    let labels = [("route", one.route), ("method", one.method), ("status", &*status)];
                    metric.encode_family(&labels)?.encode_counter(&count, NO_EXEMPLAR)?;
                }
            }
            Ok(())
        })?;
        let name = "grantd_http_request_duration";
        to.metric(
            name,
            "Time from the head of a request to its answer",
            SECONDS,
            MetricType::Histogram,
            |mut metric| {
                for one in &series {
                    let sum = one.durations();
                    let (labels, buckets) = ([("route", one.route), ("method", one.method)], sum.buckets());
                    let mut metric = metric.encode_family(&labels)?;
                    metric.encode_histogram::<NoLabelSet>(sum.seconds(), sum.count(), &buckets, None)?;
                }
                Ok(())
            },
        )
    }

    fn logins(&self, to: &mut Writer<'_, '_>) -> fmt::Result {
        let App { metrics, throttle, limits, .. } = &*self.0;
        let logins = &metrics.logins;
        to.counters(
            "grantd_logins",
            "Logins with the password grant or HTTP Basic",
            "result",
            &[
                ("success", logins.success.get()),
                ("wrong_password", logins.wrong_password.get()),
                ("throttled", logins.throttled.get()),
                ("disabled", logins.disabled.get()),
                ("overloaded", logins.overloaded.get()),
            ],
        )?;
        let tokens = &metrics.tokens;
        to.counters(
            "grantd_tokens_issued",
            "Issued access tokens",
            "grant",
            &[
                ("password", tokens.password.get()),
                ("refresh_token", tokens.refresh_token.get()),
                ("client_credentials", tokens.client_credentials.get()),
                ("token_exchange", tokens.token_exchange.get()),
            ],
        )?;
        let about = "Refresh tokens that were reused, each of which ended its session";
        to.counter("grantd_refresh_reuse", about, metrics.refresh_reuse.get())?;
        let refused = &limits.refused;
        let of_budget = Budget::ALL.iter().map(|budget| (budget.as_str(), throttle.refusals().of(*budget)));
        let others = [("requests", &refused.requests), ("registration", &refused.registrations)];
        let others = others.map(|(name, count)| (name, count.load(Ordering::Relaxed)));
        let all: Vec<_> = of_budget.chain(others).collect();
        to.counters("grantd_throttled", "Refusals because of a limit", "budget", &all)
    }

    fn hashes(&self, to: &mut Writer<'_, '_>) -> fmt::Result {
        let passwords = &self.0.passwords;
        to.gauge("grantd_hash_queue_depth", "Passwords that wait for a hash thread", None, passwords.waiting() as u64)?;
        let times = passwords.times();
        to.histogram("grantd_hash_wait", "Time of passwords in the hash queue", &times.waits)?;
        to.histogram("grantd_hash_duration", "Time of password hashes", &times.hashes)
    }

    fn database(&self, to: &mut Writer<'_, '_>) -> fmt::Result {
        let store = &self.0.store;
        let (idle, used) = store.connections();
        let about = "Open connections to the database";
        to.metric("grantd_database_connections", about, None, MetricType::Gauge, |mut metric| {
            for (state, number) in [("idle", idle), ("used", used)] {
                metric.encode_family(&[("state", state)])?.encode_gauge(&number)?;
            }
            Ok(())
        })?;
        let errors = store.errors();
        to.counters(
            "grantd_database_errors",
            "Failed statements and connections",
            "kind",
            &[
                ("unavailable", errors.unavailable.get()),
                ("timeout", errors.timeout.get()),
                ("retry", errors.retry.get()),
                ("other", errors.other.get()),
            ],
        )
    }

    fn keys(&self, to: &mut Writer<'_, '_>) -> fmt::Result {
        let App { keys, metrics, .. } = &*self.0;
        let now = self.0.now();
        if let Some((since, until)) = keys.active_period() {
            let age = (now - since).as_seconds_f64();
            to.gauge("grantd_signing_key_age", "Time since the active key signs", SECONDS, age)?;
            let about = "When the active key is due to be replaced, in seconds since 1970";
            to.gauge("grantd_signing_key_expires_timestamp", about, SECONDS, until.timestamp())?;
        }
        if let Some(not_after) = &metrics.certificate_not_after {
            let about = "When the TLS certificate expires, in seconds since 1970";
            to.gauge("grantd_certificate_expires_timestamp", about, SECONDS, not_after.load(Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn lags(&self, to: &mut Writer<'_, '_>) -> fmt::Result {
        let App { sync, metrics, .. } = &*self.0;
        let about = "Time since the caches, revocations among them, were synced with the database";
        to.gauge("grantd_revocation_lag", about, SECONDS, sync.lag().as_secs_f64())?;
        let about = "When all audit events older than 30 seconds were last found to be sealed, in seconds since 1970";
        match metrics.sealed_at() {
            Some(at) => to.gauge("grantd_audit_sealed_timestamp", about, SECONDS, at.timestamp()),
            None => Ok(()),
        }
    }
}

fn process(to: &mut Writer<'_, '_>) -> fmt::Result {
    let Some(process) = Process::read() else { return Ok(()) };
    let Process { cpu_seconds, resident_bytes, started_at, open_fds } = process;
    to.metric("process_cpu", "Time that the process has computed", SECONDS, MetricType::Counter, |mut metric| {
        metric.encode_counter(&cpu_seconds, NO_EXEMPLAR)
    })?;
    to.gauge("process_resident_memory", "Resident memory", Some(&Unit::Bytes), resident_bytes)?;
    to.gauge("process_start_time", "Start of the process, in seconds since 1970", SECONDS, started_at)?;
    to.gauge("process_open_fds", "Open file descriptors", None, open_fds)
}

/// Writes metrics. Their names have neither unit nor `_total`: the encoder appends them.
struct Writer<'w, 'e>(&'w mut DescriptorEncoder<'e>);

impl Writer<'_, '_> {
    fn metric(
        &mut self,
        name: &str,
        about: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        write: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(self.0.encode_descriptor(name, about, unit, kind)?)
    }

    fn gauge(
        &mut self,
        name: &str,
        about: &str,
        unit: Option<&Unit>,
        value: impl EncodeGaugeValue + Copy,
    ) -> fmt::Result {
        self.metric(name, about, unit, MetricType::Gauge, |mut metric| metric.encode_gauge(&value))
    }

    fn counter(&mut self, name: &str, about: &str, value: u64) -> fmt::Result {
        self.metric(name, about, None, MetricType::Counter, |mut metric| metric.encode_counter(&value, NO_EXEMPLAR))
    }

    /// Writes a counter for each value of a label.
    fn counters(&mut self, name: &str, about: &str, label: &str, values: &[(&str, u64)]) -> fmt::Result {
        self.metric(name, about, None, MetricType::Counter, |mut metric| {
            for (value, count) in values {
                metric.encode_family(&[(label, *value)])?.encode_counter(count, NO_EXEMPLAR)?;
            }
            Ok(())
        })
    }

    fn histogram(&mut self, name: &str, about: &str, histogram: &Histogram) -> fmt::Result {
        let sum = Histogram::sum([histogram]);
        self.metric(name, about, SECONDS, MetricType::Histogram, |mut metric| {
            metric.encode_histogram::<NoLabelSet>(sum.seconds(), sum.count(), &sum.buckets(), None)
        })
    }
}
