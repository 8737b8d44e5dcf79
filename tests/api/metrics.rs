//! `GET /metrics`: the names of the metrics, who may read them, and what they count.

#![expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "counts and times are whole numbers")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::{
    harness::{Admin, Answer, Database, Form, NewClient, PASSWORD, Proxy, TestServer, eventually, on_both_engines},
    hash_queue::occupy,
    throttle::{AWAY, HOME, PROXY, STRANGER, try_from, use_up},
    tls,
};

on_both_engines!(
    all_metrics_are_there,
    requests_are_counted_by_route_method_and_status,
    callers_cannot_make_new_series,
    logins_tokens_and_refusals_are_counted,
    hashes_are_timed,
    metrics_have_an_address_of_their_own,
    each_worker_counts_its_requests,
);

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The metrics by name, with their types.
const METRICS: [(&str, &str); 21] = [
    ("grantd_http_requests", "counter"),
    ("grantd_http_request_duration_seconds", "histogram"),
    ("grantd_logins", "counter"),
    ("grantd_tokens_issued", "counter"),
    ("grantd_refresh_reuse", "counter"),
    ("grantd_throttled", "counter"),
    ("grantd_hash_queue_depth", "gauge"),
    ("grantd_hash_wait_seconds", "histogram"),
    ("grantd_hash_duration_seconds", "histogram"),
    ("grantd_database_connections", "gauge"),
    ("grantd_database_errors", "counter"),
    ("grantd_signing_key_age_seconds", "gauge"),
    ("grantd_signing_key_expires_timestamp_seconds", "gauge"),
    ("grantd_certificate_expires_timestamp_seconds", "gauge"),
    ("grantd_revocation_lag_seconds", "gauge"),
    ("grantd_audit_sealed_timestamp_seconds", "gauge"),
    ("grantd_build", "info"),
    ("process_cpu_seconds", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_open_fds", "gauge"),
];

/// What a scrape says: the samples by name and labels, and the types of the metrics.
pub(crate) struct Scrape {
    pub(crate) samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Scrape {
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            answer.header("content-type"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "Prometheus takes the format from here"
        );
        let text = answer.text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let types = types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        });
        Self { samples: samples.collect(), types }
    }

    /// Returns a sample; 0: there is none.
    pub(crate) fn get(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or(0.0)
    }
}

async fn scrape(server: &TestServer, token: &str) -> Scrape {
    Scrape::of(&server.get("/metrics").bearer(token).send().await)
}

/// Scrapes the address for metrics of a server.
async fn scrape_apart(server: &TestServer) -> Scrape {
    let address = server.app.config.telemetry.metrics_address.unwrap();
    Scrape::of(&of_url(&format!("http://{address}/metrics")).await)
}

async fn of_url(url: &str) -> Answer {
    crate::harness::Request::new(&crate::harness::http_client(), "GET", url).send().await
}

