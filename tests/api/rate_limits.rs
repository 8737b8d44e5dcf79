//! The rate limit of requests: its fields, its refusals, and the networks that it tells apart.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use chrono::Duration;
use grantd::clock::Clock;

use crate::harness::{Answer, Database, Form, Request, TestServer, beginning, config};

/// Makes the network of these tests a limited one.
const NO_EXEMPT: [&str; 2] = ["--rate-limit-exempt", "none"];
/// Trusts this machine to report other addresses.
const PROXY: [&str; 2] = ["--trusted-proxies", "127.0.0.1"];

async fn start(flags: &[&[&str]]) -> TestServer {
    TestServer::with(Database::sqlite(), &flags.concat()).await
}

/// Returns both fields of a response, line by line.
fn fields(answer: &Answer) -> (Vec<&str>, Vec<&str>) {
    (answer.headers_named("ratelimit-policy"), answer.headers_named("ratelimit"))
}

fn has_none(answer: &Answer) -> bool {
    fields(answer) == (vec![], vec![])
}

/// Checks the fields of a refusal, and that it has what every response has.
#[track_caller]
fn refused(answer: &Answer, policy: &str, seconds: u64) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let limit = format!("\"requests\";r=0;t={seconds}");
    assert_eq!(fields(answer), (vec![policy], vec![limit.as_str()]));
    assert_eq!(answer.headers_named("retry-after"), [seconds.to_string()]);
    assert_eq!(answer.headers_named("x-request-id").len(), 1);
    assert_eq!(answer.headers_named("x-content-type-options"), ["nosniff"]);
    assert_eq!(answer.headers_named("cache-control"), ["no-store"]);
}

#[actix_web::test]
async fn every_response_of_a_limited_route_has_the_fields() {
    let server = start(&[&NO_EXEMPT, &["--cors-origins", "https://app.example"]]).await;
    let preflight = server.request("OPTIONS", "/token").header("Origin", "https://app.example");
    let other = server.request("OPTIONS", "/token").header("Origin", "https://elsewhere.example");
    let token = server.admin().await;
    // One was the login.
    let mut left = 499;
    for (status, request) in [
        (200, server.token(&Form::admin())),
        (200, server.get("/users/me").bearer(&token)),
        (200, server.get("/docs/")),
        (303, server.get("/").header("Accept", "text/html")),
        (200, server.get("/.well-known/jwks.json")),
        (304, server.get("/openapi.json").header("If-None-Match", "*")),
        (400, server.token(&Form::default())),
        (401, server.get("/users/me")),
        (404, server.get("/nothing")),
        (405, server.request("DELETE", "/token")),
        (405, server.request("PUT", "/users/me")),
        (415, server.request("PATCH", "/users/me").bearer(&token).body("text/plain", "x")),
        (431, server.get("/nothing").header("X-Filler", "x".repeat(17 * 1024))),
        (200, preflight.header("Access-Control-Request-Method", "POST")),
        (400, other.header("Access-Control-Request-Method", "POST")),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{}", answer.text());
        left -= 1;
        let limit = format!("\"requests\";r={left};t=1");
        assert_eq!(fields(&answer), (vec!["\"requests\";q=500;w=1"], vec![limit.as_str()]), "{status}");
        assert_eq!(answer.header("retry-after"), "");
    }
    for path in ["/healthz", "/readyz"] {
        let answer = server.get(path).send().await;
        assert!(answer.status == 200 && has_none(&answer), "{path}");
    }
    // They did not count either, and a second later the quota is whole.
    server.advance(Duration::seconds(1));
    assert_eq!(fields(&server.get("/nothing").send().await).1, ["\"requests\";r=499;t=1"]);
}

#[actix_web::test]
async fn requests_over_the_limit_are_refused_in_the_form_of_their_route() {
    let server = start(&[&NO_EXEMPT, &["--rate-limit", "3/1m"]]).await;
    let policy = "\"requests\";q=3;w=60";
    let token = server.admin().await;
    for _ in 0..2 {
        assert_eq!(server.get("/users/me").bearer(&token).send().await.status, 200);
    }
    for request in [
        server.get("/users/me").bearer(&token),
        server.get("/nothing"),
        server.get("/admin/users"),
        server.get("/verify"),
        server.request("PUT", "/users/me"),
        server.request("PATCH", "/users/me").bearer(&token).body("application/json", "{"),
    ] {
        let answer = request.send().await;
        refused(&answer, policy, 20);
        answer.problem(429, "too-many-requests");
    }
    for path in ["/token", "/introspect", "/revoke"] {
        let answer = server.request("POST", path).form(&Form::admin()).send().await;
        refused(&answer, policy, 20);
        answer.oauth_error(429, "slow_down");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).send().await.status, 200);
    }
    // None of the refused ones delays the next, and `Retry-After` is true.
    server.advance(Duration::seconds(19));
    refused(&server.get("/users/me").bearer(&token).send().await, policy, 1);
    server.advance(Duration::seconds(1));
    let answer = server.get("/users/me").bearer(&token).send().await;
    assert_eq!((answer.status, fields(&answer).1), (200, vec!["\"requests\";r=0;t=20"]));
    refused(&server.get("/users/me").bearer(&token).send().await, policy, 20);
    assert_eq!(server.app.limits.refused.requests.load(Ordering::Relaxed), 11);
    assert_eq!(server.app.limits.refused.registrations.load(Ordering::Relaxed), 0);
}

