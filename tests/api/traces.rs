//! Traces: spans of requests, statements and hashes, as a collector gets them.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;

use crate::harness::{ADMIN_PASSWORD, Database, Form, Grantd, TestServer, on_both_engines};

on_both_engines!(
    a_login_is_one_trace,
    a_statement_for_several_requests_is_linked_to_all,
    errors_of_the_server_are_marked,
    a_dead_collector_is_reported_once,
    variables_of_opentelemetry_count,
);

/// A collector: takes spans over HTTP.
struct Collector {
    url: String,
    received: Arc<Received>,
}

#[derive(Default)]
struct Received {
    requests: Mutex<Vec<ExportTraceServiceRequest>>,
    /// Heads of the requests, in lower case.
    heads: Mutex<BTreeSet<String>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/otlp", listener.local_addr().unwrap());
        let received = Arc::<Received>::default();
        let to = Arc::clone(&received);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let to = Arc::clone(&to);
                std::thread::spawn(move || serve(&connection.unwrap(), &to));
            }
        });
        Self { url, received }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.requests.lock().unwrap();
        let scopes = received.iter().flat_map(|one| &one.resource_spans).flat_map(|one| &one.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The values of an attribute of the process.
    fn of_resource(&self, name: &str) -> BTreeSet<String> {
        let received = self.received.requests.lock().unwrap();
        let resources = received.iter().flat_map(|one| &one.resource_spans).filter_map(|one| one.resource.as_ref());
        resources.map(|resource| text(&resource.attributes, name)).collect()
    }
}

fn serve(mut connection: &TcpStream, collector: &Received) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            // The end of the connection.
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        assert!(head.starts_with("POST /otlp/v1/traces HTTP/1.1\r\n"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        collector.heads.lock().unwrap().insert(head);
        collector.requests.lock().unwrap().push(ExportTraceServiceRequest::decode(&body[..]).unwrap());
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    }
}

/// Returns an attribute as text; the empty text: there is none.
fn text(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|one| one.key == name).and_then(|one| one.value.as_ref()?.value.clone());
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        None => String::new(),
        other => panic!("{other:?}"),
    }
}

/// Stops a server, which sends its last spans then.
fn stop(server: TestServer, collector: &Collector) -> Vec<Span> {
    drop(server);
    collector.spans()
}

async fn start(database: Database, collector: &Collector) -> TestServer {
    TestServer::with(database, &["--otlp-endpoint", &collector.url]).await
}

