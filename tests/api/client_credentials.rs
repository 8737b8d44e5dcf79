//! Confidential clients: the grant `client_credentials`, overlapping secrets, and signed assertions (RFC 7523).

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::Duration;
use grantd::{authority::Authority, clients};
use serde_json::{Value, json};

use crate::{
    harness::{Database, Form, NewClient, TestServer, on_both_engines},
    token::claims,
};

on_both_engines!(
    the_grant_issues_a_token_without_user_and_session,
    clients_without_the_grant_type_are_refused,
    scope_and_audience_come_from_the_client,
    the_old_secret_stays_valid_for_the_requested_time,
    clients_can_authenticate_with_an_assertion,
    invalid_assertions_are_refused,
    disabling_a_client_revokes_its_tokens,
    disabling_a_client_ends_its_sessions,
);

const MACHINE: NewClient = NewClient {
    id: "machine",
    confidential: true,
    grants: &["client_credentials"],
    scopes: "users:read tokens:introspect",
    audiences: &[],
    access_token_ttl: None,
    jwks: None,
    forwards_address: false,
};

fn form() -> Form {
    Form::of(&[("grant_type", "client_credentials")])
}

async fn start(database: Database) -> (TestServer, String) {
    let server = TestServer::start(database).await;
    let secret = server.create_client(MACHINE).await;
    (server, secret)
}

async fn the_grant_issues_a_token_without_user_and_session(database: Database) {
    let (server, secret) = start(database).await;
    let body = server.token(&form()).basic("machine", &secret).send().await.json_with(200);
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"], "no refresh token");
    assert_eq!((&body["scope"], &body["expires_in"]), (&json!("tokens:introspect users:read"), &json!(900)));
    let token = body["access_token"].as_str().unwrap();
    let of_token = claims(token);
    let members: Vec<&String> = of_token.as_object().unwrap().keys().collect();
    assert_eq!(members, ["aud", "client_id", "exp", "iat", "iss", "jti", "scope", "sub"], "no session and no user");
    assert_eq!((&of_token["sub"], &of_token["client_id"]), (&json!("machine"), &json!("machine")));
    // A client has no account.
    server.get("/users/me").bearer(token).send().await.problem(403, "insufficient-scope");
    let post = form().and("client_id", "machine").and("client_secret", &secret);
    assert_eq!(server.token(&post).send().await.status, 200);
    assert_eq!(server.database().number("SELECT count(*) FROM sessions").await, 0);
}

async fn clients_without_the_grant_type_are_refused(database: Database) {
    let (server, secret) = start(database).await;
    // The client `default`, and every other public one.
    let body = server.token(&form()).send().await.oauth_error(400, "unauthorized_client");
    assert_eq!(body["error_description"], "the client default may not use client_credentials");
    let password_only = server.create_client(NewClient::default()).await;
    let other = server.token(&form()).basic("back-office", &password_only).send().await;
    other.oauth_error(400, "unauthorized_client");
    server.token(&form()).basic("machine", "grs_wrong").send().await.oauth_error(401, "invalid_client");
    server.token(&form().and("client_id", "machine")).send().await.oauth_error(401, "invalid_client");
    // This client has no other grant type.
    for other in [Form::admin(), Form::of(&[("grant_type", "refresh_token"), ("refresh_token", "grt_x")])] {
        let answer = server.token(&other).basic("machine", &secret).send().await;
        answer.oauth_error(400, "unauthorized_client");
    }
    let public = NewClient { id: "page", confidential: false, ..MACHINE };
    assert!(server.try_create_client(public).await.is_err());
}

async fn scope_and_audience_come_from_the_client(database: Database) {
    let server = TestServer::start(database).await;
    let audiences = &["https://a.example", "https://b.example"];
    let secret = server.create_client(NewClient { audiences, ..MACHINE }).await;
    let ask = async |form: Form| server.token(&form).basic("machine", &secret).send().await;
    let body = ask(form().and("scope", "users:read").and("resource", "https://b.example")).await.json_with(200);
    let of_token = claims(body["access_token"].as_str().unwrap());
    assert_eq!((&of_token["scope"], &of_token["aud"]), (&json!("users:read"), &json!("https://b.example")));
    let all = claims(ask(form()).await.json_with(200)["access_token"].as_str().unwrap());
    assert_eq!(all["aud"], json!(audiences));
    ask(form().and("scope", "users:write")).await.oauth_error(400, "invalid_scope");
    ask(form().and("resource", "https://c.example")).await.oauth_error(400, "invalid_target");
    let bare = server.create_client(NewClient { id: "bare", scopes: "", ..MACHINE }).await;
    server.token(&form()).basic("bare", &bare).send().await.oauth_error(400, "invalid_scope");
}