#[actix_web::test]
async fn a_throttled_login_has_its_own_fields_first() {
    let server = start(&[&NO_EXEMPT, &["--login-failures", "1/1h"]]).await;
    let wrong = Form::password("admin", "wrong");
    assert_eq!(fields(&server.token(&wrong).send().await).0, ["\"requests\";q=500;w=1"]);
    server.token(&wrong).send().await;
    let throttled = server.token(&wrong).send().await;
    throttled.oauth_error(429, "slow_down");
    let (policies, limits) = fields(&throttled);
    assert_eq!(policies, ["\"login\";q=1;w=3600", "\"requests\";q=500;w=1"]);
    assert_eq!(limits, ["\"login\";r=0;t=1", "\"requests\";r=497;t=1"]);
    assert_eq!(throttled.headers_named("retry-after"), ["1"]);
}

/// A browser shows a page neither the status nor the headers of a refused preflight.
#[actix_web::test]
async fn pages_of_allowed_origins_can_read_a_refusal() {
    let origin = "https://app.example";
    let server = start(&[&NO_EXEMPT, &["--rate-limit", "1/1m", "--cors-origins", origin]]).await;
    assert_eq!(server.get("/nothing").send().await.status, 404);
    let preflight = server.request("OPTIONS", "/token").header("Origin", origin);
    let preflight = preflight.header("Access-Control-Request-Method", "POST").send().await;
    assert_eq!((preflight.status, fields(&preflight).1), (200, vec!["\"requests\";r=0;t=60"]));
    assert_eq!(preflight.header("access-control-allow-origin"), origin);
    for request in [server.token(&Form::admin()), server.get("/users/me")] {
        let answer = request.header("Origin", origin).send().await;
        refused(&answer, "\"requests\";q=1;w=60", 60);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
        let exposed: Vec<_> = exposed.split(',').map(str::trim).collect();
        assert!(["retry-after", "ratelimit", "ratelimit-policy"].iter().all(|name| exposed.contains(name)));
    }
}

fn from(server: &TestServer, address: &str) -> Request {
    server.get("/nothing").header("X-Forwarded-For", address)
}

#[actix_web::test]
async fn networks_behind_a_trusted_proxy_are_counted_apart() {
    let server = start(&[&PROXY, &["--rate-limit", "2/1m"]]).await;
    let status = async |address: &str| from(&server, address).send().await.status;
    // An IPv4 address, also in the form of an IPv6 address, and whatever a client writes before it.
    assert_eq!((status("203.0.113.7").await, status("::ffff:203.0.113.7").await), (404, 404));
    for address in ["203.0.113.7", "::ffff:203.0.113.7", "198.51.100.1, 203.0.113.7", "203.0.113.7:4711"] {
        assert_eq!(status(address).await, 429, "{address}");
    }
    // An IPv6 /64.
    assert_eq!((status("2001:db8:0:7::1").await, status("2001:db8:0:7:ffff::2").await), (404, 404));
    assert_eq!((status("2001:db8:0:7:1:2:3:4").await, status("2001:db8:0:8::1").await), (429, 404));
    // Others are unharmed, next to it as well. (A shared place in the table has a probability of 2 in 65,536.)
    let mut answers = BTreeMap::<u16, u32>::new();
    for last in (1..100).filter(|last| *last != 7) {
        *answers.entry(status(&format!("203.0.113.{last}")).await).or_default() += 1;
    }
    assert!(answers[&404] >= 97, "{answers:?}");
}

#[actix_web::test]
async fn exempt_networks_are_not_limited() {
    // By default, this machine is.
    let server = start(&[&["--rate-limit", "1/1h"]]).await;
    for _ in 0..3 {
        let answer = server.get("/nothing").send().await;
        assert!(answer.status == 404 && has_none(&answer));
    }
    let exempt = "203.0.113.0/24,2001:db8::/32";
    let server = start(&[&PROXY, &["--rate-limit", "1/1h", "--rate-limit-exempt", exempt]]).await;
    for address in ["203.0.113.7", "::ffff:203.0.113.7", "2001:db8:1::7"] {
        for _ in 0..3 {
            let answer = from(&server, address).send().await;
            assert!(answer.status == 404 && has_none(&answer), "{address}");
        }
    }
    // The proxy itself, and what a client claims to be.
    for request in [server.get("/nothing"), from(&server, "203.0.113.7, 198.51.100.1")] {
        let answer = request.send().await;
        assert!(answer.status == 404 && !has_none(&answer));
    }
    assert_eq!(from(&server, "203.0.113.7, 198.51.100.1").send().await.status, 429);

    let server = start(&[&NO_EXEMPT, &["--rate-limit", "off"]]).await;
    assert!(has_none(&server.get("/nothing").send().await));
}

/// Connections are distributed among the workers; the quota is not.
#[actix_web::test]
async fn workers_share_the_limit() {
    let database = Database::sqlite();
    let flags = [&NO_EXEMPT[..], &["--rate-limit", "30/1h"]].concat();
    let mut config = config(database.url(), &flags).unwrap();
    config.http.workers = 3;
    let server = TestServer::of(config, Clock::manual(beginning())).await.unwrap();
    let mut left = Vec::new();
    for _ in 0..10 {
        // A client has connections of its own.
        let client = crate::harness::http_client();
        for _ in 0..4 {
            let answer = client.get(format!("{}/nothing", server.url())).send().await.unwrap();
            if answer.status().as_u16() == 404 {
                left.push(answer.headers()["ratelimit"].to_str().unwrap().to_owned());
            } else {
                assert_eq!(answer.status().as_u16(), 429);
            }
        }
    }
    let expected: Vec<_> = (0..30).rev().map(|left| format!("\"requests\";r={left};t=120")).collect();
    assert_eq!(left, expected);
}
