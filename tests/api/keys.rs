//! What services need to verify tokens: the metadata and the keys; and verification by `grantd-guard`.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use grantd_guard::{AuthenticateError, Guard, TokenError};
use serde_json::{Value, json};

use crate::{
    harness::{Database, Form, NewClient, TestServer, on_both_engines, rotate_keys},
    token::claims,
};

on_both_engines!(
    the_metadata_lists_endpoints_scopes_and_methods,
    published_keys_have_public_members_and_a_thumbprint_as_kid,
    metadata_keys_and_openapi_can_be_cached,
    the_guard_verifies_each_algorithm,
    the_guard_refuses_other_audiences,
    keys_survive_a_restart_and_are_stored_encrypted,
);

async fn the_metadata_lists_endpoints_scopes_and_methods(database: Database) {
    let server = TestServer::with(database, &["--issuer", "https://id.example/grantd/"]).await;
    server.create_scopes(&["items:read"]).await;
    let metadata = server.get("/.well-known/oauth-authorization-server").send().await.json_with(200);
    let base = "https://id.example/grantd";
    let methods = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
    let algorithms = ["ES256", "RS256", "EdDSA"];
    assert_eq!(
        metadata,
        json!({
            "issuer": base,
            "token_endpoint": format!("{base}/token"),
            "introspection_endpoint": format!("{base}/introspect"),
            "revocation_endpoint": format!("{base}/revoke"),
            "revocations_endpoint": format!("{base}/revocations"),
            "jwks_uri": format!("{base}/.well-known/jwks.json"),
            "scopes_supported": [
                "account", "audit:read", "clients:read", "clients:write", "items:read", "keys:read", "keys:write",
                "roles:read", "roles:write", "tokens:introspect", "users:read", "users:write",
            ],
            "response_types_supported": [],
            "grant_types_supported": [
                "password", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange",
            ],
            "token_endpoint_auth_methods_supported": methods,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "Bearer"],
            "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
            "revocation_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
            "service_documentation": format!("{base}/docs"),
        })
    );
    let body = server.token(&Form::admin()).send().await.json_with(200);
    assert_eq!(claims(body["access_token"].as_str().unwrap())["iss"], base);
    // RFC 8414 §3.1: for an issuer with a path the well-known path stands before it.
    let inserted = server.get("/.well-known/oauth-authorization-server/grantd").send().await;
    assert_eq!(inserted.json_with(200), metadata);
    server.get("/.well-known/oauth-authorization-server/other").send().await.problem(404, "not-found");
}

/// Starts a server that signs with this algorithm.
async fn signing_with(database: Database, algorithm: &'static str) -> TestServer {
    let server = TestServer::with(database, &["--signing-algorithm", algorithm]).await;
    let algorithm = algorithm.parse::<grantd::config::Algorithm>().ok();
    let rotated = server.within(async move |app, now| {
        rotate_keys(&app, algorithm, true, &grantd::audit::Origin::system(), now).await.map(drop)
    });
    rotated.await.unwrap();
    server
}

async fn published_keys_have_public_members_and_a_thumbprint_as_kid(mut database: Database) {
    for (algorithm, members, required) in [
        ("ES256", vec!["alg", "crv", "kid", "kty", "use", "x", "y"], vec!["crv", "kty", "x", "y"]),
        ("RS256", vec!["alg", "e", "kid", "kty", "n", "use"], vec!["e", "kty", "n"]),
        ("EdDSA", vec!["alg", "crv", "kid", "kty", "use", "x"], vec!["crv", "kty", "x"]),
    ] {
        let server = signing_with(database, algorithm).await;
        let set = server.get("/.well-known/jwks.json").send().await.json_with(200);
        let key = set["keys"].as_array().unwrap().iter().find(|key| key["alg"] == algorithm).unwrap();
        let found: Vec<_> = key.as_object().unwrap().keys().collect();
        assert_eq!(found, members, "{algorithm}: nothing private");
        assert_eq!(key["use"], "sig");
        // RFC 7638 §3: the required members in the order of their names, without spaces.
        let required: serde_json::Map<String, Value> =
            required.iter().map(|name| ((*name).to_owned(), key[*name].clone())).collect();
        let digest = grantd::secret::fingerprint(&Value::Object(required).to_string());
        assert_eq!(key["kid"], BASE64_URL_SAFE_NO_PAD.encode(digest), "{algorithm}");
        database = server.stop();
    }
}

