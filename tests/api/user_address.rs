//! `Grantd-User-Address`: the address of the user that a confidential client reports, in sessions and the audit log.

use chrono::Duration;
use serde_json::{Value, json};

use crate::{
    audit::page,
    harness::{Answer, Database, Form, NewClient, PASSWORD, Request, TestServer, eventually, on_both_engines},
};

on_both_engines!(
    a_reported_address_is_that_of_session_and_events,
    a_reported_address_of_others_is_ignored,
    a_malformed_address_is_refused,
    a_changed_flag_counts_at_once,
    each_reported_address_has_a_budget_of_its_own,
);

const HEADER: &str = "Grantd-User-Address";
const USER: &str = "203.0.113.7";
const PROXIED: &str = "198.51.100.1";

/// A server behind a proxy, with a client that may report addresses.
struct Reporting {
    server: TestServer,
    admin: String,
    secret: String,
}

impl Reporting {
    async fn start(database: Database) -> Self {
        Self::with(database, &[]).await
    }

    async fn with(database: Database, flags: &[&str]) -> Self {
        let server = TestServer::with(database, &[&["--trusted-proxies", "127.0.0.1/32"], flags].concat()).await;
        server.create_user("maria", &[]).await;
        let secret = server.create_client(NewClient { forwards_address: true, ..NewClient::default() }).await;
        let public = NewClient { id: "app", confidential: false, ..NewClient::default() };
        server.create_client(public).await;
        let admin = server.admin().await;
        // Events of the same millisecond are in no particular order: this one is the oldest.
        server.advance(Duration::seconds(1));
        Self { server, admin, secret }
    }

    /// A request from the backend, by way of a proxy.
    fn token(&self, form: &Form) -> Request {
        self.server.token(form).basic("back-office", &self.secret).header("X-Forwarded-For", PROXIED)
    }

    async fn login(&self, address: &str) -> Answer {
        self.token(&Form::password("maria", PASSWORD)).header(HEADER, address).send().await
    }

    async fn newest(&self, kind: &str) -> Value {
        page(&self.server, &self.admin, &format!("limit=1&kind={kind}")).await["items"][0].clone()
    }

    async fn assert_event(&self, kind: &str, client: &str, address: &str) {
        let event = self.newest(kind).await;
        assert_eq!((&event["client_id"], &event["address"]), (&json!(client), &json!(address)), "{event}");
        // The next one is newer.
        self.server.advance(Duration::seconds(1));
    }

    /// Returns the address of the session of an access token.
    async fn address_of_session(&self, token: &Value) -> Value {
        let list = self.server.get("/users/me/sessions").bearer(token["access_token"].as_str().unwrap()).send().await;
        let list = list.json_with(200);
        let sessions = list["items"].as_array().unwrap();
        sessions.iter().find(|session| session["current"] == true).unwrap()["address"].clone()
    }
}