async fn rotate(server: &TestServer, old_valid_for: u64) -> String {
    use secrecy::ExposeSecret as _;
    let rotated = server.within(async move |app, now| {
        let (id, by) = ("machine".parse().unwrap(), Authority::system());
        let overlap = std::time::Duration::from_secs(old_valid_for);
        let secret = grantd::secret::generate(grantd::secret::CLIENT_SECRET).unwrap();
        app.write(async |tx| clients::set_secret(tx, &id, &secret, overlap, &by, now).await).await.unwrap();
        secret
    });
    rotated.await.expose_secret().to_owned()
}

async fn the_old_secret_stays_valid_for_the_requested_time(database: Database) {
    let (server, first) = start(database).await;
    let status = async |secret: &str| server.token(&form()).basic("machine", secret).send().await.status;
    assert_eq!(status(&first).await, 200);
    let second = rotate(&server, 3600).await;
    assert_eq!((status(&first).await, status(&second).await), (200, 200));
    server.advance(Duration::hours(1));
    assert_eq!((status(&first).await, status(&second).await), (401, 200));
    // Without an overlap, the previous secret is refused at once.
    let third = rotate(&server, 0).await;
    assert_eq!((status(&first).await, status(&second).await, status(&third).await), (401, 401, 200));
    let events = "SELECT count(*) FROM audit_events WHERE kind = 'client.secret_rotated' AND subject = 'machine'";
    assert_eq!(server.database().number(events).await, 2);
}

