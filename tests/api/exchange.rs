//! Token exchange (RFC 8693): an access token or an API key for a narrower access token.

use chrono::Duration;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Database, Form, NewClient, PASSWORD, TestServer, on_both_engines},
    token::claims,
};

on_both_engines!(
    a_service_narrows_the_token_of_its_caller,
    a_client_narrows_its_own_token,
    an_api_key_becomes_an_access_token,
    the_result_never_has_more,
    only_those_who_may_present_a_token_exchange_it,
    malformed_requests_are_refused,
    what_ends_the_subject_ends_the_result,
    a_deleted_key_ends_its_tokens,
    a_disabled_owner_ends_the_tokens_of_keys,
    revoking_the_result_leaves_the_subject,
    a_token_of_a_key_does_no_more_than_the_key,
    each_exchange_is_recorded,
    a_disabled_client_ends_what_was_exchanged_from_its_tokens,
    a_scope_that_the_first_client_has_lost_is_not_in_the_result,
);

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ITEMS: &str = "https://items.example.com";
const STOCK: &str = "https://stock.example.com";

fn form(subject: &str) -> Form {
    Form::of(&[("grant_type", GRANT), ("subject_token", subject), ("subject_token_type", ACCESS_TOKEN)])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A user with the scopes `account` and `items:read`, a client `app` whose tokens are for the service `items`, and that
/// service as a client, which calls `stock`.
struct Scene {
    server: TestServer,
    app: String,
    items: String,
}

impl Scene {
    async fn start(database: Database) -> Self {
        let server = TestServer::start(database).await;
        server.create_scopes(&["items:read", "items:write"]).await;
        server.put_role("reader", "account items:read").await;
        server.create_user("maria", &["reader"]).await;
        let scopes = "account items:read items:write";
        let app =
            NewClient { id: "app", grants: &["password", GRANT], scopes, audiences: &[ITEMS], ..NewClient::default() };
        let app = server.create_client(app).await;
        let audiences = &[ITEMS, STOCK];
        let items =
            NewClient { id: "items", grants: &[GRANT], scopes: "items:read", audiences, ..NewClient::default() };
        let items = server.create_client(items).await;
        Self { server, app, items }
    }

    /// An access token of maria for the service `items`.
    async fn token(&self) -> String {
        let request = self.server.token(&Form::password("maria", PASSWORD)).basic("app", &self.app);
        text(&request.send().await.json_with(200)["access_token"]).to_owned()
    }

    async fn exchange(&self, form: &Form) -> Answer {
        self.server.token(form).basic("items", &self.items).send().await
    }

    /// An API key of maria.
    async fn key(&self, body: Value) -> Value {
        let request = self.server.request("POST", "/users/me/api-keys").basic_user("maria", PASSWORD);
        request.json(&body).send().await.json_with(201)
    }

    /// Whether a token is active, as an administrator sees it.
    async fn is_active(&self, token: &str) -> bool {
        let request = self.server.request("POST", "/introspect").bearer(&self.server.admin().await);
        let form = Form::of(&[("token", token)]);
        request.form(&form).send().await.json_with(200)["active"].as_bool().unwrap()
    }
}

async fn a_service_narrows_the_token_of_its_caller(database: Database) {
    let scene = Scene::start(database).await;
    let subject = scene.token().await;
    scene.server.advance(Duration::minutes(5));
    let answer = scene.exchange(&form(&subject).and("resource", STOCK)).await;
    let body = answer.json_with(200);
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let result = text(&body["access_token"]);
    let mut members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "expires_in", "issued_token_type", "scope", "token_type"]);
    assert_eq!((&body["issued_token_type"], &body["token_type"]), (&json!(ACCESS_TOKEN), &json!("Bearer")));
    // Not longer than the subject token.
    assert_eq!((&body["expires_in"], &body["scope"]), (&json!(600), &json!("items:read")));
    let (before, after) = (claims(&subject), claims(result));
    for same in ["iss", "sub", "username", "roles", "sid", "auth_time", "exp"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_ne!(after["jti"], before["jti"]);
    assert_eq!((&after["aud"], &after["client_id"]), (&json!(STOCK), &json!("items")));
    assert_eq!(after["act"], json!({"sub": "items"}));
    // The next service exchanges the result, and the actors are nested.
    let stock =
        NewClient { id: "stock", grants: &[GRANT], scopes: "items:read", audiences: &[STOCK], ..NewClient::default() };
    let secret = scene.server.create_client(stock).await;
    let again = scene.server.token(&form(result)).basic("stock", &secret).send().await.json_with(200);
    assert_eq!(claims(text(&again["access_token"]))["act"], json!({"sub": "stock", "act": {"sub": "items"}}));
}

