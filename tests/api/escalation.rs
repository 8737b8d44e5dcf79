//! Privilege escalation: a caller cannot grant scopes that they lack, nor change users and clients that have such scopes.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Admin, Database, Form, NewClient, PASSWORD, on_both_engines};

on_both_engines!(
    scopes_that_the_caller_lacks_cannot_be_granted,
    users_and_clients_with_more_scopes_cannot_be_changed,
    unknown_names_are_reported_before_missing_scopes,
    a_narrowed_token_counts_with_its_scopes_only,
    the_same_rules_apply_to_clients,
    scopes_of_member_can_be_granted_only_by_callers_who_have_them,
    a_caller_disabled_during_the_body_is_refused,
);

/// All scopes of administration, except those for keys and the audit log.
const HELPERS: &str = "users:read users:write roles:read roles:write clients:read clients:write";

/// The user `helper` with nearly all scopes, and users and clients with more or fewer.
struct Scene {
    admin: Admin,
    /// The token of `helper`.
    helper: String,
    holder: String,
    maria: String,
    boss: String,
    /// The secret of the client `vault`, which has `keys:write`.
    vault: String,
}

impl Scene {
    async fn set(database: Database) -> Self {
        let admin = Admin::start(database).await;
        admin.role("helper", &HELPERS.split(' ').collect::<Vec<_>>()).await;
        admin.role("keyholder", &["keys:write"]).await;
        admin.role("reader", &["users:read"]).await;
        admin.user("helper", &["helper"]).await;
        let holder = admin.user("holder", &["keyholder"]).await;
        let boss = admin.user("boss", &["admin"]).await;
        let maria = admin.user("maria", &[]).await;
        let vault =
            NewClient { id: "vault", grants: &["client_credentials"], scopes: "keys:write", ..NewClient::default() };
        let vault = admin.server.create_client(vault).await;
        let page = NewClient { id: "page", confidential: false, scopes: "account keys:write", ..NewClient::default() };
        admin.server.create_client(page).await;
        admin.server.create_client(NewClient { id: "shop", ..NewClient::default() }).await;
        let helper = admin.server.login("helper", PASSWORD).await;
        Self { admin, helper, holder, maria, boss, vault }
    }

    /// Returns all administered objects, and the number of audit events.
    async fn everything(&self) -> (Vec<Value>, i64) {
        let database = self.admin.server.database();
        let events = "SELECT count(*) FROM audit_events WHERE kind NOT LIKE 'login%'";
        (self.admin.everything().await, database.number(events).await)
    }

    /// Checks that all requests are refused for lack of these scopes, and change nothing.
    async fn refuses(&self, token: &str, lacking: &str, requests: &[(&str, &str, Value)]) {
        let before = self.everything().await;
        for (method, path, body) in requests {
            let answer = self.admin.ask_as(token, method, path, body).await;
            assert_eq!(answer.status, 403, "{method} {path} {body}: {}", answer.text());
            answer.lacks(lacking);
        }
        assert_eq!(self.everything().await, before);
    }
}

fn client(kind: &str, scopes: &[&str]) -> Value {
    json!({"client_id": "new", "name": "New", "type": kind, "grant_types": ["password"], "scopes": scopes})
}

async fn scopes_that_the_caller_lacks_cannot_be_granted(database: Database) {
    let scene = Scene::set(database).await;
    let (maria, new) = (&scene.maria, json!({"username": "new", "password": PASSWORD, "roles": ["keyholder"]}));
    let requests = [
        ("PUT", &*format!("{maria}/roles"), json!({"roles": ["reader", "keyholder"]})),
        ("POST", "/admin/users", new),
        ("PUT", "/admin/roles/new", json!({"scopes": ["users:read", "keys:write"]})),
        ("PUT", "/admin/roles/reader", json!({"scopes": ["keys:write"]})),
        ("PUT", "/admin/roles/helper", json!({"scopes": ["users:write", "keys:write"]})),
        ("PUT", "/admin/roles/member", json!({"scopes": ["account", "keys:write"]})),
        // Also scopes that the role has already: the request would grant them again.
        ("PUT", "/admin/roles/keyholder", json!({"scopes": ["keys:write"]})),
        ("POST", "/admin/clients", client("confidential", &["account", "keys:write"])),
        ("POST", "/admin/clients", client("public", &["keys:write"])),
        ("PATCH", "/admin/clients/shop", json!({"scopes": ["account", "keys:write"]})),
        ("PATCH", "/admin/clients/page", json!({"scopes": ["keys:write"]})),
    ];
    scene.refuses(&scene.helper, "keys:write", &requests).await;
    let all = [("PUT", &*format!("{maria}/roles"), json!({"roles": ["admin"]}))];
    scene.refuses(&scene.helper, "audit:read keys:read keys:write tokens:introspect", &all).await;
    // Scopes that the caller has can be granted.
    let ask = async |method: &str, path: &str, body: Value| {
        let answer = scene.admin.ask_as(&scene.helper, method, path, &body).await;
        assert!([200, 201].contains(&answer.status), "{method} {path}: {}", answer.text());
    };
    ask("PUT", &format!("{maria}/roles"), json!({"roles": ["reader", "helper"]})).await;
    ask("PUT", "/admin/roles/reader", json!({"scopes": ["users:read", "users:write", "account"]})).await;
    ask("POST", "/admin/clients", client("confidential", &["account", "users:write"])).await;
    // A public client has no authority of its own: tokens have at most the scopes of the user.
    ask("PATCH", "/admin/clients/page", json!({"name": "Another page"})).await;
}

