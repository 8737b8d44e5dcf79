//! `GET /openapi.json`, and the copy of it that the repository keeps.

use std::{collections::BTreeSet, path::Path};

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

    let mut names = BTreeSet::new();
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let answer = server.request(&method.to_uppercase(), path).send().await;
            assert!(![404, 405].contains(&answer.status), "{method} {path} is described and not there");
            let described = operation["responses"].as_object().unwrap();
            assert!(described.contains_key(&answer.status.to_string()), "{method} {path} answers {}", answer.status);
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
            for content in operation["requestBody"]["content"].as_object().into_iter().flat_map(serde_json::Map::values)
            {
                let schema = content["schema"]["$ref"].as_str().unwrap().trim_start_matches("#/components/schemas/");
                let example = content.get("example").unwrap_or(&document["components"]["schemas"][schema]["example"]);
                assert!(example.is_object(), "{method} {path} has no example of its body");
            }
        }
    }
    let described: Vec<&String> = paths.keys().collect();
    assert_eq!(
        described,
        [
            "/.well-known/jwks.json",
            "/.well-known/oauth-authorization-server",
            "/admin/audit-events",
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
    // Every schema and response that is named is there.
    let text = document.to_string();
    for name in text.split("\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(name).is_some_and(Value::is_object), "{name}");
    }
}

/// What a route for operators or accounts refuses is described, although its handler does not name it.
#[actix_web::test]
async fn refusals_are_described() {
    let document = serde_json::to_value(grantd::openapi()).unwrap();
    for (method, path, refusals) in [
        ("get", "/users/me", &["400", "401", "403", "503"][..]),
        ("get", "/admin/signing-keys", &["400", "401", "403", "422", "503"]),
        ("post", "/admin/signing-keys", &["400", "401", "403", "408", "413", "415", "422", "503"]),
        ("delete", "/admin/signing-keys/{kid}", &["400", "401", "403", "404", "503"]),
    ] {
        let described = document["paths"][path][method]["responses"].as_object().unwrap();
        let found: Vec<_> = described.keys().filter(|status| status.starts_with(['4', '5'])).collect();
        assert_eq!(found, refusals, "{method} {path}");
        for refusal in refusals {
            let answer = &described[*refusal];
            let answer = match answer["$ref"].as_str() {
                Some(name) => document.pointer(name.trim_start_matches('#')).unwrap(),
                None => answer,
            };
            let schema = &answer["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {refusal}");
        }
    }
}
