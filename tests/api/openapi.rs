//! `GET /openapi.json`, and its copy in the repository.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};

use crate::harness::{Database, TestServer};

#[actix_web::test]
async fn the_copy_in_the_repository_is_up_to_date() {
    let server = TestServer::start(Database::sqlite()).await;
    let served: Value = server.get("/openapi.json").send().await.json_with(200);
    let text = serde_json::to_string_pretty(&served).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "openapi.json is out of date: `UPDATE=1 cargo test --test api openapi` renews it");
}

#[actix_web::test]
async fn every_route_is_described() {
    let server = TestServer::with(Database::sqlite(), &["--registration"]).await;
    let document = server.get("/openapi.json").send().await.json_with(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let schemes = &document["components"]["securitySchemes"];
    // For the Authorize button of Swagger UI.
    assert_eq!(schemes["oauth2"]["flows"]["password"]["tokenUrl"], "/token");
    assert!(schemes["oauth2"]["flows"]["password"]["scopes"]["account"].is_string());
    assert_eq!((&schemes["bearer"]["type"], &schemes["bearer"]["scheme"]), (&json!("http"), &json!("bearer")));

    let mut names = BTreeSet::new();
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let answer = server.request(&method.to_uppercase(), path).send().await;
            assert!(![404, 405].contains(&answer.status), "{method} {path} is described but does not exist");
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
            "/admin/users/{id}/api-keys",
            "/admin/users/{id}/api-keys/{key_id}",
            "/admin/users/{id}/password",
            "/admin/users/{id}/roles",
            "/admin/users/{id}/sessions",
            "/admin/users/{id}/unlock",
            "/healthz",
            "/introspect",
            "/metrics",
            "/readyz",
            "/revocations",
            "/revoke",
            "/token",
            "/users",
            "/users/me",
            "/users/me/api-keys",
            "/users/me/api-keys/{id}",
            "/users/me/export",
            "/users/me/password",
            "/users/me/sessions",
            "/users/me/sessions/{id}",
            "/verify",
        ]
    );
    // Every reference resolves.
    let text = document.to_string();
    for name in text.split("\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(name).is_some_and(Value::is_object), "{name}");
    }
}

/// Error responses that many routes share are described, although the handlers do not list them.
#[actix_web::test]
async fn shared_error_responses_are_described() {
    let document = serde_json::to_value(grantd::openapi()).unwrap();
    for (method, path, refusals) in [
        ("get", "/users/me", &["400", "401", "403", "429", "503"][..]),
        ("get", "/admin/signing-keys", &["400", "401", "403", "422", "429", "503"]),
        ("post", "/admin/signing-keys", &["400", "401", "403", "408", "413", "415", "422", "429", "503"]),
        ("delete", "/admin/signing-keys/{kid}", &["400", "401", "403", "404", "429", "503"]),
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

/// Swagger UI shows tags, operations and security schemes in the order of the text.
#[actix_web::test]
async fn tags_operations_and_security_schemes_are_in_order() {
    let server = TestServer::start(Database::sqlite()).await;
    let answer = server.get("/openapi.json").send().await;
    let document = answer.json_with(200);
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(
        tags,
        ["tokens", "account", "users", "roles and scopes", "clients", "keys", "audit", "health", "metrics"]
    );
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let [tag] = operation["tags"].as_array().unwrap().as_slice() else { panic!("{method} {path}") };
            assert!(tags.contains(&tag.as_str().unwrap()), "{method} {path}: {tag}");
        }
    }
    let text = answer.text();
    let at = |text: &str, member: &str| text.find(&format!("\"{member}\":{{")).unwrap_or_else(|| panic!("no {member}"));
    let paths =
        ["/token", "/revoke", "/users/me", "/admin/users", "/admin/users/{id}", "/admin/roles", "/admin/scopes"];
    let others = ["/admin/clients", "/admin/signing-keys", "/admin/audit-events", "/healthz"];
    assert!(paths.into_iter().chain(others).map(|path| at(text, path)).is_sorted());
    let schemes = &text[at(text, "securitySchemes")..];
    assert!(["oauth2", "bearer", "client"].into_iter().map(|name| at(schemes, name)).is_sorted(), "{schemes}");
    let login = document["components"]["securitySchemes"]["oauth2"]["description"].as_str().unwrap();
    assert!(login.contains("Leave `client_id` and `client_secret` empty"), "{login}");
}

/// The examples that Swagger UI fills in work on a new database, except deletions and requests that need a user's input.
#[actix_web::test]
async fn examples_work_on_a_new_database() {
    let server = TestServer::start(Database::sqlite()).await;
    let token = server.admin().await;
    let document = server.get("/openapi.json").send().await.json_with(200);
    let mut executed = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch"] {
            let Some(operation) = methods.get(method) else { continue };
            let mut url = path.clone();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let example = &parameter["example"];
                // An optional filter with an example would hide objects.
                assert!(parameter["in"] != "query" || example.is_null(), "{method} {path}: {parameter}");
                if let Some(example) = example.as_str() {
                    url = url.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), example);
                }
            }
            let content = &operation["requestBody"]["content"];
            let json = content.as_object().into_iter().flatten().find(|(kind, _)| kind.ends_with("json"));
            let needs_input = url.contains('{') || ["/users", "/users/me/password"].contains(&path.as_str());
            if needs_input || (content.is_object() && json.is_none()) {
                continue;
            }
            let request = server.request(&method.to_uppercase(), &url).bearer(&token);
            let request = match json {
                None => request,
                Some((kind, content)) => {
                    let schema = content["schema"]["$ref"].as_str().unwrap().trim_start_matches('#');
                    let example = content.get("example").or_else(|| document.pointer(schema)?.get("example")).unwrap();
                    request.body(kind, example.to_string())
                }
            };
            let answer = request.send().await;
            assert!((200..300).contains(&answer.status), "{method} {url}: {} {}", answer.status, answer.text());
            executed += 1;
        }
    }
    assert!(executed > 20, "{executed}");
}
