//! How long a revocation is listed: until the tokens that it covers have expired, whatever the lifetime of other tokens.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use crate::{
    harness::{Admin, Database, Form, NewClient, PASSWORD, Request, TestServer, on_both_engines},
    token::claims,
};

on_both_engines!(
    a_session_is_listed_until_its_last_token_has_expired,
    a_token_is_listed_until_it_has_expired,
    users_and_clients_are_listed_until_their_own_tokens_have_expired,
    a_retried_refresh_is_covered,
    a_shortened_lifetime_of_a_client_is_covered,
    a_shortened_lifetime_of_the_server_is_covered,
);

const YEAR: u64 = 365 * 24 * 3600;

/// A server with the client `year`, whose tokens live for a year, and clients with the default lifetime.
struct Scene {
    admin: Admin,
    shop: String,
}

impl Scene {
    async fn set(database: Database) -> Self {
        let admin = Admin::start(database).await;
        admin.user("maria", &[]).await;
        let server = &admin.server;
        let year = NewClient { id: "year", confidential: false, access_token_ttl: Some(YEAR), ..NewClient::default() };
        server.create_client(year).await;
        let grants = &["client_credentials", "password", "refresh_token"];
        let shop = server.create_client(NewClient { id: "shop", grants, ..NewClient::default() }).await;
        Self { admin, shop }
    }

    fn shop(&self, form: &Form) -> Request {
        self.admin.server.token(form).basic("shop", &self.shop)
    }

    async fn login(&self, username: &str, client: &str) -> Value {
        let form = Form::password(username, PASSWORD);
        let request = match client {
            "shop" => self.shop(&form),
            client => self.admin.server.token(&form.and("client_id", client)),
        };
        request.send().await.json_with(200)
    }

    async fn machine(&self) -> Value {
        self.shop(&Form::of(&[("grant_type", "client_credentials")])).send().await.json_with(200)
    }

    /// Revokes an access token, as the client `shop` or a public one.
    async fn revoke(&self, body: &Value, client: &str) {
        let form = Form::of(&[("token", body["access_token"].as_str().unwrap())]);
        let request = match client {
            "shop" => self.admin.server.request("POST", "/revoke").form(&form).basic("shop", &self.shop),
            client => self.admin.server.request("POST", "/revoke").form(&form.and("client_id", client)),
        };
        assert_eq!(request.send().await.status, 200);
    }

    /// Returns the time until which the revocation of this id is listed.
    async fn listed_until(&self, kind: &str, id: &str) -> DateTime<Utc> {
        listed_until(&self.admin.server, ("shop", &self.shop), kind, id).await
    }

    fn now(&self) -> DateTime<Utc> {
        self.admin.server.clock.now()
    }
}

async fn listed_until(server: &TestServer, client: (&str, &str), kind: &str, id: &str) -> DateTime<Utc> {
    let feed = server.get("/revocations?limit=200").basic(client.0, client.1).send().await.json_with(200);
    let mut items = feed["items"].as_array().unwrap().iter();
    // The newest, if there are several.
    let item = items.rfind(|item| item["kind"] == kind && item["id"] == id);
    let item = item.unwrap_or_else(|| panic!("no {kind} {id} in {feed}"));
    item["expires_at"].as_str().unwrap().parse().unwrap()
}

fn refresh(body: &Value) -> Form {
    Form::of(&[("grant_type", "refresh_token"), ("refresh_token", body["refresh_token"].as_str().unwrap())])
}

fn claim(body: &Value, name: &str) -> String {
    claims(body["access_token"].as_str().unwrap())[name].as_str().unwrap().to_owned()
}

fn exp(body: &Value) -> DateTime<Utc> {
    let exp = claims(body["access_token"].as_str().unwrap())["exp"].as_i64().unwrap();
    DateTime::from_timestamp(exp, 0).unwrap()
}

/// Checks that a revocation is listed for a minute longer than its tokens live, plus some seconds of clock skew.
#[track_caller]
fn is_about(what: &str, listed_until: DateTime<Utc>, last_exp: DateTime<Utc>) {
    let after = listed_until - last_exp;
    assert!(
        (Duration::minutes(1)..=Duration::seconds(65)).contains(&after),
        "{what}: listed until {listed_until}, and the last token expires at {last_exp}"
    );
}

async fn a_session_is_listed_until_its_last_token_has_expired(database: Database) {
    let scene = Scene::set(database).await;
    for (client, other) in [("default", "used"), ("default", "unused"), ("shop", "used"), ("year", "unused")] {
        let mut last = scene.login("maria", client).await;
        scene.admin.server.advance(Duration::minutes(2));
        if other == "used" {
            let form = refresh(&last);
            let request = if client == "shop" { scene.shop(&form) } else { scene.admin.server.token(&form) };
            last = request.send().await.json_with(200);
        }
        scene.admin.server.advance(Duration::seconds(30));
        scene.revoke(&last, client).await;
        let listed = scene.listed_until("session", &claim(&last, "sid")).await;
        is_about(&format!("{other} session of {client}"), listed, exp(&last));
    }
}

async fn a_token_is_listed_until_it_has_expired(database: Database) {
    let scene = Scene::set(database).await;
    let token = scene.machine().await;
    scene.admin.server.advance(Duration::minutes(5));
    scene.revoke(&token, "shop").await;
    is_about("token", scene.listed_until("token", &claim(&token, "jti")).await, exp(&token));
}

