//! `GET /problems/{type}`: the pages of the error types.

use crate::harness::{ADMIN_PASSWORD, Database, TestServer};

#[actix_web::test]
async fn every_type_has_a_page() {
    let server = TestServer::start(Database::sqlite()).await;
    let list = server.get("/problems").send().await;
    assert_eq!((list.status, list.header("content-type")), (200, "text/html; charset=utf-8"));
    let document = server.get("/openapi.json").send().await.json_with(200);
    let types = document["components"]["schemas"]["ProblemType"]["enum"].as_array().unwrap();
    assert!(types.len() >= 16, "{types:?}");
    for path in types {
        let path = path.as_str().unwrap();
        let page = server.get(path).send().await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        assert_eq!(page.header("cache-control"), "public, max-age=300");
        let html = page.text();
        for part in [&format!("<code>{path}</code>"), "<h2>What it means</h2>", "<h2>What to do</h2>", "<p>"] {
            assert!(html.contains(part), "{path} lacks {part}");
        }
        // The content security policy would block them.
        assert!(!html.contains("<script") && !html.contains("style"), "{path}");
        assert!(list.text().contains(&format!("<a href=\"{}\">", &path[1..])), "{path} is not in the list");
        let known = server.get(path).header("If-None-Match", page.header("etag")).send().await;
        assert_eq!(known.status, 304, "{path}");
    }
}

#[actix_web::test]
async fn the_type_of_an_error_is_the_path_of_its_page() {
    let server = TestServer::start(Database::sqlite()).await;
    let problem = server.get("/users/me").send().await.problem(401, "unauthorized");
    let page = server.get(problem["type"].as_str().unwrap()).send().await;
    assert!(page.text().contains(&format!("<h1>{}</h1>", problem["title"].as_str().unwrap())));
}

#[actix_web::test]
async fn unknown_types_are_not_found() {
    let server = TestServer::start(Database::sqlite()).await;
    for path in ["/problems/other", "/problems/%3Cscript%3E", "/problems/", "/problems/not-found/more"] {
        let answer = server.get(path).send().await;
        answer.problem(404, "not-found");
        assert!(!answer.text().contains("script"), "{path}");
    }
    server.request("POST", "/problems").send().await.problem(405, "method-not-allowed");
}

#[actix_web::test]
async fn a_malformed_body_names_the_member() {
    let server = TestServer::start(Database::sqlite()).await;
    let token = server.login("admin", ADMIN_PASSWORD).await;
    let detail = async |body: &str| {
        let request = server.request("POST", "/admin/users").bearer(&token).body("application/json", body);
        request.send().await.problem(400, "malformed-body")["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail(r#"{"username": "maria", "is_admin": true}"#).await.contains("unknown member is_admin"));
    assert!(detail(r#"{"username": "a", "username": "b"}"#).await.contains("the member username is repeated"));
    assert!(detail("{\n  \"username\": maria}").await.contains("line 2, column 15"));
    // A text that does not look like a name is not repeated, since it may be a secret.
    let long = "hunter2".repeat(10);
    for name in ["hunter2 ", "hunter2`, expected `x", "hunter2.x", "<hunter2>", "hunter2ü", long.as_str()] {
        let detail = detail(&serde_json::json!({ name: 1 }).to_string()).await;
        assert!(detail.contains("unknown member") && !detail.contains("hunter2."), "{name}: {detail}");
        assert_eq!(detail.contains("hunter2"), name.starts_with("hunter2`"), "{name}: {detail}");
    }
}

#[actix_web::test]
async fn a_missing_token_names_the_scheme_that_was_sent() {
    let server = TestServer::start(Database::sqlite()).await;
    let detail = async |authorization: &str| {
        let answer = server.get("/users/me").header("Authorization", authorization).send().await;
        answer.problem(401, "unauthorized")["detail"].as_str().unwrap().to_owned()
    };
    for scheme in ["Digest", "Token"] {
        let detail = detail(&format!("{} c2VjcmV0", scheme.to_lowercase())).await;
        assert!(detail.contains(&format!("the scheme {scheme};")) && !detail.contains("c2VjcmV0"), "{detail}");
    }
    for token in ["c2VjcmV0", "c2VjcmV0 c2VjcmV0", "Bearer:c2VjcmV0"] {
        let detail = detail(token).await;
        assert!(detail.contains("does not have the scheme Bearer") && !detail.contains("c2VjcmV0"), "{detail}");
    }
    let none = server.get("/users/me").send().await.problem(401, "unauthorized");
    assert!(none["detail"].as_str().unwrap().contains("Authorization: Bearer"), "{none}");

    // The same at `/token`, for a scheme other than Basic.
    let form = crate::harness::Form::admin();
    let token = server.request("POST", "/token").header("Authorization", "Digest c2VjcmV0").form(&form).send().await;
    let body = token.oauth_error(401, "invalid_client");
    let description = body["error_description"].as_str().unwrap();
    assert!(description.contains("the scheme Digest;") && !description.contains("c2VjcmV0"), "{body}");
}