async fn users_and_clients_with_more_scopes_cannot_be_changed(database: Database) {
    let scene = Scene::set(database).await;
    let requests = |user: &str| {
        [
            ("PUT", format!("{user}/password"), json!({"password": "a password of the thief's"})),
            ("PATCH", user.to_owned(), json!({"email": "thief@example.com"})),
            ("PATCH", user.to_owned(), json!({"username": "thief"})),
            ("PATCH", user.to_owned(), json!({"display_name": "x"})),
            ("PATCH", user.to_owned(), json!({"disabled": true})),
            ("PUT", format!("{user}/roles"), json!({"roles": []})),
            ("DELETE", format!("{user}/sessions"), json!({})),
            ("DELETE", user.to_owned(), json!({})),
        ]
    };
    for (user, lacking) in
        [(&scene.holder, "keys:write"), (&scene.boss, "audit:read keys:read keys:write tokens:introspect")]
    {
        let requests = requests(user);
        let requests: Vec<_> = requests.iter().map(|(method, path, body)| (*method, &**path, body.clone())).collect();
        scene.refuses(&scene.helper, lacking, &requests).await;
    }
    let vault = "/admin/clients/vault";
    let requests = [
        ("PATCH", vault, json!({"name": "Mine"})),
        ("PATCH", vault, json!({"scopes": []})),
        ("PATCH", vault, json!({"disabled": true})),
        ("PATCH", vault, json!({"access_token_ttl": "1s"})),
        ("POST", "/admin/clients/vault/secret", json!({})),
        ("DELETE", vault, json!({})),
    ];
    scene.refuses(&scene.helper, "keys:write", &requests).await;
    // Their passwords and the secret are unchanged.
    scene.admin.server.login("holder", PASSWORD).await;
    scene.admin.server.login("boss", PASSWORD).await;
    scene.admin.server.machine("vault", &scene.vault, "keys:write").await;
    // Users without further scopes can be changed, including the caller.
    for user in [&scene.maria, "helper"] {
        let list = scene.admin.get("/admin/users?q=helper").await.json_with(200);
        let own = format!("/admin/users/{}", list["items"][0]["id"].as_str().unwrap());
        let path = if user == "helper" { &own } else { user };
        let answer = scene.admin.ask_as(&scene.helper, "PATCH", path, &json!({"display_name": "x"})).await;
        answer.json_with(200);
    }
}

async fn unknown_names_are_reported_before_missing_scopes(database: Database) {
    let scene = Scene::set(database).await;
    let maria = format!("{}/roles", scene.maria);
    let new = json!({"username": "new", "password": PASSWORD, "roles": ["keyholder", "nobodys"]});
    for (method, path, body, field) in [
        ("PUT", &*maria, json!({"roles": ["keyholder", "nobodys"]}), "roles"),
        ("POST", "/admin/users", new, "roles"),
        ("PUT", "/admin/roles/reader", json!({"scopes": ["keys:write", "nobodys"]}), "scopes"),
        ("PUT", "/admin/roles/new", json!({"scopes": ["keys:write", "nobodys"]}), "scopes"),
        ("POST", "/admin/clients", client("public", &["keys:write", "nobodys"]), "scopes"),
        ("PATCH", "/admin/clients/shop", json!({"scopes": ["keys:write", "nobodys"]}), "scopes"),
        ("PATCH", "/admin/clients/vault", json!({"scopes": ["nobodys"]}), "scopes"),
        ("PUT", &format!("{}/roles", scene.boss), json!({"roles": ["nobodys"]}), "roles"),
    ] {
        let answer = scene.admin.ask_as(&scene.helper, method, path, &body).await;
        answer.wrong_fields(&[(field, "unknown")]);
    }
    let unknown = "/admin/users/019c0000-0000-7000-8000-000000000000";
    let roles = json!({"roles": ["keyholder"]});
    scene.admin.ask_as(&scene.helper, "PUT", &format!("{unknown}/roles"), &roles).await.problem(404, "not-found");
}