async fn all_metrics_are_there(database: Database) {
    let files = tempfile::tempdir().unwrap();
    let flags = tls::flags(files.path(), 0o600);
    let server = TestServer::with(database, &flags.each_ref().map(String::as_str)).await;
    let token = server.admin().await;
    let sealed = async || scrape(&server, &token).await.get("grantd_audit_sealed_timestamp_seconds") > 0.0;
    eventually("events are sealed", sealed).await;
    let scraped = scrape(&server, &token).await;
    let expected = METRICS.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()));
    let expected: BTreeMap<_, _> = expected.collect();
    assert_eq!(scraped.types, expected);

    // The names of the labels, and the values of those that are not routes.
    let mut labels = BTreeMap::<&str, BTreeSet<String>>::new();
    for sample in scraped.samples.keys() {
        let (name, list) = sample.split_once('{').unwrap_or((sample, ""));
        let list = list.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
        labels.entry(name).or_default().extend(list.map(|pair| pair.trim_end_matches('"').replace('"', "")));
    }
    let of = |name: &str| labels[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(
        of("grantd_logins_total"),
        ["disabled", "overloaded", "success", "throttled", "wrong_password"].map(|v| format!("result={v}"))
    );
    assert_eq!(
        of("grantd_tokens_issued_total"),
        ["client_credentials", "password", "refresh_token", "token_exchange"].map(|value| format!("grant={value}"))
    );
    assert_eq!(
        of("grantd_throttled_total"),
        ["account", "device", "network", "pair", "registration", "requests"].map(|value| format!("budget={value}"))
    );
    assert_eq!(of("grantd_database_connections"), ["state=idle", "state=used"]);
    assert_eq!(
        of("grantd_database_errors_total"),
        ["other", "retry", "timeout", "unavailable"].map(|value| format!("kind={value}"))
    );
    assert_eq!(of("grantd_build_info"), [format!("version={}", env!("CARGO_PKG_VERSION"))]);
    let names =
        |name: &str| of(name).iter().map(|pair| pair.split('=').next().unwrap().to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(names("grantd_http_requests_total"), ["method", "route", "status"].map(str::to_owned).into());
    assert_eq!(
        names("grantd_http_request_duration_seconds_bucket"),
        ["le", "method", "route"].map(str::to_owned).into()
    );

    // A key signs for 30 days; the certificate of the tests expires in 2036 or later.
    let now = server.clock.now().timestamp();
    server.advance(chrono::Duration::hours(1));
    let scraped = scrape(&server, &server.admin().await).await;
    let seconds = |days: i64| (now + days * 24 * 3600) as f64;
    assert!((scraped.get("grantd_signing_key_age_seconds") - 3600.0).abs() < 1.0);
    assert!((scraped.get("grantd_signing_key_expires_timestamp_seconds") - seconds(30)).abs() < 1.0);
    assert!(scraped.get("grantd_certificate_expires_timestamp_seconds") > seconds(1000));
    assert!((scraped.get("grantd_audit_sealed_timestamp_seconds") - now as f64).abs() < 1.0);
    assert!(scraped.get("grantd_revocation_lag_seconds") < 60.0);
    let open = scraped.get("grantd_database_connections{state=\"idle\"}")
        + scraped.get("grantd_database_connections{state=\"used\"}");
    assert!((1.0..=5.0).contains(&open), "{open}");
    assert!(scraped.get("process_resident_memory_bytes") > 1e6 && scraped.get("process_open_fds") > 3.0);
    assert!(scraped.get("process_cpu_seconds_total") > 0.0);
    // The clock of the process is the system's. It started after 2025, and before its own metrics were written.
    assert!(scraped.get("process_start_time_seconds") > 1.73e9);
}

async fn requests_are_counted_by_route_method_and_status(database: Database) {
    let admin = Admin::start(database).await;
    let user = admin.user("maria", &[]).await;
    for _ in 0..3 {
        admin.get(&user).await.json_with(200);
    }
    admin.get("/admin/users/00000000-0000-7000-8000-000000000000").await.problem(404, "not-found");
    admin.server.get("/users/me").send().await.problem(401, "unauthorized");
    admin.server.request("PUT", "/token").send().await.oauth_error(405, "invalid_request");
    admin.server.request("HEAD", "/healthz").send().await;
    let scraped = scrape(&admin.server, &admin.token).await;
    let count = |route: &str, method: &str, status: u16| {
        scraped.get(&format!("grantd_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}"))
    };
    assert_eq!(count("/admin/users/{id}", "GET", 200), 3.0);
    assert_eq!(count("/admin/users/{id}", "GET", 404), 1.0);
    assert_eq!(count("/admin/users", "POST", 201), 1.0);
    assert_eq!(count("/users/me", "GET", 401), 1.0);
    assert_eq!(count("/token", "PUT", 405), 1.0);
    assert_eq!(count("/token", "POST", 200), 1.0);
    assert_eq!(count("/healthz", "HEAD", 200), 1.0);
    let duration = "grantd_http_request_duration_seconds";
    let of = "route=\"/admin/users/{id}\",method=\"GET\"";
    assert_eq!(scraped.get(&format!("{duration}_count{{{of}}}")), 4.0);
    assert_eq!(scraped.get(&format!("{duration}_bucket{{le=\"+Inf\",{of}}}")), 4.0);
    assert!(scraped.get(&format!("{duration}_sum{{{of}}}")) > 0.0);
    // The request of this scrape was not answered yet; the one of the next scrape has counted it.
    assert_eq!(count("/metrics", "GET", 200), 0.0);
    let next = scrape(&admin.server, &admin.token).await;
    assert_eq!(next.get("grantd_http_requests_total{route=\"/metrics\",method=\"GET\",status=\"200\"}"), 1.0);
}

async fn callers_cannot_make_new_series(database: Database) {
    let server = TestServer::with(database, &["--cors-origins", "https://app.example"]).await;
    let token = server.admin().await;
    let preflight = server.request("OPTIONS", "/users/me").header("Origin", "https://app.example");
    preflight.header("Access-Control-Request-Method", "GET").send().await;
    for path in ["/a", "/admin/none"] {
        for method in ["GET", "BREW"] {
            server.request(method, path).send().await;
        }
    }
    server.get("/users/me").header("X-Large", "x".repeat(17_000)).send().await;
    scrape(&server, &token).await;
    let before = scrape(&server, &token).await;
    assert_eq!(before.get("grantd_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"}"), 2.0);
    assert_eq!(before.get("grantd_http_requests_total{route=\"unmatched\",method=\"other\",status=\"404\"}"), 2.0);
    // Those that are answered before they reach their route have it, too.
    assert_eq!(before.get("grantd_http_requests_total{route=\"/users/me\",method=\"OPTIONS\",status=\"200\"}"), 1.0);
    let large: Vec<_> = before.samples.keys().filter(|name| name.contains("status=\"431\"")).collect();
    assert!(large.iter().all(|name| name.contains("route=\"/users/me\"")), "{large:?}");
    for n in 0..50 {
        for method in ["GET", "BREW"] {
            server.request(method, &format!("/a-{n}?b={n}")).send().await;
            server.request(method, &format!("/admin/none/{n}")).send().await;
        }
        server.request(&format!("BREW{n}"), "/a").send().await;
        let preflight = server.request("OPTIONS", "/users/me").header("Origin", "https://app.example");
        preflight.header("Access-Control-Request-Method", "GET").send().await;
    }
    let after = scrape(&server, &token).await;
    assert_eq!(before.samples.keys().collect::<Vec<_>>(), after.samples.keys().collect::<Vec<_>>());
}

async fn logins_tokens_and_refusals_are_counted(database: Database) {
    let quotas = ["--rate-limit", "40/1h", "--rate-limit-exempt", "none", "--registration", "--hash-queue", "2"];
    let server =
        TestServer::with(database, &[&PROXY[..], &quotas, &["--metrics-address", "127.0.0.1:0"]].concat()).await;
    server.create_user("maria", &[]).await;
    let otto = server.create_user("otto", &[]).await;
    // Logins.
    let from_home = async |form: &Form| try_from(&server, HOME, form).await;
    let login = from_home(&Form::password("maria", PASSWORD)).await.json_with(200);
    from_home(&Form::password("maria", "wrong")).await.oauth_error(400, "invalid_grant");
    from_home(&Form::password("nobody", "wrong")).await.oauth_error(400, "invalid_grant");
    let basic = server.get("/users/me").header("X-Forwarded-For", HOME).basic_user("maria", PASSWORD);
    basic.send().await.json_with(200);
    server.set_disabled(&otto, true).await;
    from_home(&Form::password("otto", PASSWORD)).await.oauth_error(400, "invalid_grant");
    let counted = scrape_apart(&server).await;
    let of = |scraped: &Scrape, result: &str| scraped.get(&format!("grantd_logins_total{{result=\"{result}\"}}"));
    assert_eq!(["success", "wrong_password", "disabled"].map(|result| of(&counted, result)), [2.0, 2.0, 1.0]);

    // Tokens: the one of the login, its refresh, one of a client, and one for another token.
    let refresh = Form::of(&[("grant_type", "refresh_token")]);
    let first = refresh.clone().and("refresh_token", login["refresh_token"].as_str().unwrap());
    let second = from_home(&first).await.json_with(200);
    let robot = NewClient { id: "robot", grants: &["client_credentials", EXCHANGE], ..NewClient::default() };
    let secret = server.create_client(robot).await;
    let as_robot = async |form: Form| server.token(&form).basic("robot", &secret).send().await.json_with(200);
    let own = as_robot(Form::of(&[("grant_type", "client_credentials")])).await;
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    let exchange = Form::of(&[("grant_type", EXCHANGE), ("subject_token_type", access_token)]);
    as_robot(exchange.and("subject_token", own["access_token"].as_str().unwrap())).await;

    // Reuse.
    let third = refresh.clone().and("refresh_token", second["refresh_token"].as_str().unwrap());
    from_home(&third).await.json_with(200);
    for _ in 0..2 {
        from_home(&first).await.oauth_error(400, "invalid_grant");
    }
    let counted = scrape_apart(&server).await;
    let grant = |name: &str| counted.get(&format!("grantd_tokens_issued_total{{grant=\"{name}\"}}"));
    let grants = ["password", "refresh_token", "client_credentials", "token_exchange"];
    assert_eq!(grants.map(grant), [1.0, 2.0, 1.0, 1.0]);
    assert_eq!(counted.get("grantd_refresh_reuse_total"), 1.0, "the second time, the session is over already");

    // Refusals: of an account, of registrations, and of requests.
    use_up(&server, "somebody").await;
    for n in 0..11 {
        let body = json!({"username": format!("new-{n}"), "password": PASSWORD});
        server.request("POST", "/users").header("X-Forwarded-For", AWAY).json(&body).send().await;
    }
    let mut refused = 0;
    for _ in 0..60 {
        let answer = server.get("/.well-known/jwks.json").header("X-Forwarded-For", STRANGER).send().await;
        refused += u32::from(answer.status == 429);
    }
    assert!(refused > 0);
    let counted = scrape_apart(&server).await;
    let budget = |name: &str| counted.get(&format!("grantd_throttled_total{{budget=\"{name}\"}}"));
    assert_eq!(["account", "registration", "requests"].map(budget), [1.0, 1.0, refused.into()]);
    assert_eq!(of(&counted, "throttled"), 1.0);
    let limited = "grantd_http_requests_total{route=\"/.well-known/jwks.json\",method=\"GET\",status=\"429\"}";
    assert_eq!(counted.get(limited), f64::from(refused), "they never reached their route");
}

async fn hashes_are_timed(database: Database) {
    let flags = ["--hash-queue", "2", "--hash-wait", "60s", "--metrics-address", "127.0.0.1:0"];
    let server = TestServer::with(database, &flags).await;
    let before = scrape_apart(&server).await;
    let slow = occupy(&server).await;
    let waiting = tokio::spawn(server.token(&Form::password("nobody", "wrong")).send());
    let depth = async || scrape_apart(&server).await.get("grantd_hash_queue_depth") == 1.0;
    eventually("a password waits", depth).await;
    server.token(&Form::password("nobody", "wrong")).send().await.oauth_error(503, "temporarily_unavailable");
    assert_eq!(scrape_apart(&server).await.get("grantd_logins_total{result=\"overloaded\"}"), 1.0);
    slow.await.unwrap();
    waiting.await.unwrap();
    let after = scrape_apart(&server).await;
    for name in ["grantd_hash_wait_seconds", "grantd_hash_duration_seconds"] {
        let more = |sample: &str| after.get(&format!("{name}_{sample}")) - before.get(&format!("{name}_{sample}"));
        // The user that was created, and the two logins.
        assert_eq!(more("count"), 3.0, "{name}");
        assert_eq!(more("bucket{le=\"+Inf\"}"), 3.0, "{name}");
        assert!(more("sum") > 0.0, "{name}");
    }
    assert_eq!(after.get("grantd_hash_queue_depth"), 0.0);
}

async fn metrics_have_an_address_of_their_own(database: Database) {
    let server = TestServer::with(database, &["--metrics-address", "127.0.0.1:0"]).await;
    let token = server.admin().await;
    for request in [server.get("/metrics"), server.get("/metrics").bearer(&token), server.request("POST", "/metrics")] {
        request.send().await.problem(404, "not-found");
    }
    let scraped = scrape_apart(&server).await;
    assert_eq!(scraped.get("grantd_logins_total{result=\"success\"}"), 1.0);
    assert_eq!(scraped.get("grantd_certificate_expires_timestamp_seconds"), 0.0, "there is no TLS");
    let busy = server.app.config.telemetry.metrics_address.unwrap().to_string();
    let clock = grantd::clock::Clock::manual(crate::harness::beginning());
    let other = Database::sqlite();
    let error = TestServer::on(other.url(), &["--metrics-address", &busy], clock).await.map(drop).unwrap_err();
    assert!(error.contains(&format!("GRANTD_METRICS_ADDRESS: cannot listen on {busy}: ")), "{error}");
    // The address has nothing else: neither a login nor an account.
    let base = format!("http://{}", server.app.config.telemetry.metrics_address.unwrap());
    for path in ["/", "/token", "/users/me", "/healthz", "/metrics/"] {
        assert_eq!(of_url(&format!("{base}{path}")).await.status, 404, "{path}");
    }
    let after = scrape_apart(&server).await;
    let routes = after.samples.keys().filter(|name| name.contains("route=\"/metrics\""));
    assert_eq!(routes.count(), 0, "requests to the address for metrics are not counted");
}

async fn each_worker_counts_its_requests(database: Database) {
    let mut config = crate::harness::config(database.url(), &["--metrics-address", "127.0.0.1:0"]).unwrap();
    config.http.workers = 3;
    let clock = grantd::clock::Clock::manual(crate::harness::beginning());
    let server = TestServer::of(config, clock).await.unwrap();
    // Each connection has a worker.
    for _ in 0..30 {
        assert_eq!(of_url(&format!("{}/healthz", server.url())).await.status, 200);
    }
    let scraped = scrape_apart(&server).await;
    let of = "route=\"/healthz\",method=\"GET\"";
    assert_eq!(scraped.get(&format!("grantd_http_requests_total{{{of},status=\"200\"}}")), 30.0);
    assert_eq!(scraped.get(&format!("grantd_http_request_duration_seconds_count{{{of}}}")), 30.0);
}

#[actix_web::test]
async fn errors_of_the_database_are_counted() {
    let Some(database) = Database::postgres().await else { return };
    let proxy = Proxy::before(database.url());
    let flags = ["--database-timeout", "1s", "--metrics-address", "127.0.0.1:0"];
    let clock = grantd::clock::Clock::manual(crate::harness::beginning());
    let server = TestServer::on(proxy.url(), &flags, clock).await.unwrap();
    let errors =
        async |kind: &str| scrape_apart(&server).await.get(&format!("grantd_database_errors_total{{kind=\"{kind}\"}}"));
    for kind in ["unavailable", "timeout", "retry", "other"] {
        assert_eq!(errors(kind).await, 0.0, "{kind}");
    }
    proxy.cut();
    server.token(&Form::admin()).send().await.oauth_error(503, "temporarily_unavailable");
    assert!(errors("unavailable").await > 0.0);
    proxy.restore();
    eventually("the database is back", async || server.get("/readyz").send().await.status == 200).await;
    proxy.silence();
    server.token(&Form::admin()).send().await.oauth_error(503, "temporarily_unavailable");
    eventually("the statement times out", async || errors("timeout").await > 0.0).await;
    eventually("the lag grows", async || scrape_apart(&server).await.get("grantd_revocation_lag_seconds") > 1.0).await;
    assert_eq!(errors("other").await, 0.0);
}