async fn a_client_narrows_its_own_token(database: Database) {
    let scene = Scene::start(database).await;
    let subject = scene.token().await;
    let request = scene.server.token(&form(&subject).and("scope", "items:read")).basic("app", &scene.app);
    let body = request.send().await.json_with(200);
    assert_eq!(body["scope"], "items:read");
    assert!(body.get("refresh_token").is_none());
    // A public client may do so with its own tokens.
    let public = NewClient { id: "spa", confidential: false, grants: &["password", GRANT], ..NewClient::default() };
    scene.server.create_client(public).await;
    let login = Form::password("maria", PASSWORD).and("client_id", "spa");
    let own = scene.server.token(&login).send().await.json_with(200);
    let exchange = form(text(&own["access_token"])).and("client_id", "spa");
    assert_eq!(scene.server.token(&exchange).send().await.json_with(200)["scope"], "account");
}

async fn an_api_key_becomes_an_access_token(database: Database) {
    let scene = Scene::start(database).await;
    let key = scene.key(json!({"name": "a script", "scopes": ["items:read", "account"]})).await;
    let body = scene.exchange(&form(text(&key["key"])).and("audience", ITEMS)).await.json_with(200);
    assert_eq!((&body["scope"], &body["expires_in"]), (&json!("items:read"), &json!(900)));
    let result = claims(text(&body["access_token"]));
    assert_eq!((&result["sid"], &result["username"]), (&key["id"], &json!("maria")));
    assert_eq!((&result["aud"], result.get("auth_time")), (&json!(ITEMS), None));
    // Not longer than the key.
    let expires = json!({"name": "short", "scopes": ["items:read"], "expires_at": "2026-01-31T12:02:00Z"});
    let key = scene.key(expires).await;
    let body = scene.exchange(&form(text(&key["key"]))).await.json_with(200);
    assert_eq!(body["expires_in"], 120);
    scene.server.advance(Duration::minutes(2));
    scene.exchange(&form(text(&key["key"]))).await.oauth_error(400, "invalid_request");
}

async fn the_result_never_has_more(database: Database) {
    let scene = Scene::start(database).await;
    let subject = scene.token().await;
    // The client may ask for it, and the subject token does not have it.
    let app = |form: &Form| scene.server.token(form).basic("app", &scene.app);
    app(&form(&subject).and("scope", "items:write")).send().await.oauth_error(400, "invalid_scope");
    let some = app(&form(&subject).and("scope", "items:write account")).send().await.json_with(200);
    assert_eq!(some["scope"], "account");
    // The subject token has it, and the client may not ask for it.
    scene.exchange(&form(&subject).and("scope", "account")).await.oauth_error(400, "invalid_scope");
    // Audiences are those of the client.
    app(&form(&subject).and("resource", STOCK)).send().await.oauth_error(400, "invalid_target");
    // A scope that the user has lost since.
    scene.server.put_role("reader", "account").await;
    scene.exchange(&form(&subject)).await.oauth_error(400, "invalid_scope");
}

async fn only_those_who_may_present_a_token_exchange_it(database: Database) {
    let scene = Scene::start(database).await;
    let subject = scene.token().await;
    let other = NewClient { id: "other", grants: &[GRANT], audiences: &[STOCK], ..NewClient::default() };
    let secret = scene.server.create_client(other).await;
    let refused = scene.server.token(&form(&subject)).basic("other", &secret).send().await;
    let refused = refused.oauth_error(400, "invalid_request");
    // A public client cannot prove that it is the service.
    let public =
        NewClient { id: "public", confidential: false, grants: &[GRANT], audiences: &[ITEMS], ..NewClient::default() };
    scene.server.create_client(public).await;
    let answer = scene.server.token(&form(&subject).and("client_id", "public")).send().await;
    assert_eq!(answer.oauth_error(400, "invalid_request"), refused);
    // All bad subject tokens get one answer.
    for bad in ["x", "a.b.c", "grk_x", &subject[..subject.len() - 2]] {
        assert_eq!(scene.exchange(&form(bad)).await.oauth_error(400, "invalid_request"), refused, "{bad}");
    }
    scene.server.advance(Duration::minutes(15));
    assert_eq!(scene.exchange(&form(&subject)).await.oauth_error(400, "invalid_request"), refused);
    // The grant is needed; the client `default` does not have it.
    let answer = scene.server.token(&form(&subject)).send().await;
    answer.oauth_error(400, "unauthorized_client");
}