async fn metadata_keys_and_openapi_can_be_cached(database: Database) {
    let server = TestServer::start(database).await;
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/jwks.json", "/openapi.json"] {
        let whole = server.get(path).send().await;
        assert_eq!((whole.status, whole.header("content-type")), (200, "application/json"), "{path}");
        assert!(whole.header("cache-control").starts_with("public, max-age="), "{path}");
        let etag = whole.header("etag");
        assert!(etag.len() > 10 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
        for known in [etag.to_owned(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
            let again = server.get(path).header("If-None-Match", &known).send().await;
            assert_eq!((again.status, again.body.len()), (304, 0), "{path} {known}");
            assert_eq!((again.header("etag"), again.header("cache-control")), (etag, whole.header("cache-control")));
        }
        let other = server.get(path).header("If-None-Match", "\"other\"").send().await;
        assert_eq!((other.status, other.body), (200, whole.body.clone()));
    }
}

/// Returns the guard of another service, with the clock of the test.
fn guard(server: &TestServer, audience: &str) -> Guard {
    let clock = server.clock.clone();
    Guard::from_issuer(server.url()).audience(audience).clock(move || clock.now().timestamp()).build().unwrap()
}

async fn the_guard_verifies_each_algorithm(mut database: Database) {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let server = signing_with(database, algorithm).await;
        let token = server.admin().await;
        let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&header).unwrap()["alg"], algorithm);
        let verified = guard(&server, server.url()).authenticate(&token).await.unwrap();
        assert_eq!(serde_json::to_value(Arc::unwrap_or_clone(verified)).unwrap(), claims(&token));
        assert_eq!(server.get("/users/me").bearer(&token).send().await.status, 200);
        server.advance(chrono::Duration::minutes(15));
        let late = guard(&server, server.url()).authenticate(&token).await;
        assert_eq!(late.unwrap_err(), AuthenticateError::Token(TokenError::Expired));
        database = server.stop();
    }
}

async fn the_guard_refuses_other_audiences(database: Database) {
    let server = TestServer::start(database).await;
    let audiences = &["https://items.example", "https://reports.example"];
    server.create_client(NewClient { id: "shop", confidential: false, audiences, ..NewClient::default() }).await;
    let body = server.token(&Form::admin().and("client_id", "shop")).send().await.json_with(200);
    let token = body["access_token"].as_str().unwrap();
    for audience in audiences {
        guard(&server, audience).authenticate(token).await.unwrap();
    }
    let other = guard(&server, "https://else.example").authenticate(token).await;
    assert_eq!(other.unwrap_err(), AuthenticateError::Token(TokenError::WrongAudience));
    // grantd's own routes have another audience, too.
    let answer = server.get("/users/me").bearer(token).send().await;
    answer.problem(401, "invalid-token");
}

async fn keys_survive_a_restart_and_are_stored_encrypted(database: Database) {
    let server = TestServer::with(database, &["--issuer", "http://id.example"]).await;
    let token = server.admin().await;
    let before = server.get("/.well-known/jwks.json").send().await.body;
    let database = server.stop();
    let server = TestServer::with(database, &["--issuer", "http://id.example"]).await;
    assert_eq!(server.get("/.well-known/jwks.json").send().await.body, before);
    assert_eq!(server.get("/users/me").bearer(&token).send().await.status, 200);
    // The object identifier of P-256, which every unencrypted private key contains.
    let hex = if server.database().is_postgres() { "encode(private_key, 'hex')" } else { "lower(hex(private_key))" };
    let sealed = server.database().text(&format!("SELECT {hex} FROM signing_keys")).await;
    assert!(sealed.len() > 200 && !sealed.contains("2a8648ce3d030107"), "{sealed}");
}
