//! What all responses have: a request id, the security headers, and one of the two error formats.

use serde_json::json;

use crate::harness::{Answer, Database, Form, TestServer, on_both_engines, raw};

on_both_engines!(
    every_response_has_the_security_headers,
    valid_request_ids_of_the_caller_are_used,
    unknown_paths_and_methods_are_problems,
    unexpected_bodies_are_ignored_or_refused,
    request_heads_have_a_size_limit,
    malformed_http_gets_a_response,
    allowed_origins_can_call,
    without_allowed_origins_there_are_no_cors_headers,
    health_checks_report_the_state,
    the_documentation_needs_no_other_host,
);

#[track_caller]
fn has_the_headers(what: &str, answer: &Answer) {
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY")]
    {
        assert_eq!(answer.headers_named(name), [value], "{what}");
    }
    let policies = answer.headers_named("content-security-policy");
    assert!(policies.len() == 1 && policies[0].contains("default-src 'none'"), "{what}: {policies:?}");
    assert_eq!(answer.header("strict-transport-security"), "", "{what}: there is no TLS");
    let id = answer.headers_named("x-request-id");
    assert!(id.len() == 1 && (1..=64).contains(&id[0].len()), "{what}: {id:?}");
    assert_eq!(answer.header("server"), "", "{what}");
}

async fn every_response_has_the_security_headers(database: Database) {
    let server = TestServer::with(database, &["--cors-origins", "https://app.example"]).await;
    let token = server.admin().await;
    let preflight = server.request("OPTIONS", "/token").header("Origin", "https://app.example");
    let other = server.request("OPTIONS", "/token").header("Origin", "https://elsewhere.example");
    for (what, request) in [
        ("a page", server.get("/docs/")),
        ("a redirect", server.get("/docs")),
        ("a token", server.token(&Form::admin())),
        ("an account", server.get("/users/me").bearer(&token)),
        ("an OAuth error", server.token(&Form::default())),
        ("a challenge", server.get("/users/me")),
        ("nothing", server.get("/nothing")),
        ("a wrong method", server.request("DELETE", "/healthz")),
        ("not modified", server.get("/openapi.json").header("If-None-Match", "*")),
        ("a preflight", preflight.header("Access-Control-Request-Method", "POST")),
        ("a preflight of another origin", other.header("Access-Control-Request-Method", "POST")),
    ] {
        has_the_headers(what, &request.send().await);
    }
}

async fn valid_request_ids_of_the_caller_are_used(database: Database) {
    let server = TestServer::start(database).await;
    let sent = async |id: &str| {
        let answer = server.get("/nothing").header("X-Request-Id", id).send().await;
        let body = answer.problem(404, "not-found");
        body["instance"].as_str().unwrap().to_owned()
    };
    for id in ["a", "A-b_c.9", &"x".repeat(64)] {
        assert_eq!(sent(id).await, id);
    }
    for id in ["", "a b", "a/b", "a\"b", "ä", &"x".repeat(65)] {
        let new = sent(id).await;
        assert_eq!(new.parse::<uuid::Uuid>().map(|id| id.get_version_num()), Ok(7), "{id:?} became {new}");
    }
    assert_ne!(sent("").await, sent("").await);
}

async fn unknown_paths_and_methods_are_problems(database: Database) {
    let server = TestServer::start(database).await;
    for path in [
        "/nothing",
        "/accounts",
        "/users/me/",
        "/users/me/x",
        "/Token",
        "/token/",
        "//",
        "/docs/none.js",
        "/%00",
        "/a/../b",
    ] {
        for method in ["GET", "POST", "PUT"] {
            let answer = server.request(method, path).send().await;
            if path == "/docs/none.js" && method != "GET" {
                answer.problem(405, "method-not-allowed");
            } else {
                answer.problem(404, "not-found");
            }
        }
    }
    for (path, allow) in [
        ("/verify", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/docs", "GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/favicon.ico", "GET, HEAD"),
        ("/.well-known/jwks.json", "GET, HEAD"),
        ("/.well-known/oauth-authorization-server", "GET, HEAD"),
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let answer = server.request(method, path).send().await;
            answer.problem(405, "method-not-allowed");
            assert_eq!(answer.header("allow"), allow, "{method} {path}");
        }
        let head = server.request("HEAD", path).send().await;
        assert!(head.body.is_empty() && head.status < 402, "{path}: {}", head.status);
    }
}