#[track_caller]
fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[track_caller]
fn one<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    match named(spans, name)[..] {
        [span] => span,
        _ => panic!("{name} in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>()),
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

async fn a_login_is_one_trace(database: Database) {
    let is_postgres = database.url().starts_with("postgres");
    let collector = Collector::start();
    let server = start(database, &collector).await;
    let login = server.token(&Form::admin()).header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    let login = login.header("X-Request-Id", "traced").send().await.json_with(200);
    let token = login["access_token"].as_str().unwrap();
    let me = server.get("/users/me").bearer(token).send().await.json_with(200);
    server.get("/not/a/route?secret=hunter2").send().await.problem(404, "not-found");
    let unsampled = server.get("/healthz").header("traceparent", format!("00-{TRACE}-{PARENT}-00"));
    assert_eq!(unsampled.send().await.status, 200);
    server.request("BREW", "/healthz").header("traceparent", "hunter2").send().await;
    let spans = stop(server, &collector);
    assert_eq!(collector.of_resource("service.name"), BTreeSet::from(["grantd".to_owned()]));
    assert_eq!(collector.of_resource("service.version"), BTreeSet::from([env!("CARGO_PKG_VERSION").to_owned()]));

    // The trace of the caller is continued.
    let request = one(&spans, "POST /token");
    assert_eq!((hex(&request.trace_id).as_str(), hex(&request.parent_span_id).as_str()), (TRACE, PARENT));
    assert_eq!(request.kind(), SpanKind::Server);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/token"),
        ("url.path", "/token"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("grantd.request_id", "traced"),
    ] {
        assert_eq!(text(&request.attributes, name), value, "{name}");
    }
    // All that the login did, in other tasks and threads too, is a part of it.
    let parts: Vec<_> =
        spans.iter().filter(|span| span.trace_id == request.trace_id && span.name != "POST /token").collect();
    assert!(parts.iter().all(|part| part.parent_span_id == request.span_id), "{parts:?}");
    for name in ["password hash", "users::LOGIN_BY_USERNAME", "throttle::RESERVE", "sessions::INSERT", "COMMIT"] {
        assert_eq!(parts.iter().filter(|part| part.name == name).count(), 1, "{name}: {parts:?}");
    }
    let statement = one(&spans, "throttle::RESERVE");
    assert_eq!(statement.kind(), SpanKind::Client);
    let engine = if is_postgres { "postgresql" } else { "sqlite" };
    assert_eq!(text(&statement.attributes, "db.system.name"), engine);
    assert_eq!(text(&statement.attributes, "db.operation.name"), "INSERT");
    let hash = one(&spans, "password hash");
    assert!(hash.end_time_unix_nano > hash.start_time_unix_nano);
    assert!(request.start_time_unix_nano <= hash.start_time_unix_nano);
    assert!(request.end_time_unix_nano >= hash.end_time_unix_nano);

    // A request without `traceparent` begins a trace.
    let read = one(&spans, "GET /users/me");
    assert!(read.parent_span_id.is_empty() && read.trace_id != request.trace_id);
    let its: Vec<_> = spans.iter().filter(|span| span.parent_span_id == read.span_id).collect();
    assert!(its.iter().any(|part| part.name.starts_with("users::")), "{its:?}");

    // A path without a route is nobody's name, and appears nowhere. An unknown method has one name.
    let unmatched = one(&spans, "GET");
    assert_eq!(
        (text(&unmatched.attributes, "http.route"), text(&unmatched.attributes, "url.path")),
        Default::default()
    );
    assert_eq!(text(&one(&spans, "_OTHER /healthz").attributes, "http.response.status_code"), "405");
    // The caller has decided against this trace.
    assert!(named(&spans, "GET /healthz").is_empty());
    // Neither what was sent nor what was answered.
    let all = format!("{spans:?}");
    let secrets =
        [ADMIN_PASSWORD, token, login["refresh_token"].as_str().unwrap(), "hunter2", me["username"].as_str().unwrap()];
    for secret in secrets.iter().chain(&[login["device_token"].as_str().unwrap()]) {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    // Background duties have no spans: the caches are synced five times a second.
    let requests: BTreeSet<_> =
        spans.iter().filter(|span| span.kind() == SpanKind::Server).map(|span| &span.trace_id).collect();
    assert!(spans.iter().all(|span| requests.contains(&span.trace_id)), "{spans:?}");
}

async fn a_statement_for_several_requests_is_linked_to_all(database: Database) {
    let collector = Collector::start();
    let server = start(database, &collector).await;
    let token = server.admin().await;
    let requests: Vec<_> = (0..40).map(|_| tokio::spawn(server.get("/users/me").bearer(&token).send())).collect();
    for request in requests {
        request.await.unwrap().json_with(200);
    }
    let spans = stop(server, &collector);
    let requests: BTreeSet<_> = named(&spans, "GET /users/me").iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(requests.len(), 40);
    let statements = spans.iter().filter(|span| span.name.starts_with("users::BY_ID"));
    let ids = statements.flat_map(|span| {
        std::iter::once(span.parent_span_id.clone()).chain(span.links.iter().map(|link| link.span_id.clone()))
    });
    let ids: Vec<_> = ids.filter(|id| requests.contains(id)).collect();
    assert_eq!(ids.len(), 40, "each request has one statement");
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), requests);
}

async fn errors_of_the_server_are_marked(database: Database) {
    let collector = Collector::start();
    let server = start(database, &collector).await;
    let token = server.admin().await;
    server.database().execute("ALTER TABLE users RENAME TO moved").await.unwrap();
    server.get("/users/me").bearer(&token).send().await.problem(500, "internal");
    server.get("/users/me").send().await.problem(401, "unauthorized");
    server.database().execute("ALTER TABLE moved RENAME TO users").await.unwrap();
    let spans = stop(server, &collector);
    let of_status = |status: &str| {
        let mut requests = named(&spans, "GET /users/me").into_iter();
        requests.find(|span| text(&span.attributes, "http.response.status_code") == status).unwrap()
    };
    let is_error = |span: &Span| span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    let (failed, refused) = (of_status("500"), of_status("401"));
    assert!(is_error(failed) && text(&failed.attributes, "error.type") == "500");
    assert!(!is_error(refused) && text(&refused.attributes, "error.type").is_empty(), "the caller's error");
    let statements = spans.iter().filter(|span| span.parent_span_id == failed.span_id);
    let failed: Vec<_> = statements.filter(|span| is_error(span)).collect();
    let [statement] = failed[..] else { panic!("{failed:?}") };
    assert_eq!(
        (statement.name.as_str(), text(&statement.attributes, "error.type").as_str()),
        ("users::BY_ID", "other")
    );
}

async fn a_dead_collector_is_reported_once(database: Database) {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let variables = [
        ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ("GRANTD_OTLP_ENDPOINT", &endpoint),
        ("GRANTD_LOG_FORMAT", "json"),
        // Exports as often as possible.
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
    ];
    let mut server = Grantd::start(database.url(), &variables);
    let token = server.login(ADMIN_PASSWORD).await;
    for _ in 0..50 {
        server.request("GET", "/users/me").bearer(&token).send().await.json_with(200);
    }
    server.signal("TERM");
    assert!(server.wait().success());
    let (_, log) = server.kill();
    let warnings = log.lines().filter(|line| line.contains("the collector of traces does not take spans"));
    assert_eq!(warnings.count(), 1, "{log}");
}

async fn variables_of_opentelemetry_count(database: Database) {
    let collector = Collector::start();
    let usual = [("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD), ("GRANTD_OTLP_ENDPOINT", &collector.url)];
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=hunter2");
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging,service.name=other");
    let run = async |variables: &[(&str, &str)]| {
        let mut server = Grantd::start(database.url(), &[&usual[..], variables].concat());
        server.login(ADMIN_PASSWORD).await;
        server.signal("TERM");
        assert!(server.wait().success());
    };
    run(&[headers, attributes, ("OTEL_TRACES_SAMPLER", "always_off")]).await;
    assert!(collector.spans().is_empty());
    run(&[headers, attributes]).await;
    one(&collector.spans(), "POST /token");
    assert!(collector.received.heads.lock().unwrap().iter().all(|head| head.contains("x-api-key: hunter2\r\n")));
    assert_eq!(collector.of_resource("deployment.environment.name"), BTreeSet::from(["staging".to_owned()]));
    assert_eq!(collector.of_resource("service.name"), BTreeSet::from(["grantd".to_owned()]));
}