async fn malformed_requests_are_refused(database: Database) {
    let scene = Scene::start(database).await;
    let subject = scene.token().await;
    let good = form(&subject);
    for bad in [
        good.clone().without("subject_token"),
        good.clone().without("subject_token_type"),
        good.clone().set("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        good.clone().and("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
        good.clone().and("actor_token", &subject),
        good.clone().and("actor_token_type", ACCESS_TOKEN),
        good.clone().and("subject_token", &subject),
    ] {
        scene.exchange(&bad).await.oauth_error(400, "invalid_request");
    }
    let answer = scene.exchange(&good.and("requested_token_type", ACCESS_TOKEN)).await;
    assert_eq!(answer.status, 200);
    let metadata = scene.server.get("/.well-known/oauth-authorization-server").send().await.json_with(200);
    assert!(metadata["grant_types_supported"].as_array().unwrap().contains(&json!(GRANT)));
}

async fn what_ends_the_subject_ends_the_result(database: Database) {
    let scene = Scene::start(database).await;
    let subject = scene.token().await;
    let result = scene.exchange(&form(&subject)).await.json_with(200);
    let result = text(&result["access_token"]);
    assert!(scene.is_active(result).await);
    let revoke = scene.server.request("POST", "/revoke").basic("app", &scene.app);
    assert_eq!(revoke.form(&Form::of(&[("token", &subject)])).send().await.status, 200);
    assert!(!scene.is_active(result).await);
    scene.exchange(&form(&subject)).await.oauth_error(400, "invalid_request");
}

async fn a_deleted_key_ends_its_tokens(database: Database) {
    let scene = Scene::start(database).await;
    let key = scene.key(json!({"name": "a script", "scopes": ["items:read"]})).await;
    let result = scene.exchange(&form(text(&key["key"]))).await.json_with(200);
    let result = text(&result["access_token"]);
    assert!(scene.is_active(result).await);
    let path = format!("/users/me/api-keys/{}", text(&key["id"]));
    let deleted = scene.server.request("DELETE", &path).basic_user("maria", PASSWORD).send().await;
    assert_eq!(deleted.status, 204);
    assert!(!scene.is_active(result).await);
    // The feed has it for as long as the token would have lived, and a minute for clocks that differ.
    let admin = scene.server.admin().await;
    let feed = scene.server.get("/revocations").bearer(&admin).send().await.json_with(200);
    let session = feed["items"].as_array().unwrap().iter().find(|item| item["kind"] == "session").unwrap();
    assert_eq!((&session["id"], &session["expires_at"]), (&key["id"], &json!("2026-01-31T12:16:00Z")));
}

async fn a_disabled_owner_ends_the_tokens_of_keys(database: Database) {
    let scene = Scene::start(database).await;
    let key = scene.key(json!({"name": "a script", "scopes": ["items:read"]})).await;
    let result = scene.exchange(&form(text(&key["key"]))).await.json_with(200);
    let result = text(&result["access_token"]);
    let maria = claims(result)["sub"].clone();
    let admin = scene.server.admin().await;
    let set = async |disabled: bool| {
        let path = format!("/admin/users/{}", text(&maria));
        let request = scene.server.request("PATCH", &path).bearer(&admin).json(&json!({"disabled": disabled}));
        assert_eq!(request.send().await.status, 200);
    };
    set(true).await;
    assert!(!scene.is_active(result).await);
    scene.exchange(&form(text(&key["key"]))).await.oauth_error(400, "invalid_request");
    set(false).await;
    scene.server.advance(Duration::seconds(1));
    assert!(!scene.is_active(result).await);
    let new = scene.exchange(&form(text(&key["key"]))).await.json_with(200);
    assert!(scene.is_active(text(&new["access_token"])).await);
}

async fn revoking_the_result_leaves_the_subject(database: Database) {
    let scene = Scene::start(database).await;
    let subject = scene.token().await;
    let result = scene.exchange(&form(&subject)).await.json_with(200);
    let result = text(&result["access_token"]);
    let revoke = scene.server.request("POST", "/revoke").basic("items", &scene.items);
    assert_eq!(revoke.form(&Form::of(&[("token", result)])).send().await.status, 200);
    assert!(!scene.is_active(result).await);
    assert!(scene.is_active(&subject).await);
}

async fn a_token_of_a_key_does_no_more_than_the_key(database: Database) {
    let scene = Scene::start(database).await;
    let issuer = scene.server.url().to_owned();
    let client = NewClient { id: "scripts", confidential: false, grants: &[GRANT], ..NewClient::default() };
    scene.server.create_client(client).await;
    let key = scene.key(json!({"name": "a script", "scopes": ["account"]})).await;
    let exchange = form(text(&key["key"])).and("client_id", "scripts").and("resource", &issuer);
    let result = scene.server.token(&exchange).send().await.json_with(200);
    let result = text(&result["access_token"]);
    assert_eq!(scene.server.get("/users/me").bearer(result).send().await.json_with(200)["username"], "maria");
    let body = json!({"name": "another", "scopes": ["account"]});
    let answer = scene.server.request("POST", "/users/me/api-keys").bearer(result).json(&body).send().await;
    answer.problem(403, "forbidden");
    let body = json!({"current_password": PASSWORD, "new_password": "staple and much more"});
    let answer = scene.server.request("PUT", "/users/me/password").bearer(result).json(&body).send().await;
    answer.problem(403, "forbidden");
    let answer = scene.server.request("PATCH", "/users/me").bearer(result).json(&json!({"email": null})).send().await;
    answer.problem(403, "forbidden");
}

async fn each_exchange_is_recorded(database: Database) {
    let scene = Scene::start(database).await;
    let key = scene.key(json!({"name": "a script", "scopes": ["items:read"]})).await;
    let subject = scene.token().await;
    for subject in [&*subject, text(&key["key"])] {
        assert_eq!(scene.exchange(&form(subject)).await.status, 200);
        scene.server.advance(Duration::milliseconds(1));
    }
    let admin = scene.server.admin().await;
    let events = scene.server.get("/admin/audit-events?kind=login").bearer(&admin).send().await.json_with(200);
    let exchanges = events["items"].as_array().unwrap().iter().filter(|event| event["details"]["grant"] == GRANT);
    let exchanges: Vec<_> = exchanges.map(|event| (&event["client_id"], &event["details"])).collect();
    let sid = claims(&subject)["sid"].clone();
    let of_key = json!({"grant": GRANT, "session": key["id"], "method": "api_key", "authenticated_by": key["id"]});
    let client = json!("items");
    assert_eq!(exchanges, [(&client, &of_key), (&client, &json!({"grant": GRANT, "session": sid}))]);
}

async fn change_client(scene: &Scene, id: &str, body: Value) {
    let admin = scene.server.admin().await;
    let request = scene.server.request("PATCH", &format!("/admin/clients/{id}")).bearer(&admin).json(&body);
    request.send().await.json_with(200);
}

async fn a_disabled_client_ends_what_was_exchanged_from_its_tokens(database: Database) {
    let scene = Scene::start(database).await;
    // Of a user's session, twice exchanged, and of a client for itself.
    let own = NewClient {
        id: "own",
        grants: &["client_credentials"],
        scopes: "items:read",
        audiences: &[ITEMS],
        ..NewClient::default()
    };
    let secret = scene.server.create_client(own).await;
    let own = scene.server.machine("own", &secret, "items:read").await;
    let stock =
        NewClient { id: "stock", grants: &[GRANT], scopes: "items:read", audiences: &[STOCK], ..NewClient::default() };
    let stock = scene.server.create_client(stock).await;
    let first = scene.exchange(&form(&scene.token().await).and("resource", STOCK)).await.json_with(200);
    let first = text(&first["access_token"]);
    let second = scene.server.token(&form(first)).basic("stock", &stock).send().await.json_with(200);
    let second = text(&second["access_token"]);
    assert_eq!(claims(second)["session_client_id"], "app");
    let machine = scene.exchange(&form(&own)).await.json_with(200);
    let machine = text(&machine["access_token"]);
    assert!(scene.is_active(first).await && scene.is_active(second).await && scene.is_active(machine).await);
    change_client(&scene, "app", json!({"disabled": true})).await;
    assert!(!scene.is_active(first).await && !scene.is_active(second).await && scene.is_active(machine).await);
    scene.exchange(&form(first)).await.oauth_error(400, "invalid_request");
    change_client(&scene, "own", json!({"disabled": true})).await;
    assert!(!scene.is_active(machine).await);
}

async fn a_scope_that_the_first_client_has_lost_is_not_in_the_result(database: Database) {
    let scene = Scene::start(database).await;
    let subject = scene.token().await;
    change_client(&scene, "app", json!({"scopes": ["account"]})).await;
    scene.exchange(&form(&subject)).await.oauth_error(400, "invalid_scope");
}
