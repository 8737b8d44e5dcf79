//! `GET /`, `GET /favicon.ico`, and the error for a path with a trailing slash.

use serde_json::json;

use crate::harness::{Database, TestServer};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[actix_web::test]
async fn a_browser_is_redirected_to_the_docs() {
    let server = TestServer::start(Database::sqlite()).await;
    for accept in [BROWSER, "text/html", "application/json;q=0.5, TEXT/HTML;q=0.1"] {
        let answer = server.get("/").header("Accept", accept).send().await;
        assert_eq!((answer.status, answer.header("location")), (303, "/docs"), "{accept}");
        assert_eq!(answer.header("vary"), "accept");
    }
}

#[actix_web::test]
async fn a_browser_stays_below_the_path_of_the_issuer() {
    // A proxy asks for `/`, whether the browser asked for `/auth` or for `/auth/`.
    for (issuer, asked, expected) in [
        ("https://example.com", "https://example.com/", "https://example.com/docs"),
        // Reached by another name, as through a mapped port.
        ("https://example.com", "http://127.0.0.1:9000", "http://127.0.0.1:9000/docs"),
        ("https://example.com/auth", "https://example.com/auth", "https://example.com/auth/docs"),
        ("https://example.com/auth/", "https://example.com/auth/", "https://example.com/auth/docs"),
    ] {
        let server = TestServer::with(Database::sqlite(), &["--issuer", issuer]).await;
        let answer = server.get("/").header("Accept", BROWSER).send().await;
        assert_eq!(answer.status, 303, "{issuer}");
        let followed = reqwest::Url::parse(asked).unwrap().join(answer.header("location")).unwrap();
        assert_eq!(followed.as_str(), expected, "{issuer}, {asked}");
    }
}

#[actix_web::test]
async fn other_callers_get_links() {
    let server = TestServer::with(Database::sqlite(), &["--issuer", "https://auth.example.com/tenant"]).await;
    for accept in ["*/*", "application/json", "text/html;q=0", "text/*", "nonsense"] {
        let links = server.get("/").header("Accept", accept).send().await.json_with(200);
        let issuer = "https://auth.example.com/tenant";
        let expected = json!({
            "issuer": issuer,
            "docs": format!("{issuer}/docs"),
            "openapi": format!("{issuer}/openapi.json"),
            "metadata": format!("{issuer}/.well-known/oauth-authorization-server"),
        });
        assert_eq!(links, expected, "{accept}");
    }
    assert_eq!(server.get("/").send().await.json_with(200)["issuer"], "https://auth.example.com/tenant");
}

#[actix_web::test]
async fn the_icon_is_an_svg() {
    let server = TestServer::start(Database::sqlite()).await;
    let icon = server.get("/favicon.ico").send().await;
    assert_eq!((icon.status, icon.header("content-type")), (200, "image/svg+xml"));
    assert!(icon.text().starts_with("<svg "), "{}", icon.text());
    for (page, link) in [("/docs", "\"favicon.ico\""), ("/docs/", "\"../favicon.ico\"")] {
        let answer = server.get(page).send().await;
        let html = answer.text();
        assert!(html.contains("<title>grantd API</title>"), "{html}");
        assert!(html.contains(link) && html.matches("rel=\"icon\"").count() == 1, "{html}");
    }
}

#[actix_web::test]
async fn errors_for_a_trailing_slash_suggest_the_path_without_it() {
    let server = TestServer::start(Database::sqlite()).await;
    for path in [
        "/token",
        "/users/me",
        "/admin/users",
        "/admin/users/019c13e0-91b8-7e10-8f5d-2b6d7a3f4c11/roles",
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/openapi.json",
        // `/docs/` is the page too.
        "/docs/",
    ] {
        let problem = server.get(&format!("{path}/")).send().await.problem(404, "not-found");
        let meant = path.trim_end_matches('/');
        let expected = format!("there is nothing at {path}/: did you mean {meant}, without the trailing slash?");
        assert_eq!(problem["detail"], expected);
    }
    for path in ["/nothing/", "/admin/", "/users/me/x/"] {
        let problem = server.get(path).send().await.problem(404, "not-found");
        assert_eq!(problem["detail"], "there is nothing at this path", "{path}");
    }
}
