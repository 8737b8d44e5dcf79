//! `GET /openapi.json`, and the copy of it that the repository keeps.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Database, TestServer};

#[actix_web::test]
async fn the_copy_in_the_repository_is_what_the_server_says() {
    let server = TestServer::start(Database::sqlite()).await;
    let served: Value = server.get("/openapi.json").send().await.json_with(200);
    let text = serde_json::to_string_pretty(&served).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "openapi.json is not what the handlers say: `UPDATE=1 cargo test --test api openapi` renews it"
    );
}

#[actix_web::test]
async fn it_describes_what_there_is() {
    let server = TestServer::with(Database::sqlite(), &["--registration"]).await;
    let document = server.get("/openapi.json").send().await.json_with(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let schemes = &document["components"]["securitySchemes"];
    // What the Authorize button of Swagger UI logs in with.
    assert_eq!(schemes["oauth2"]["flows"]["password"]["tokenUrl"], "/token");
    assert!(schemes["oauth2"]["flows"]["password"]["scopes"]["account"].is_string());
    assert_eq!((&schemes["bearer"]["type"], &schemes["bearer"]["scheme"]), (&json!("http"), &json!("bearer")));

    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let answer = server.request(&method.to_uppercase(), path).send().await;
            assert!(![404, 405].contains(&answer.status), "{method} {path} is described and not there");
            let described = operation["responses"].as_object().unwrap();
            assert!(described.contains_key(&answer.status.to_string()), "{method} {path} answers {}", answer.status);
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path}");
        }
    }
    let described: Vec<&String> = paths.keys().collect();
    assert_eq!(
        described,
        [
            "/.well-known/jwks.json",
            "/.well-known/oauth-authorization-server",
            "/admin/clients",
            "/admin/clients/{id}",
            "/admin/clients/{id}/secret",
            "/admin/roles",
            "/admin/roles/{name}",
            "/admin/scopes",
            "/admin/scopes/{name}",
            "/admin/signing-keys",
            "/admin/signing-keys/{kid}",
            "/admin/users",
            "/admin/users/{id}",
            "/admin/users/{id}/password",
            "/admin/users/{id}/roles",
            "/admin/users/{id}/sessions",
            "/healthz",
            "/introspect",
            "/readyz",
            "/revocations",
            "/revoke",
            "/token",
            "/users",
            "/users/me",
            "/users/me/password",
            "/users/me/sessions",
            "/users/me/sessions/{id}",
            "/verify",
        ]
    );
    // Every schema that is named is there.
    let text = document.to_string();
    for name in text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}
