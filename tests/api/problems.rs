//! `GET /problems/{type}`: what the errors of this server mean.

use crate::harness::{Database, TestServer};

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
        // The policy of all answers would stop them.
        assert!(!html.contains("<script") && !html.contains("style"), "{path}");
        assert!(list.text().contains(&format!("<a href=\"{}\">", &path[1..])), "{path} is not in the list");
        let known = server.get(path).header("If-None-Match", page.header("etag")).send().await;
        assert_eq!(known.status, 304, "{path}");
    }
}

/// Whoever follows the `type` of an answer comes to its page.
#[actix_web::test]
async fn an_answer_leads_to_its_page() {
    let server = TestServer::start(Database::sqlite()).await;
    let problem = server.get("/users/me").send().await.problem(401, "unauthorized");
    let page = server.get(problem["type"].as_str().unwrap()).send().await;
    assert!(page.text().contains(&format!("<h1>{}</h1>", problem["title"].as_str().unwrap())));
}

#[actix_web::test]
async fn other_pages_are_not_there() {
    let server = TestServer::start(Database::sqlite()).await;
    for path in ["/problems/other", "/problems/%3Cscript%3E", "/problems/", "/problems/not-found/more"] {
        let answer = server.get(path).send().await;
        answer.problem(404, "not-found");
        assert!(!answer.text().contains("script"), "{path}");
    }
    server.request("POST", "/problems").send().await.problem(405, "method-not-allowed");
}