async fn a_reported_address_is_that_of_session_and_events(database: Database) {
    let reporting = Reporting::start(database).await;
    for (reported, address) in [
        (USER, USER),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:203.0.113.8", "203.0.113.8"),
        ("127.0.0.1", "127.0.0.1"),
    ] {
        let token = reporting.login(reported).await.json_with(200);
        assert_eq!(reporting.address_of_session(&token).await, address);
        reporting.assert_event("login", "back-office", address).await;
    }
    // Without the header, the address of the backend counts.
    let token = reporting.token(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    assert_eq!(reporting.address_of_session(&token).await, PROXIED);

    // The other events of the two routes at which clients authenticate.
    let wrong = reporting.token(&Form::password("maria", "wrong")).header(HEADER, USER).send().await;
    wrong.oauth_error(400, "invalid_grant");
    reporting.assert_event("login.failed", "back-office", USER).await;
    // With the secret in the form, too.
    let form =
        Form::password("nobody", "wrong").and("client_id", "back-office").and("client_secret", &reporting.secret);
    reporting.server.token(&form).header(HEADER, "2001:db8::8").send().await.oauth_error(400, "invalid_grant");
    reporting.assert_event("login.failed", "back-office", "2001:db8::8").await;

    let first = token["refresh_token"].as_str().unwrap();
    let refresh = async |token: &str| {
        let form = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
        reporting.token(&form).header(HEADER, "203.0.113.9").send().await
    };
    let second = refresh(first).await.json_with(200);
    refresh(second["refresh_token"].as_str().unwrap()).await.json_with(200);
    refresh(first).await.oauth_error(400, "invalid_grant");
    reporting.assert_event("refresh_token.reused", "back-office", "203.0.113.9").await;

    let token = reporting.login(USER).await.json_with(200);
    let form = Form::of(&[("token", token["refresh_token"].as_str().unwrap())]);
    let revoke = reporting.server.request("POST", "/revoke").form(&form).basic("back-office", &reporting.secret);
    assert_eq!(revoke.header(HEADER, "203.0.113.10").send().await.status, 200);
    reporting.assert_event("session.ended", "back-office", "203.0.113.10").await;
}

async fn a_reported_address_of_others_is_ignored(database: Database) {
    let reporting = Reporting::start(database).await;
    let server = &reporting.server;
    let other = server.create_client(NewClient { id: "other", ..NewClient::default() }).await;
    let form = Form::password("maria", PASSWORD);
    // Also a malformed one: it is not read at all.
    for address in [USER, "unknown"] {
        for (client, request) in [
            ("default", server.token(&form)),
            ("app", server.token(&form.clone().and("client_id", "app"))),
            ("other", server.token(&form).basic("other", &other)),
        ] {
            let token = request.header("X-Forwarded-For", PROXIED).header(HEADER, address).send().await.json_with(200);
            assert_eq!(reporting.address_of_session(&token).await, PROXIED, "{client}");
            reporting.assert_event("login", client, PROXIED).await;
        }
    }
    // Who names the client and has not its secret.
    let wrong = server.token(&form).basic("back-office", &other);
    let wrong = wrong.header("X-Forwarded-For", PROXIED).header(HEADER, USER).send().await;
    wrong.oauth_error(401, "invalid_client");
    eventually("the failure is recorded", async || reporting.newest("client.failed").await.is_object()).await;
    reporting.assert_event("client.failed", "back-office", PROXIED).await;
    // Who has a token that was issued to the client.
    let token = reporting.login(USER).await.json_with(200);
    let change = server.request("PATCH", "/users/me").bearer(token["access_token"].as_str().unwrap());
    let change = change.header("X-Forwarded-For", PROXIED).header(HEADER, USER);
    assert_eq!(change.json(&json!({"display_name": "Maria"})).send().await.status, 200);
    reporting.assert_event("user.changed", "back-office", PROXIED).await;
}

async fn a_malformed_address_is_refused(database: Database) {
    let reporting = Reporting::start(database).await;
    let before = (reporting.server.database().row_counts().await, reporting.server.app.passwords.hashes_run());
    for address in ["", "unknown", "203.0.113.7:80", "203.0.113.7, 203.0.113.8", "[2001:db8::7]", "203.0.113.0/24", "é"]
    {
        let error = reporting.login(address).await.oauth_error(400, "invalid_request");
        assert!(error["error_description"].as_str().unwrap().starts_with("Grantd-User-Address"), "{error}");
    }
    let twice = reporting.token(&Form::password("maria", PASSWORD)).header(HEADER, USER).header(HEADER, USER);
    twice.send().await.oauth_error(400, "invalid_request");
    let revoke = reporting.server.request("POST", "/revoke").form(&Form::of(&[("token", "x")]));
    let revoke = revoke.basic("back-office", &reporting.secret).header(HEADER, "unknown");
    revoke.send().await.oauth_error(400, "invalid_request");
    let after = (reporting.server.database().row_counts().await, reporting.server.app.passwords.hashes_run());
    assert_eq!(after, before);
}

async fn a_changed_flag_counts_at_once(database: Database) {
    let reporting = Reporting::start(database).await;
    for (forwards, address) in [(false, PROXIED), (true, USER)] {
        let patch = json!({"forwards_address": forwards});
        let request = reporting.server.request("PATCH", "/admin/clients/back-office").bearer(&reporting.admin);
        assert_eq!(request.json(&patch).send().await.json_with(200)["forwards_address"], forwards);
        let token = reporting.login(USER).await.json_with(200);
        assert_eq!(reporting.address_of_session(&token).await, address);
    }
}

async fn each_reported_address_has_a_budget_of_its_own(database: Database) {
    let reporting = Reporting::with(database, &["--network-failures", "3/10m"]).await;
    // Another name each time, so that only the network's budget is used up.
    let guess = async |name: &str, address: Option<&str>| {
        let request = reporting.token(&Form::password(name, "wrong"));
        let request = if let Some(address) = address { request.header(HEADER, address) } else { request };
        request.send().await.status
    };
    for network in ["203.0.113.7", "203.0.113.8", "2001:db8:0:7::1"] {
        for name in ["one", "two", "three"] {
            assert_eq!(guess(name, Some(network)).await, 400, "{network}");
        }
        assert_eq!(guess("four", Some(network)).await, 429, "{network}");
    }
    // A /64 of IPv6 is one network.
    assert_eq!(guess("five", Some("2001:db8:0:7::2")).await, 429);
    assert_eq!(guess("five", Some("2001:db8:0:8::1")).await, 400);
    // The backend's own address is another network. Wrong passwords that others report as theirs are its own.
    let other = |name: &str, address: &str| {
        reporting
            .server
            .token(&Form::password(name, "wrong"))
            .header("X-Forwarded-For", PROXIED)
            .header(HEADER, address)
    };
    for (name, address) in [("one", "203.0.113.21"), ("two", "203.0.113.22"), ("three", "203.0.113.23")] {
        assert_eq!(other(name, address).send().await.status, 400);
    }
    other("four", "203.0.113.24").send().await.oauth_error(429, "slow_down");
    assert_eq!(guess("four", None).await, 429);
    assert_eq!(guess("four", Some("203.0.113.25")).await, 400);
    // A reported address that logged in before has a budget of its own.
    reporting.login("203.0.113.7").await.oauth_error(429, "slow_down");
    reporting.login("203.0.113.30").await.json_with(200);
    assert_eq!(guess("maria", Some("203.0.113.30")).await, 400);
}
