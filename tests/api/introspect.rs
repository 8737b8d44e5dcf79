//! `POST /introspect`: the description of a token, and who can request it.

use chrono::Duration;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Database, Form, NewClient, PASSWORD, TestServer, beginning, on_both_engines},
    token::claims,
};

on_both_engines!(
    access_tokens_are_described,
    refresh_tokens_are_described,
    clients_can_introspect_tokens_issued_to_them_or_for_them,
    the_scope_tokens_introspect_allows_all_tokens,
    unauthorized_callers_are_refused,
    invalid_tokens_are_inactive,
);

const WATCHER: NewClient = NewClient {
    id: "watcher",
    confidential: true,
    grants: &["client_credentials"],
    scopes: "tokens:introspect",
    audiences: &[],
    access_token_ttl: None,
    jwks: None,
    forwards_address: false,
};

/// The calling client and its secret.
struct Caller(&'static str, String);

async fn introspect(server: &TestServer, caller: &Caller, token: &str) -> Value {
    let form = Form::of(&[("token", token)]);
    let answer = server.request("POST", "/introspect").form(&form).basic(caller.0, &caller.1).send().await;
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    answer.json_with(200)
}

fn inactive() -> Value {
    json!({"active": false})
}

async fn start(database: Database) -> (TestServer, Caller) {
    let server = TestServer::start(database).await;
    let secret = server.create_client(WATCHER).await;
    (server, Caller("watcher", secret))
}

async fn login(server: &TestServer) -> (String, String) {
    let body = server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

async fn access_tokens_are_described(database: Database) {
    let (server, watcher) = start(database).await;
    let user = server.create_user("maria", &[]).await;
    let (access, _) = login(&server).await;
    let of_token = claims(&access);
    let now = beginning().timestamp();
    assert_eq!(
        introspect(&server, &watcher, &access).await,
        json!({
            "active": true, "scope": "account", "client_id": "default", "username": "maria", "token_type": "Bearer",
            "exp": now + 900, "iat": now, "sub": user.id.to_string(), "aud": server.url(), "iss": server.url(),
            "jti": of_token["jti"], "sid": of_token["sid"],
        })
    );
    let form = Form::of(&[("grant_type", "client_credentials")]);
    let body = server.token(&form).basic(watcher.0, &watcher.1).send().await.json_with(200);
    let own = introspect(&server, &watcher, body["access_token"].as_str().unwrap()).await;
    assert_eq!((&own["sub"], &own["active"]), (&json!("watcher"), &json!(true)));
    assert!(own.get("username").is_none() && own.get("sid").is_none(), "{own}");
    server.advance(Duration::seconds(900));
    assert_eq!(introspect(&server, &watcher, &access).await, inactive());
}

async fn refresh_tokens_are_described(database: Database) {
    let (server, watcher) = start(database).await;
    let user = server.create_user("maria", &[]).await;
    let (access, first) = login(&server).await;
    let now = beginning().timestamp();
    let described = introspect(&server, &watcher, &first).await;
    let jti = described["jti"].clone();
    assert_eq!(
        described,
        json!({
            "active": true, "scope": "account", "client_id": "default", "username": "maria", "token_type": "refresh_token",
            "exp": now + 30 * 86_400, "iat": now, "sub": user.id.to_string(), "aud": server.url(), "iss": server.url(),
            "jti": jti, "sid": claims(&access)["sid"],
        })
    );
    // Introspection does not use the token. After a refresh, it is active as long as the refresh can be retried.
    let form = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", &first)]);
    let second = server.token(&form).send().await.json_with(200)["refresh_token"].clone();
    assert_eq!(introspect(&server, &watcher, &first).await["active"], true);
    server.advance(Duration::seconds(30));
    assert_eq!(introspect(&server, &watcher, &first).await, inactive());
    assert_eq!(introspect(&server, &watcher, second.as_str().unwrap()).await["active"], true);
    server.set_disabled(&user, true).await;
    assert_eq!(introspect(&server, &watcher, second.as_str().unwrap()).await, inactive());
}

async fn clients_can_introspect_tokens_issued_to_them_or_for_them(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let items: &[&str] = &["https://items.example"];
    let shop = NewClient { id: "shop", confidential: false, audiences: items, ..NewClient::default() };
    server.create_client(shop).await;
    let service = NewClient { id: "items", audiences: items, ..NewClient::default() };
    let service = Caller("items", server.create_client(service).await);
    let other = Caller("back-office", server.create_client(NewClient::default()).await);
    let of = async |answer: Answer| {
        let body = answer.json_with(200);
        [body["access_token"].as_str().unwrap().to_owned(), body["refresh_token"].as_str().unwrap().to_owned()]
    };
    let form = Form::password("maria", PASSWORD);
    let of_shop = of(server.token(&form.clone().and("client_id", "shop")).send().await).await;
    let of_default = of(server.token(&form).send().await).await;
    let of_other = of(server.token(&form).basic(other.0, &other.1).send().await).await;
    for token in &of_shop {
        // The tokens are for the service, and were not issued to the other client.
        assert_eq!(introspect(&server, &service, token).await["active"], true);
        assert_eq!(introspect(&server, &other, token).await, inactive());
    }
    for token in &of_default {
        // A client without audiences does not receive tokens for the server's own audience.
        assert_eq!(introspect(&server, &service, token).await, inactive());
        assert_eq!(introspect(&server, &other, token).await, inactive());
    }
    for token in &of_other {
        assert_eq!(introspect(&server, &other, token).await["active"], true);
        assert_eq!(introspect(&server, &service, token).await, inactive());
    }
}

async fn the_scope_tokens_introspect_allows_all_tokens(database: Database) {
    let (server, watcher) = start(database).await;
    server.create_user("maria", &[]).await;
    let (access, refresh) = login(&server).await;
    let admin = server.admin().await;
    let form = Form::of(&[("grant_type", "client_credentials")]);
    let body = server.token(&form).basic(watcher.0, &watcher.1).send().await.json_with(200);
    for bearer in [&admin, body["access_token"].as_str().unwrap()] {
        for token in [&access, &refresh] {
            let form = Form::of(&[("token", token), ("token_type_hint", "nonsense")]);
            let answer = server.request("POST", "/introspect").form(&form).bearer(bearer).send().await;
            assert_eq!(answer.json_with(200)["active"], true);
        }
    }
}

async fn unauthorized_callers_are_refused(database: Database) {
    let (server, watcher) = start(database).await;
    server.create_user("maria", &[]).await;
    let public = NewClient { id: "page", confidential: false, ..NewClient::default() };
    server.create_client(public).await;
    let (access, _) = login(&server).await;
    let form = Form::of(&[("token", &access)]);
    let post = |form: &Form| server.request("POST", "/introspect").form(form);
    // Without credentials, whichever client is named.
    let unnamed = post(&form).send().await;
    let named = ["page", "nobody", "watcher"].map(|id| form.clone().and("client_id", id));
    for form in named {
        assert_eq!(post(&form).send().await.to_the_byte(), unnamed.to_the_byte());
    }
    let description = unnamed.oauth_error(401, "invalid_client")["error_description"].clone();
    assert_eq!(description, "client authentication is required");
    let wrong = post(&form).basic("watcher", "grs_wrong").send().await;
    assert_ne!(wrong.oauth_error(401, "invalid_client")["error_description"], description);
    assert_eq!(wrong.header("www-authenticate"), "Basic realm=\"grantd\"");
    // A user cannot authenticate as a client.
    post(&form).basic("maria", PASSWORD).send().await.oauth_error(401, "invalid_client");
    let lacks = post(&form).bearer(&access).send().await;
    lacks.oauth_error(403, "insufficient_scope");
    assert!(lacks.header("www-authenticate").contains("scope=\"tokens:introspect\""));
    let bad = post(&form).bearer("a.b.c").send().await;
    bad.oauth_error(401, "invalid_token");
    assert!(bad.header("www-authenticate").starts_with("Bearer realm=\"grantd\", error=\"invalid_token\""));
    let admin = server.admin().await;
    let two = post(&form.clone().and("client_secret", &watcher.1)).bearer(&admin).send().await;
    two.oauth_error(400, "invalid_request");
    post(&Form::of(&[])).basic(watcher.0, &watcher.1).send().await.oauth_error(400, "invalid_request");
    server.request("GET", "/introspect").send().await.oauth_error(405, "invalid_request");
}

async fn invalid_tokens_are_inactive(database: Database) {
    let (server, watcher) = start(database).await;
    let user = server.create_user("maria", &[]).await;
    let (access, refresh) = login(&server).await;
    let (head, signature) = access.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let last = if refresh.ends_with('x') { 'y' } else { 'x' };
    let typo = format!("{}{last}", &refresh[..refresh.len() - 1]);
    for token in ["x", "a.b.c", "grt_", "grk_x", "grs_x", &forged, &typo, " ", "\u{fffd}"] {
        assert_eq!(introspect(&server, &watcher, token).await, inactive(), "{token}");
    }
    server.set_password(&user, "another password").await;
    for token in [&access, &refresh] {
        assert_eq!(introspect(&server, &watcher, token).await, inactive());
    }
}
