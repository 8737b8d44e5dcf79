//! Concurrent administration on two servers: of conflicting requests one fails, and the result is that of some sequence.

use serde_json::{Value, json};

use crate::harness::{Admin, Answer, Database, PASSWORD, TestServer, on_both_engines};

on_both_engines!(
    administrators_who_demote_each_other_leave_one,
    administrators_who_delete_each_other_leave_one,
    concurrent_creations_of_a_name_succeed_once,
    concurrent_deletions_succeed_once,
    a_role_is_deleted_while_it_is_granted,
    a_scope_is_deleted_while_it_is_granted,
    objects_are_changed_while_they_are_deleted,
);

const ROUNDS: usize = 12;

/// Two servers on one database.
struct Two {
    admin: Admin,
    other: TestServer,
}

impl Two {
    async fn start(database: Database) -> Self {
        let issuer = ["--issuer", "http://id.example"];
        let server = TestServer::with(database, &issuer).await;
        let other = TestServer::on(server.database().url(), &issuer, server.clock.clone()).await.unwrap();
        let token = server.admin().await;
        Self { admin: Admin { server, token }, other }
    }

    /// Sends a request to each server, at once. Returns the statuses, none of which may be 5xx.
    async fn both(&self, one: (&str, &str, &str, &Value), another: (&str, &str, &str, &Value)) -> (u16, u16) {
        let send = async |server: &TestServer, (token, method, path, body): (&str, &str, &str, &Value)| -> Answer {
            server.request(method, path).bearer(token).json(body).send().await
        };
        let (first, second) = tokio::join!(send(&self.admin.server, one), send(&self.other, another));
        for answer in [&first, &second] {
            assert!(answer.status < 500, "{}: {}", answer.status, answer.text());
        }
        (first.status, second.status)
    }

    /// The same with the token of the administrator.
    async fn both_by_admin(&self, one: (&str, &str, &Value), another: (&str, &str, &Value)) -> (u16, u16) {
        let token = &*self.admin.token;
        self.both((token, one.0, one.1, one.2), (token, another.0, another.1, another.2)).await
    }

    /// Creates two administrators, and removes all others. Returns their paths and tokens.
    async fn two_administrators(&self, round: usize) -> [(String, String); 2] {
        let database = self.admin.server.database();
        database.execute("DELETE FROM user_roles WHERE role = 'admin'").await.unwrap();
        let mut created = Vec::new();
        for name in ["one", "another"] {
            let name = format!("{name}-{round}");
            let user = self.admin.server.create_user(&name, &["admin"]).await;
            created.push((format!("/admin/users/{}", user.id), self.admin.server.login(&name, PASSWORD).await));
        }
        created.try_into().unwrap()
    }

    async fn administrators(&self) -> i64 {
        self.admin.server.database().number("SELECT count(*) FROM user_roles WHERE role = 'admin'").await
    }
}

/// Checks that exactly one request has the status `first`, and the other one of `second`.
#[track_caller]
fn one_was_first(statuses: (u16, u16), first: u16, second: &[u16]) {
    let in_order = |one, other| one == first && second.contains(&other);
    assert!(in_order(statuses.0, statuses.1) || in_order(statuses.1, statuses.0), "{statuses:?}");
}

async fn administrators_who_demote_each_other_leave_one(database: Database) {
    let two = Two::start(database).await;
    let nothing = json!({"roles": []});
    for round in 0..ROUNDS {
        let [(one, of_one), (another, of_another)] = two.two_administrators(round).await;
        let (one, another) = (format!("{one}/roles"), format!("{another}/roles"));
        let statuses = two.both((&of_one, "PUT", &another, &nothing), (&of_another, "PUT", &one, &nothing)).await;
        // The second caller is no longer an administrator, or would remove the last one.
        one_was_first(statuses, 200, &[403, 409]);
        assert_eq!(two.administrators().await, 1);
    }
}