async fn unexpected_bodies_are_ignored_or_refused(database: Database) {
    let server = TestServer::start(database).await;
    let body = vec![b'x'; 2_000_000];
    let answer = server.get("/healthz").body("text/plain", body).send().await;
    assert!([200, 413].contains(&answer.status), "{}", answer.status);
}

async fn request_heads_have_a_size_limit(database: Database) {
    let server = TestServer::start(database).await;
    let fits = server.get("/healthz").header("X-Filler", "x".repeat(15 * 1024)).send().await;
    assert_eq!(fits.status, 200);
    for (path, header) in [("/healthz".to_owned(), 17 * 1024), (format!("/healthz?{}", "x".repeat(17 * 1024)), 1)] {
        let answer = server.get(&path).header("X-Filler", "x".repeat(header)).send().await;
        answer.problem(431, "head-too-large");
    }
    // A much larger head gets at least a status.
    let head =
        format!("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Filler: {}\r\n\r\n", "x".repeat(300_000));
    let (status, _) = raw(server.url(), head).await;
    assert!([400, 431].contains(&status), "{status}");
}

async fn malformed_http_gets_a_response(database: Database) {
    let server = TestServer::start(database).await;
    let head = "Host: a\r\nConnection: close\r\n";
    let chunked = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n";
    for (what, request, expected) in [
        ("not HTTP", "\x16\x03\x01\r\n\r\n".to_owned(), 400),
        ("no version", format!("GET /\r\n{head}\r\n"), 400),
        ("a header without a colon", format!("GET /healthz HTTP/1.1\r\n{head}x\r\n\r\n"), 400),
        ("NUL in a header", format!("GET /healthz HTTP/1.1\r\n{head}X: a\0b\r\n\r\n"), 400),
        ("two lengths", format!("POST /token HTTP/1.1\r\n{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400),
        (
            "length and chunks",
            format!("POST /token HTTP/1.1\r\n{head}{chunked}Content-Length: 1\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("an invalid length", format!("POST /token HTTP/1.1\r\n{head}Content-Length: x\r\n\r\n"), 400),
        ("an invalid chunk", format!("POST /token HTTP/1.1\r\n{head}{chunked}\r\nx\r\n"), 400),
        ("a path with a raw space", format!("GET /a b HTTP/1.1\r\n{head}\r\n"), 400),
        ("a path with a truncated escape", format!("GET /%4 HTTP/1.1\r\n{head}\r\n"), 404),
        ("a path that is not UTF-8", format!("GET /%ff HTTP/1.1\r\n{head}\r\n"), 404),
        ("a file name that is not UTF-8", format!("GET /docs/%ff HTTP/1.1\r\n{head}\r\n"), 404),
        ("a file outside of the directory", format!("GET /docs/..%2f..%2fetc/passwd HTTP/1.1\r\n{head}\r\n"), 404),
        ("an absolute URI", format!("GET http://a/healthz HTTP/1.1\r\n{head}\r\n"), 200),
    ] {
        let (status, answer) = raw(server.url(), request).await;
        assert!(status == expected, "{what}: {answer}");
    }
    // The server still responds.
    assert_eq!(server.get("/healthz").send().await.status, 200);
}

async fn allowed_origins_can_call(database: Database) {
    let origins = "https://app.example,http://127.0.0.1:8000";
    let server = TestServer::with(database, &["--cors-origins", origins]).await;
    for origin in origins.split(',') {
        let preflight = server
            .request("OPTIONS", "/token")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization, content-type")
            .send()
            .await;
        assert_eq!(preflight.status, 200, "{}", preflight.text());
        assert_eq!(preflight.header("access-control-allow-origin"), origin);
        assert!(preflight.header("access-control-allow-methods").contains("POST"));
        let allowed = preflight.header("access-control-allow-headers").to_ascii_lowercase();
        assert!(allowed.contains("authorization") && allowed.contains("content-type"), "{allowed}");
        assert_eq!(preflight.header("access-control-allow-credentials"), "", "tokens are not cookies");
        // Also errors, so that the page can read them.
        for answer in [
            server.token(&Form::admin()).header("Origin", origin).send().await,
            server.token(&Form::default()).header("Origin", origin).send().await,
            server.get("/users/me").header("Origin", origin).send().await,
            server.get("/nothing").header("Origin", origin).send().await,
        ] {
            assert_eq!(answer.header("access-control-allow-origin"), origin, "{}", answer.status);
            assert!(answer.headers_named("vary").join(",").to_ascii_lowercase().contains("origin"));
            let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
            assert!(exposed.contains("www-authenticate") && exposed.contains("retry-after"), "{exposed}");
        }
    }
    // Requests without an origin are not affected.
    assert_eq!(server.token(&Form::admin()).send().await.status, 200);
    let before = server.database().row_counts().await;
    for (path, other) in
        [("/token", "https://evil.example"), ("/users/me", "null"), ("/healthz", "https://app.example.evil")]
    {
        let request = server.request(if path == "/token" { "POST" } else { "GET" }, path).header("Origin", other);
        let answer = if path == "/token" { request.form(&Form::admin()) } else { request }.send().await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
        match (path, answer.status) {
            ("/token", 400) => drop(answer.oauth_error(400, "invalid_request")),
            (_, 400) => drop(answer.problem(400, "invalid-request")),
            // The server may also respond without CORS headers: the browser then hides the response from the page.
            (_, status) => assert!(status < 500, "{status}"),
        }
    }
    assert!(server.database().row_counts().await.len() == before.len());
}

async fn without_allowed_origins_there_are_no_cors_headers(database: Database) {
    let server = TestServer::start(database).await;
    let answer = server.token(&Form::admin()).header("Origin", "https://app.example").send().await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ""));
}

async fn health_checks_report_the_state(database: Database) {
    let server = TestServer::start(database).await;
    for (path, status) in [("/healthz", "ok"), ("/readyz", "ready")] {
        let answer = server.get(path).send().await;
        assert_eq!(answer.json_with(200), json!({"status": status}));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

async fn the_documentation_needs_no_other_host(database: Database) {
    let server = TestServer::start(database).await;
    let page = server.get("/docs").send().await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"), "{}", page.header("content-type"));
    let mut files: Vec<&str> = page.text().split(['"', '\'']).filter(|text| text.starts_with("docs/")).collect();
    files.sort_unstable();
    files.dedup();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let answer = server.get(&format!("/{file}")).send().await;
        assert_eq!(answer.status, 200, "{file}");
        assert!(!answer.body.is_empty());
    }
    // No other host, and no inline script, which the policy would block.
    let hosts = ["https://", "http://", "src=\"//", "href=\"//"];
    assert!(hosts.iter().all(|host| !page.text().contains(host)), "{}", page.text());
    let scripts = page.text().split("<script").skip(1).map(|rest| rest.split('>').next().unwrap());
    assert!(scripts.into_iter().all(|script| script.contains("src=")), "{}", page.text());
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self'") && !policy.contains("script-src 'self' 'unsafe"), "{policy}");
    let initializer = server.get("/docs/swagger-initializer.js").send().await;
    assert!(initializer.text().contains("/openapi.json"), "{}", initializer.text());
}