/// A client's key pair.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// Returns the JWK set with the public key. [`NewClient`] needs a `'static` text.
    fn jwks(&self) -> &'static str {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": text(x), "y": text(y)});
        Box::leak(json!({"keys": [key]}).to_string().into_boxed_str())
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// Returns the claims of a valid assertion with these changes; null removes a member.
fn assertion(server: &TestServer, jti: &str, changes: &Value) -> Value {
    let now = server.clock.now().timestamp();
    let mut claims = json!({
        "iss": "machine", "sub": "machine", "aud": server.url(), "jti": jti, "iat": now, "exp": now + 60,
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k1", "typ": "JWT"})
}

fn with(assertion: &str) -> Form {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    form().and("client_assertion_type", kind).and("client_assertion", assertion)
}

async fn signing(database: Database) -> (TestServer, Signer, String) {
    let server = TestServer::start(database).await;
    let signer = Signer::new();
    let secret = server.create_client(NewClient { jwks: Some(signer.jwks()), ..MACHINE }).await;
    (server, signer, secret)
}

async fn clients_can_authenticate_with_an_assertion(database: Database) {
    let (server, signer, secret) = signing(database).await;
    let good = signer.sign(&header(), &assertion(&server, "1", &json!({})));
    let body = server.token(&with(&good)).send().await.json_with(200);
    assert_eq!(claims(body["access_token"].as_str().unwrap())["sub"], "machine");
    // An assertion is accepted only once.
    server.token(&with(&good)).send().await.oauth_error(401, "invalid_client");
    for (jti, changes) in [
        ("2", json!({"iat": null})),
        ("3", json!({"aud": [server.url()]})),
        ("4", json!({"exp": server.clock.now().timestamp() + 300, "nbf": server.clock.now().timestamp()})),
    ] {
        let token = signer.sign(&header(), &assertion(&server, jti, &changes));
        assert_eq!(server.token(&with(&token)).send().await.status, 200, "{changes}");
    }
    let no_kid = signer.sign(&json!({"alg": "ES256"}), &assertion(&server, "5", &json!({})));
    assert_eq!(server.token(&with(&no_kid).and("client_id", "machine")).send().await.status, 200);
    // Of two keys of the same algorithm, each is tried, in either order.
    let (one, two) = (Signer::new(), Signer::new());
    let keys = |signer: &Signer| serde_json::from_str::<Value>(signer.jwks()).unwrap()["keys"][0].clone();
    let (mut first, mut second) = (keys(&one), keys(&two));
    first["kid"] = "a".into();
    second.as_object_mut().unwrap().remove("kid");
    let both = Box::leak(json!({"keys": [first, second]}).to_string().into_boxed_str());
    server.create_client(NewClient { id: "both", jwks: Some(both), ..MACHINE }).await;
    for (jti, signer, header) in [
        ("a", &one, json!({"alg": "ES256"})),
        ("b", &two, json!({"alg": "ES256"})),
        ("c", &two, json!({"alg": "ES256", "kid": "b"})),
    ] {
        let claims = assertion(&server, jti, &json!({"iss": "both", "sub": "both"}));
        assert_eq!(server.token(&with(&signer.sign(&header, &claims))).send().await.status, 200, "{jti}");
    }
    // The secret is still valid, and other endpoints accept assertions too.
    assert_eq!(server.token(&form()).basic("machine", &secret).send().await.status, 200);
    let token = signer.sign(&header(), &assertion(&server, "6", &json!({})));
    let introspect = with(&token).and("token", "x");
    assert_eq!(
        server.request("POST", "/introspect").form(&introspect).send().await.json_with(200),
        json!({"active": false})
    );
}

async fn invalid_assertions_are_refused(database: Database) {
    let (server, signer, secret) = signing(database).await;
    let now = server.clock.now().timestamp();
    for (number, changes) in [
        json!({"aud": "https://else.example"}),
        json!({"aud": [server.url(), "https://else.example"]}),
        json!({"aud": null}),
        json!({"iss": "default"}),
        json!({"sub": "default"}),
        json!({"sub": "nobody", "iss": "nobody"}),
        json!({"jti": null}),
        json!({"jti": ""}),
        json!({"exp": null}),
        json!({"exp": now}),
        json!({"exp": now + 3600}),
        json!({"iat": now + 31}),
        json!({"nbf": now + 31}),
    ]
    .iter()
    .enumerate()
    {
        let token = signer.sign(&header(), &assertion(&server, &number.to_string(), changes));
        server.token(&with(&token)).send().await.oauth_error(401, "invalid_client");
    }
    let good = assertion(&server, "good", &json!({}));
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256", "kid": "k1"}),
        json!({"alg": "ES256", "kid": "k2"}),
        json!({"alg": "ES256", "kid": "k1", "crit": ["exp"]}),
    ] {
        server.token(&with(&signer.sign(&header, &good))).send().await.oauth_error(401, "invalid_client");
    }
    server.token(&with(&Signer::new().sign(&header(), &good))).send().await.oauth_error(401, "invalid_client");
    let token = signer.sign(&header(), &good);
    for form in [
        with(&token).and("client_secret", &secret),
        with(&token).and("client_id", "default"),
        with(&token).without("client_assertion_type"),
        with(&token).set("client_assertion_type", "urn:else"),
        form().and("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
    ] {
        server.token(&form).send().await.oauth_error(400, "invalid_request");
    }
    let two = server.token(&with(&token)).basic("machine", &secret).send().await;
    two.oauth_error(400, "invalid_request");
    // None of the refused requests has used the assertion up.
    assert_eq!(server.token(&with(&token)).send().await.status, 200);
    // Only JWK sets with usable public keys, and no private ones, are accepted.
    for jwks in ["", "{}", r#"{"keys": []}"#, r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#] {
        assert!(clients::Jwks::parse(jwks).is_err(), "{jwks}");
    }
    for other in ["\"use\":\"enc\",\"kty\"", "\"alg\":\"ES384\",\"kty\""] {
        assert!(clients::Jwks::parse(&signer.jwks().replacen("\"kty\"", other, 1)).is_err(), "{other}");
    }
    let private = signer.jwks().replacen("\"kty\"", "\"d\":\"AAAA\",\"kty\"", 1);
    assert!(clients::Jwks::parse(&private).is_err() && clients::Jwks::parse(signer.jwks()).is_ok());
}

async fn disabling_a_client_ends_its_sessions(database: Database) {
    let server = TestServer::start(database).await;
    let secret = server.create_client(NewClient::default()).await;
    let login = async || server.token(&Form::admin()).basic("back-office", &secret).send().await.json_with(200);
    let refresh = async |body: &Value| {
        let token = body["refresh_token"].as_str().unwrap();
        let form = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
        server.token(&form).basic("back-office", &secret).send().await
    };
    let before = refresh(&login().await).await.json_with(200);
    server.set_client_disabled("back-office", true).await;
    refresh(&before).await.oauth_error(401, "invalid_client");
    server.advance(Duration::seconds(1));
    server.set_client_disabled("back-office", false).await;
    refresh(&before).await.oauth_error(400, "invalid_grant");
    let after = login().await;
    refresh(&after).await.json_with(200);
    let ask = Form::of(&[("token", before["refresh_token"].as_str().unwrap())]);
    let introspected = server.request("POST", "/introspect").form(&ask).basic("back-office", &secret).send().await;
    assert_eq!(introspected.json_with(200), json!({"active": false}));
}

async fn disabling_a_client_revokes_its_tokens(database: Database) {
    let (server, secret) = start(database).await;
    let token = server.token(&form()).basic("machine", &secret).send().await.json_with(200)["access_token"].clone();
    let token = token.as_str().unwrap();
    assert_eq!(server.get("/verify").bearer(token).send().await.status, 204);
    server.set_client_disabled("machine", true).await;
    server.token(&form()).basic("machine", &secret).send().await.oauth_error(401, "invalid_client");
    server.get("/verify").bearer(token).send().await.problem(401, "invalid-token");
    // Once enabled again, it gets new tokens; the old ones stay refused.
    server.advance(Duration::seconds(1));
    server.set_client_disabled("machine", false).await;
    server.get("/verify").bearer(token).send().await.problem(401, "invalid-token");
    let body = server.token(&form()).basic("machine", &secret).send().await.json_with(200);
    assert_eq!(server.get("/verify").bearer(body["access_token"].as_str().unwrap()).send().await.status, 204);
}