async fn administrators_who_delete_each_other_leave_one(database: Database) {
    let two = Two::start(database).await;
    for round in 0..ROUNDS {
        let [(one, of_one), (another, of_another)] = two.two_administrators(round).await;
        let body = json!({});
        let statuses = if round % 2 == 0 {
            two.both((&of_one, "DELETE", &another, &body), (&of_another, "DELETE", &one, &body)).await
        } else {
            let disabled = json!({"disabled": true});
            let statuses = two.both((&of_one, "PATCH", &another, &disabled), (&of_another, "PATCH", &one, &disabled));
            let (one, other) = statuses.await;
            (if one == 200 { 204 } else { one }, if other == 200 { 204 } else { other })
        };
        one_was_first(statuses, 204, &[401, 403, 409]);
        let left = "SELECT count(*) FROM user_roles ur JOIN users u ON u.id = ur.user_id \
                    WHERE ur.role = 'admin' AND NOT u.disabled";
        assert_eq!(two.admin.server.database().number(left).await, 1);
    }
}

async fn concurrent_creations_of_a_name_succeed_once(database: Database) {
    let two = Two::start(database).await;
    for round in 0..ROUNDS {
        let user = |name: &str, email: &str| json!({"username": name, "email": email, "password": PASSWORD});
        let name = format!("n-{round}");
        let (one, other) =
            (user(&name, &format!("{name}@a.example")), user(&name.to_uppercase(), &format!("{name}@b.example")));
        let users = "/admin/users";
        one_was_first(two.both_by_admin(("POST", users, &one), ("POST", users, &other)).await, 201, &[409]);
        let (one, other) =
            (user(&format!("e-{round}"), "same@a.example"), user(&format!("f-{round}"), "SAME@a.example"));
        one_was_first(two.both_by_admin(("POST", users, &one), ("POST", users, &other)).await, 201, &[409]);
        let (one, other) =
            (two.admin.user(&format!("g-{round}"), &[]).await, two.admin.user(&format!("h-{round}"), &[]).await);
        let same = json!({"username": format!("i-{round}")});
        one_was_first(two.both_by_admin(("PATCH", &one, &same), ("PATCH", &other, &same)).await, 200, &[409]);
        let client = json!({
            "client_id": format!("c-{round}"), "name": "C", "type": "confidential", "grant_types": ["password"],
            "scopes": ["account"], "access_token_ttl": "1h",
        });
        let clients = "/admin/clients";
        one_was_first(two.both_by_admin(("POST", clients, &client), ("POST", clients, &client)).await, 201, &[409]);
        let role = (&*format!("/admin/roles/r-{round}"), json!({"scopes": ["account"]}));
        one_was_first(two.both_by_admin(("PUT", role.0, &role.1), ("PUT", role.0, &role.1)).await, 201, &[200]);
        let scope = (&*format!("/admin/scopes/s-{round}"), json!({}));
        one_was_first(two.both_by_admin(("PUT", scope.0, &scope.1), ("PUT", scope.0, &scope.1)).await, 201, &[200]);
        two.admin.server.database().execute("UPDATE users SET email = NULL").await.unwrap();
    }
    // Each scope was added once to the role with every scope.
    let all = two.admin.get("/admin/roles/admin").await.json_with(200);
    assert_eq!(all["scopes"].as_array().unwrap().len(), 11 + ROUNDS);
}

async fn concurrent_deletions_succeed_once(database: Database) {
    let two = Two::start(database).await;
    let nothing = json!({});
    for _ in 0..ROUNDS {
        two.admin.role("passing", &["users:read"]).await;
        two.admin.ask("PUT", "/admin/scopes/passing", &nothing).await.json_with(201);
        for path in ["/admin/roles/passing", "/admin/scopes/passing"] {
            one_was_first(two.both_by_admin(("DELETE", path, &nothing), ("DELETE", path, &nothing)).await, 204, &[404]);
        }
        let user = two.admin.user("passing", &[]).await;
        one_was_first(two.both_by_admin(("DELETE", &user, &nothing), ("DELETE", &user, &nothing)).await, 204, &[404]);
    }
}

