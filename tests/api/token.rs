//! `POST /token` with the grant `password`: responses of successful requests.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::Duration;
use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Database, Form, NewClient, PASSWORD, TestServer, beginning, on_both_engines};

on_both_engines!(
    a_login_returns_tokens,
    users_can_log_in_with_their_email,
    the_claims_are_those_of_rfc_9068,
    the_scope_is_the_intersection_of_user_and_client,
    new_scopes_are_granted_at_the_next_login,
    unknown_and_empty_parameters_are_ignored,
    resources_select_audiences,
    a_client_can_have_its_own_token_lifetime,
    refresh_tokens_require_the_grant_type,
    passwords_are_any_text_and_compared_in_nfc,
    a_hash_with_other_parameters_is_replaced_at_the_next_login,
    logins_are_recorded,
    the_recorded_address_is_that_of_the_end_user,
);

/// Returns the claims of a token, without verification.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

const EVERY_SCOPE: &str = "account audit:read clients:read clients:write keys:read keys:write roles:read roles:write \
                           tokens:introspect users:read users:write";

async fn a_login_returns_tokens(database: Database) {
    let server = TestServer::start(database).await;
    let answer = server.token(&Form::admin()).send().await;
    let body = answer.json_with(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let mut members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "device_token", "expires_in", "refresh_token", "scope", "token_type"]);
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["scope"]),
        (&json!("Bearer"), &json!(900), &json!(EVERY_SCOPE))
    );

    // `grt_`, then 57 bytes in base64url, then a checksum of six.
    let refresh_token = body["refresh_token"].as_str().unwrap();
    assert_eq!((refresh_token.len(), &refresh_token[..4]), (4 + 76 + 6, "grt_"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(refresh_token.bytes().all(plain), "{refresh_token}");

    let me = server.get("/users/me").bearer(body["access_token"].as_str().unwrap()).send().await;
    assert_eq!(me.json_with(200)["username"], "admin");
}

async fn users_can_log_in_with_their_email(database: Database) {
    let server = TestServer::start(database).await;
    server.try_create_user("maria", Some("Maria@Example.com"), PASSWORD, &[]).await.unwrap();
    server.try_create_user("otto@example.com", Some("otto@example.com"), PASSWORD, &[]).await.unwrap();
    // Usernames and emails are case-insensitive.
    for (name, user) in [
        ("maria", "maria"),
        ("MARIA", "maria"),
        ("maria@example.com", "maria"),
        ("MARIA@EXAMPLE.COM", "maria"),
        ("Otto@example.com", "otto@example.com"),
    ] {
        assert_eq!(claims(&server.login(name, PASSWORD).await)["username"], user, "{name}");
    }
}

async fn the_claims_are_those_of_rfc_9068(database: Database) {
    let server = TestServer::start(database).await;
    let maria = server.create_user("maria", &["member", "admin"]).await;
    server.advance(Duration::seconds(90));
    let token = server.login("maria", PASSWORD).await;
    let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let keys = server.get("/.well-known/jwks.json").send().await.json_with(200);
    assert_eq!(header, json!({"alg": "ES256", "typ": "at+jwt", "kid": keys["keys"][0]["kid"]}));

    let mut claims = claims(&token);
    let now = beginning().timestamp() + 90;
    for id in ["jti", "sid"] {
        let id = claims.as_object_mut().unwrap().remove(id).unwrap();
        let id: uuid::Uuid = id.as_str().unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
    }
    assert_eq!(
        claims,
        json!({
            "iss": server.url(), "aud": server.url(), "sub": maria.id, "client_id": "default", "scope": EVERY_SCOPE,
            "username": "maria", "roles": ["admin", "member"], "iat": now, "auth_time": now, "exp": now + 900,
        })
    );
    let other = server.login("maria", PASSWORD).await;
    assert_ne!(self::claims(&other)["jti"], self::claims(&token)["jti"]);
    assert_ne!(self::claims(&other)["sid"], self::claims(&token)["sid"]);
}

async fn the_scope_is_the_intersection_of_user_and_client(database: Database) {
    let server = TestServer::start(database).await;
    server.create_scopes(&["items:read", "items:write"]).await;
    server.put_role("shopkeeper", "items:read items:write").await;
    server.create_user("maria", &["shopkeeper"]).await;
    server
        .create_client(NewClient {
            id: "shop",
            confidential: false,
            scopes: "account items:read",
            ..NewClient::default()
        })
        .await;
    let maria = Form::password("maria", PASSWORD);
    for (client, asked, granted) in [
        ("default", None, "account items:read items:write"),
        ("shop", None, "account items:read"),
        ("shop", Some("items:read"), "items:read"),
        // In any order, with duplicates and several spaces: sorted, without duplicates.
        ("default", Some("items:write account  items:write"), "account items:write"),
        // Scopes that the user lacks are left out.
        ("default", Some("account users:read"), "account"),
    ] {
        let form = maria.clone().and("client_id", client);
        let form = asked.map_or(form.clone(), |scope| form.and("scope", scope));
        let body = server.token(&form).send().await.json_with(200);
        assert_eq!(body["scope"], granted, "{client} {asked:?}");
        assert_eq!(claims(body["access_token"].as_str().unwrap())["scope"], granted);
    }
}

async fn new_scopes_are_granted_at_the_next_login(database: Database) {
    let server = TestServer::start(database).await;
    server.create_scopes(&["items:read"]).await;
    // Only the role `admin` and the client `default` get every new scope.
    let body = server.token(&Form::admin().and("scope", "items:read")).send().await.json_with(200);
    assert_eq!(body["scope"], "items:read");
    let maria = server.create_user("maria", &[]).await;
    let answer = server.token(&Form::password("maria", PASSWORD).and("scope", "items:read")).send().await;
    answer.oauth_error(400, "invalid_scope");
    server.put_role("shopkeeper", "items:read").await;
    server.set_roles(&maria, &["shopkeeper"]).await;
    let body = server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    assert_eq!(body["scope"], "account items:read");
}

async fn unknown_and_empty_parameters_are_ignored(database: Database) {
    let server = TestServer::start(database).await;
    let form = Form::admin().and("audience", "x").and("audience", "y").and("scope", "").and("client_id", "");
    let form = form.and("resource", "").and("client_secret", "");
    let body = server.token(&form).send().await.json_with(200);
    assert_eq!(body["scope"], EVERY_SCOPE);
    // A charset is allowed, and the content type is case-insensitive.
    let form = Form::admin().encode();
    for kind in ["application/x-www-form-urlencoded; charset=utf-8", "Application/X-WWW-Form-URLencoded"] {
        assert_eq!(server.request("POST", "/token").body(kind, form.clone()).send().await.status, 200, "{kind}");
    }
}

async fn resources_select_audiences(database: Database) {
    let server = TestServer::with(database, &["--audience", "https://api.example"]).await;
    let two = NewClient {
        id: "two",
        confidential: false,
        audiences: &["https://a.example", "https://b.example"],
        ..NewClient::default()
    };
    server.create_client(two.clone()).await;
    server.create_client(NewClient { id: "one", audiences: &["https://a.example"], ..two }).await;
    let (a, b, api) = ("https://a.example", "https://b.example", "https://api.example");
    for (client, resources, audience) in [
        ("default", vec![], json!(api)),
        ("default", vec![api], json!(api)),
        ("one", vec![], json!(a)),
        ("two", vec![], json!([a, b])),
        ("two", vec![b], json!(b)),
        ("two", vec![a, b], json!([a, b])),
        ("two", vec![a, a], json!(a)),
    ] {
        let form = resources.iter().fold(Form::admin().and("client_id", client), |form, it| form.and("resource", it));
        let body = server.token(&form).send().await.json_with(200);
        assert_eq!(claims(body["access_token"].as_str().unwrap())["aud"], audience, "{client} {resources:?}");
    }
    for (client, resource) in
        [("default", a), ("one", b), ("one", api), ("two", "https://a.example/"), ("two", server.url())]
    {
        let form = Form::admin().and("client_id", client).and("resource", resource);
        server.token(&form).send().await.oauth_error(400, "invalid_target");
        // Also together with a valid one.
        server.token(&form.and("resource", a)).send().await.oauth_error(400, "invalid_target");
    }
}

async fn a_client_can_have_its_own_token_lifetime(database: Database) {
    let server = TestServer::with(database, &["--access-token-ttl", "90s"]).await;
    let short = NewClient { id: "short", confidential: false, access_token_ttl: Some(5), ..NewClient::default() };
    server.create_client(short).await;
    for (client, seconds) in [("default", 90), ("short", 5)] {
        let body = server.token(&Form::admin().and("client_id", client)).send().await.json_with(200);
        let token = body["access_token"].as_str().unwrap();
        assert_eq!(body["expires_in"], seconds);
        assert_eq!(claims(token)["exp"], server.clock.now().timestamp() + seconds);
        server.advance(Duration::seconds(seconds - 1));
        assert_eq!(server.get("/users/me").bearer(token).send().await.status, 200);
        server.advance(Duration::seconds(1));
        server.get("/users/me").bearer(token).send().await.problem(401, "invalid-token");
    }
}

async fn refresh_tokens_require_the_grant_type(database: Database) {
    let server = TestServer::start(database).await;
    let secret = server.create_client(NewClient { grants: &["password"], ..NewClient::default() }).await;
    let body = server.token(&Form::admin()).basic("back-office", &secret).send().await.json_with(200);
    assert!(body.get("refresh_token").is_none(), "{body}");
}

async fn passwords_are_any_text_and_compared_in_nfc(database: Database) {
    let server = TestServer::start(database).await;
    let long = "ä".repeat(512);
    for (at, (chosen, presented)) in [
        ("caf\u{e9} au lait", "cafe\u{301} au lait"),
        ("\u{212b}ngstr\u{f6}m 1234", "A\u{30a}ngstro\u{308}m 1234"),
        // Never trimmed, and with any character, including controls.
        ("  spaces  around  ", "  spaces  around  "),
        ("\t\r\n\u{1}\u{7f}\u{feff}\u{200b}🔑", "\t\r\n\u{1}\u{7f}\u{feff}\u{200b}🔑"),
        ("a+b&c=d%20e;f", "a+b&c=d%20e;f"),
        (long.as_str(), long.as_str()),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{at}");
        server.try_create_user(&name, None, chosen, &[]).await.unwrap();
        server.token(&Form::password(&name, presented)).send().await.json_with(200);
        let other = Form::password(&name, &presented[..presented.len() - 4]);
        server.token(&other).send().await.oauth_error(400, "invalid_grant");
    }
    let form = Form::password("user2", "spaces  around");
    server.token(&form).send().await.oauth_error(400, "invalid_grant");
}

async fn a_hash_with_other_parameters_is_replaced_at_the_next_login(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let hash = "SELECT password_hash FROM users WHERE username = 'maria'";
    let before = server.database().text(hash).await;
    assert!(before.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{before}");
    server.login("maria", PASSWORD).await;
    assert_eq!(server.database().text(hash).await, before, "the same parameters: the same hash");

    let database = server.stop();
    let server = TestServer::with(database, &["--hash-memory", "16KiB", "--hash-iterations", "2"]).await;
    // Not by a wrong password.
    server.token(&Form::password("maria", "wrong")).send().await.oauth_error(400, "invalid_grant");
    assert_eq!(server.database().text(hash).await, before);
    server.login("maria", PASSWORD).await;
    let after = server.database().text(hash).await;
    assert!(after.starts_with("$argon2id$v=19$m=16,t=2,p=1$"), "{after}");
    server.login("maria", PASSWORD).await;
    assert_eq!(server.database().text(hash).await, after);
}

async fn logins_are_recorded(database: Database) {
    let server = TestServer::start(database).await;
    server.advance(Duration::minutes(5));
    let form = Form::password("admin", ADMIN_PASSWORD);
    let answer = server.token(&form).header("User-Agent", "a test").header("X-Request-Id", "the-login").send().await;
    let token = answer.json_with(200)["access_token"].as_str().unwrap().to_owned();
    let me = server.get("/users/me").bearer(&token).send().await.json_with(200);
    assert_eq!(me["last_login_at"], "2026-01-31T12:05:00Z");

    server.token(&Form::password("admin", "wrong")).send().await.oauth_error(400, "invalid_grant");
    server.token(&Form::password("my secret, typed into the wrong field", "x")).send().await;
    let database = server.database();
    assert_eq!(database.number("SELECT count(*) FROM sessions WHERE user_agent = 'a test'").await, 1);
    let events = "SELECT count(*) FROM audit_events WHERE client_id = 'default' AND address = '127.0.0.1' AND";
    let sub = claims(&token)["sub"].as_str().unwrap().to_owned();
    for (condition, count) in [
        (format!("kind = 'login' AND outcome = 'success' AND subject = '{sub}' AND request_id = 'the-login'"), 1),
        (format!("kind = 'login.failed' AND outcome = 'failure' AND subject = '{sub}'"), 1),
        ("kind = 'login.failed' AND subject IS NULL".to_owned(), 1),
        // The typed text is not stored.
        ("details LIKE '%secret%'".to_owned(), 0),
    ] {
        assert_eq!(database.number(&format!("{events} {condition}")).await, count, "{condition}");
    }
}

async fn the_recorded_address_is_that_of_the_end_user(mut database: Database) {
    for (flags, address) in [(&[][..], "127.0.0.1"), (&["--trusted-proxies", "127.0.0.0/8,10.0.0.0/8"], "203.0.113.7")]
    {
        let server = TestServer::with(database, flags).await;
        let forwarded = server.token(&Form::admin()).header("X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.0.0.1");
        assert_eq!(forwarded.send().await.status, 200);
        let count = format!("SELECT count(*) FROM sessions WHERE address = '{address}'");
        assert_eq!(server.database().number(&count).await, 1, "{address}");
        database = server.stop();
    }
}