async fn a_narrowed_token_counts_with_its_scopes_only(database: Database) {
    let scene = Scene::set(database).await;
    let narrowed = scene.admin.server.login_for("boss", PASSWORD, "roles:write users:write").await;
    let reader = [
        ("PUT", &*format!("{}/roles", scene.maria), json!({"roles": ["reader"]})),
        ("PUT", "/admin/roles/new", json!({"scopes": ["account", "users:read"]})),
    ];
    scene.refuses(&narrowed, "users:read", &reader).await;
    let holder = [("PUT", &*format!("{}/password", scene.holder), json!({"password": "another password"}))];
    scene.refuses(&narrowed, "keys:write", &holder).await;
    // The token lacks `account`, but every user has that scope anyway.
    let ask = |method: &str, path: &str| scene.admin.server.request(method, path).bearer(&narrowed);
    let body = json!({"username": "new", "password": PASSWORD});
    ask("POST", "/admin/users").json(&body).send().await.json_with(201);
    let password = json!({"password": "another password"});
    let answer = ask("PUT", &format!("{}/password", scene.maria)).json(&password).send().await;
    assert_eq!(answer.status, 204);
    // A full token of a user who then loses scopes: these no longer count, although the token has them.
    let whole = scene.admin.server.login("boss", PASSWORD).await;
    let roles = json!({"roles": ["helper"]});
    scene.admin.ask("PUT", &format!("{}/roles", scene.boss), &roles).await.json_with(200);
    scene.refuses(&whole, "keys:write", &holder).await;
}

async fn the_same_rules_apply_to_clients(database: Database) {
    let scene = Scene::set(database).await;
    let machine = NewClient {
        id: "machine",
        grants: &["client_credentials"],
        scopes: "clients:write roles:write users:write",
        ..NewClient::default()
    };
    let secret = scene.admin.server.create_client(machine).await;
    let token = scene.admin.server.machine("machine", &secret, "clients:write roles:write users:write").await;
    let requests = [
        ("PUT", &*format!("{}/roles", scene.maria), json!({"roles": ["keyholder"]})),
        ("PUT", "/admin/roles/new", json!({"scopes": ["keys:write"]})),
        ("POST", "/admin/clients", client("confidential", &["keys:write"])),
        ("PATCH", "/admin/clients/machine", json!({"scopes": ["clients:write", "keys:write"]})),
        ("POST", "/admin/clients/vault/secret", json!({})),
        ("PUT", &format!("{}/password", scene.holder), json!({"password": "another password"})),
    ];
    scene.refuses(&token, "keys:write", &requests).await;
    let roles = json!({"scopes": ["users:write"]});
    scene.admin.ask_as(&token, "PUT", "/admin/roles/new", &roles).await.json_with(201);
}

/// Every new user has the scopes of the role `member`; a role or a client gets them from the caller.
async fn scopes_of_member_can_be_granted_only_by_callers_who_have_them(database: Database) {
    let scene = Scene::set(database).await;
    scene.admin.server.create_scopes(&["items:read"]).await;
    scene.admin.server.put_role("member", "account items:read").await;
    let form = Form::admin().and("scope", "clients:write roles:write users:write");
    let body = scene.admin.server.token(&form).send().await.json_with(200);
    let narrowed = body["access_token"].as_str().unwrap();
    let requests = [
        ("POST", "/admin/clients", client("confidential", &["items:read"])),
        ("PUT", "/admin/roles/new", json!({"scopes": ["items:read"]})),
    ];
    scene.refuses(narrowed, "items:read", &requests).await;
    let body = json!({"username": "new", "password": PASSWORD});
    scene.admin.ask_as(narrowed, "POST", "/admin/users", &body).await.json_with(201);
}

/// A body may be slow, so the permission is checked again after it.
async fn a_caller_disabled_during_the_body_is_refused(database: Database) {
    let scene = Scene::set(database).await;
    let boss = scene.admin.server.login("boss", PASSWORD).await;
    let body = json!({"username": "backdoor", "password": PASSWORD, "roles": ["admin"]}).to_string();
    let mut stream = TcpStream::connect(scene.admin.server.url().trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /admin/users HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {boss}\r\nContent-Length: {}\r\n\r\n{{",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    scene.admin.ask("PATCH", &scene.boss, &json!({"disabled": true})).await.json_with(200);
    stream.write_all(&body.as_bytes()[1..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let users = scene.admin.server.database().number("SELECT count(*) FROM users WHERE username = 'backdoor'").await;
    assert_eq!(users, 0);
}