async fn a_role_is_deleted_while_it_is_granted(database: Database) {
    let two = Two::start(database).await;
    let maria = two.admin.user("maria", &[]).await;
    let (roles, nothing) = (json!({"roles": ["passing"]}), json!({}));
    for round in 0..ROUNDS {
        two.admin.role("passing", &["users:read"]).await;
        let grant = if round % 2 == 0 { maria.clone() + "/roles" } else { "/admin/users".to_owned() };
        let new = json!({"username": format!("new-{round}"), "password": PASSWORD, "roles": ["passing", "admin"]});
        let (method, body) = if round % 2 == 0 { ("PUT", &roles) } else { ("POST", &new) };
        let (granted, deleted) =
            two.both_by_admin((method, &grant, body), ("DELETE", "/admin/roles/passing", &nothing)).await;
        assert!([200, 201, 422].contains(&granted) && deleted == 204, "{granted} {deleted}");
        let user = two.admin.get(&maria).await.json_with(200);
        assert_eq!((&user["roles"], &user["scopes"]), (&json!(["member"]), &json!(["account"])));
        let left = "SELECT count(*) FROM user_roles WHERE role = 'passing'";
        assert_eq!(two.admin.server.database().number(left).await, 0);
    }
}

async fn a_scope_is_deleted_while_it_is_granted(database: Database) {
    let two = Two::start(database).await;
    let nothing = json!({});
    for round in 0..ROUNDS * 2 {
        two.admin.ask("PUT", "/admin/scopes/passing", &nothing).await.json_with(201);
        let token = two.admin.server.admin().await;
        let scopes = ["account", "passing"];
        let id = format!("c-{round}");
        let (method, path, body) = if round % 2 == 0 {
            let client =
                json!({"client_id": id, "name": "C", "type": "public", "grant_types": ["password"], "scopes": scopes});
            ("POST", "/admin/clients".to_owned(), client)
        } else {
            ("PUT", format!("/admin/roles/{id}"), json!({"scopes": scopes}))
        };
        let delete = (&*token, "DELETE", "/admin/scopes/passing", &nothing);
        let (granted, deleted) = two.both((&token, method, &path, &body), delete).await;
        assert!([201, 422].contains(&granted) && deleted == 204, "{granted} {deleted}");
        // No client or role keeps the name: a later scope with this name may mean something else.
        for table in ["clients", "roles"] {
            let left = format!("SELECT count(*) FROM {table} WHERE scopes LIKE '%passing%'");
            assert_eq!(two.admin.server.database().number(&left).await, 0, "{table}");
        }
    }
}

async fn objects_are_changed_while_they_are_deleted(database: Database) {
    let two = Two::start(database).await;
    let nothing = json!({});
    for round in 0..ROUNDS {
        let user = two.admin.user(&format!("u-{round}"), &[]).await;
        let body = json!({"client_id": format!("c-{round}"), "name": "C", "type": "confidential", "grant_types": ["password"], "scopes": []});
        let client = two.admin.create_in("/admin/clients", &body).await;
        for (method, path, body, deleted) in [
            ("PATCH", &*user, json!({"disabled": true}), &user),
            ("POST", &*format!("{client}/secret"), nothing.clone(), &client),
        ] {
            let (changed, deleted) = two.both_by_admin((method, path, &body), ("DELETE", deleted, &nothing)).await;
            assert!([200, 404].contains(&changed) && deleted == 204, "{method} {path}: {changed} {deleted}");
        }
        // Concurrent changes of different members are both kept.
        let user = two.admin.user(&format!("v-{round}"), &[]).await;
        let (one, other) = (json!({"display_name": "V"}), json!({"email": format!("v-{round}@example.com")}));
        assert_eq!(two.both_by_admin(("PATCH", &user, &one), ("PATCH", &user, &other)).await, (200, 200));
        let user = two.admin.get(&user).await.json_with(200);
        assert_eq!((&user["display_name"], &user["email"]), (&one["display_name"], &other["email"]));
    }
}