async fn users_and_clients_are_listed_until_their_own_tokens_have_expired(database: Database) {
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    let quarter = Duration::minutes(15);
    // Users with many sessions at `default`, and with many at `year`.
    for (name, client, path) in [
        ("peter", "default", "/sessions"),
        ("petra", "default", ""),
        ("paula", "year", "/sessions"),
        ("paul", "year", ""),
    ] {
        let user = scene.admin.user(name, &[]).await;
        let last = scene.login(name, client).await;
        server.database().copy_session(name, 101).await;
        server.advance(Duration::minutes(1));
        assert_eq!(scene.admin.delete(&format!("{user}{path}")).await.status, 204);
        let listed = scene.listed_until("user", &claim(&last, "sub")).await;
        assert!(listed >= exp(&last), "{name}: listed until {listed}");
        if client == "default" {
            let latest = scene.now() + quarter + Duration::seconds(65);
            assert!(listed <= latest, "{name}: listed until {listed}, for longer than {latest}");
        }
    }
    for client in ["shop", "year"] {
        let last = scene.login("maria", client).await;
        server.advance(Duration::minutes(1));
        let path = format!("/admin/clients/{client}");
        // The client `shop` cannot read the feed once it is disabled.
        let reader = NewClient { id: if client == "shop" { "reader-a" } else { "reader-b" }, ..NewClient::default() };
        let id = reader.id;
        let secret = server.create_client(reader).await;
        scene.admin.ask("PATCH", &path, &json!({"disabled": true})).await.json_with(200);
        let listed = listed_until(server, (id, &secret), "client", client).await;
        assert!(listed >= exp(&last), "{client}: listed until {listed}");
        if client == "shop" {
            let latest = scene.now() + quarter + Duration::seconds(65);
            assert!(listed <= latest, "{client}: listed until {listed}, for longer than {latest}");
        }
    }
}

/// A retry issues an access token without a rotation of the refresh token.
async fn a_retried_refresh_is_covered(database: Database) {
    let scene = Scene::set(database).await;
    let first = scene.login("maria", "shop").await;
    scene.admin.server.advance(Duration::minutes(1));
    scene.shop(&refresh(&first)).send().await.json_with(200);
    scene.admin.server.advance(Duration::minutes(8));
    let again = scene.shop(&refresh(&first)).send().await.json_with(200);
    scene.admin.server.advance(Duration::minutes(1));
    scene.revoke(&again, "shop").await;
    let listed = scene.listed_until("session", &claim(&again, "sid")).await;
    assert!(listed >= exp(&again), "listed until {listed}, and the token expires at {}", exp(&again));
}

async fn a_shortened_lifetime_of_a_client_is_covered(database: Database) {
    let scene = Scene::set(database).await;
    let server = &scene.admin.server;
    let user = scene.admin.user("peter", &[]).await;
    for id in ["long-a", "long-b"] {
        let long = NewClient { id, confidential: false, access_token_ttl: Some(7200), ..NewClient::default() };
        server.create_client(long).await;
    }
    let (session, of_user, of_client) = (
        scene.login("maria", "long-a").await,
        scene.login("peter", "long-a").await,
        scene.login("maria", "long-b").await,
    );
    server.database().copy_session("peter", 101).await;
    server.advance(Duration::seconds(10));
    for id in ["long-a", "long-b"] {
        let path = format!("/admin/clients/{id}");
        scene.admin.ask("PATCH", &path, &json!({"access_token_ttl": "1m"})).await.json_with(200);
    }
    server.advance(Duration::seconds(10));
    scene.revoke(&session, "long-a").await;
    assert_eq!(scene.admin.delete(&format!("{user}/sessions")).await.status, 204);
    scene.admin.ask("PATCH", "/admin/clients/long-b", &json!({"disabled": true})).await.json_with(200);
    for (kind, id, last) in [
        ("session", claim(&session, "sid"), exp(&session)),
        ("user", claim(&of_user, "sub"), exp(&of_user)),
        ("client", "long-b".to_owned(), exp(&of_client)),
    ] {
        let listed = scene.listed_until(kind, &id).await;
        assert!(listed >= last, "{kind}: listed until {listed}, and the token expires at {last}");
    }
}

async fn a_shortened_lifetime_of_the_server_is_covered(database: Database) {
    let issuer = ["--issuer", "http://id.example"];
    let server = TestServer::with(database, &[&issuer[..], &["--access-token-ttl", "2h"]].concat()).await;
    let secret = server.create_client(NewClient::default()).await;
    server.create_user("maria", &[]).await;
    let login = server.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    let (clock, database) = (server.clock.clone(), server.stop());
    let server = TestServer::on(database.url(), &issuer, clock).await.unwrap();
    let form = Form::of(&[("token", login["refresh_token"].as_str().unwrap())]);
    assert_eq!(server.request("POST", "/revoke").form(&form).send().await.status, 200);
    let listed = listed_until(&server, ("back-office", &secret), "session", &claim(&login, "sid")).await;
    assert!(listed >= exp(&login), "listed until {listed}, and the token expires at {}", exp(&login));
}
