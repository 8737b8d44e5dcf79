//! Lists of users, roles, scopes and clients: filters and pagination. And the protection of the last administrator.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Admin, Database, PASSWORD, on_both_engines};

on_both_engines!(
    users_can_be_filtered,
    all_lists_are_paginated,
    invalid_queries_are_refused,
    the_last_administrator_cannot_be_removed,
    any_role_with_users_write_makes_an_administrator,
);

/// Returns the usernames of a list that has one page.
async fn names(admin: &Admin, query: &str) -> Vec<String> {
    let list = admin.get(&format!("/admin/users?{query}")).await.json_with(200);
    assert_eq!(list.as_object().unwrap().len(), 2, "items and next_cursor");
    assert_eq!(list["next_cursor"], Value::Null, "{list}");
    let items = list["items"].as_array().unwrap();
    items.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
}

async fn users_can_be_filtered(database: Database) {
    let admin = Admin::start(database).await;
    admin.role("reader", &["users:read"]).await;
    for (name, email, roles) in [
        ("Maria", Some("m%x@example.com"), &["reader"][..]),
        ("mario", Some("mario_b@example.com"), &[]),
        ("mar_ia", Some("marioxb@example.com"), &["reader"]),
        ("mar.ia", None, &[]),
        ("peter@example.com", Some("Peter@example.com"), &["admin"]),
    ] {
        admin.create(&json!({"username": name, "email": email, "password": PASSWORD, "roles": roles})).await;
    }
    let mario = admin.get("/admin/users?q=mario").await.json_with(200)["items"][0]["id"].as_str().unwrap().to_owned();
    admin.ask("PATCH", &format!("/admin/users/{mario}"), &json!({"disabled": true})).await.json_with(200);
    for (query, found) in [
        // A prefix, case-insensitive.
        ("q=mari", &["Maria", "mario"][..]),
        ("q=MARI", &["Maria", "mario"]),
        ("q=aria", &[]),
        ("q=maria", &["Maria"]),
        // Wildcards and quotes are literal.
        ("q=mar_", &["mar_ia"]),
        ("q=mar.", &["mar.ia"]),
        ("q=mar%25", &[]),
        ("q=%25", &[]),
        ("q=_", &[]),
        ("q=%5C", &[]),
        ("q=mar*", &[]),
        ("q=%27%20OR%201%3D1", &[]),
        ("q=M%C3%A1", &[]),
        // With an @, the filter applies to the email.
        ("q=mario_b@", &["mario"]),
        ("q=m%25x@EXAMPLE", &["Maria"]),
        ("q=m%25%25@", &[]),
        ("q=peter@", &["peter@example.com"]),
        ("q=PETER@example.com", &["peter@example.com"]),
        ("q=@", &[]),
        ("q=peter", &["peter@example.com"]),
        ("q=mario_", &[]),
        // All filters must match.
        ("role=reader", &["Maria", "mar_ia"]),
        ("role=admin", &["admin", "peter@example.com"]),
        ("role=nobodys", &[]),
        ("disabled=true", &["mario"]),
        ("q=mar&disabled=false", &["Maria", "mar.ia", "mar_ia"]),
        ("q=mar&role=reader", &["Maria", "mar_ia"]),
        ("q=mar&role=reader&disabled=true", &[]),
        ("role=member&disabled=true", &["mario"]),
        ("q=m%25x@&role=reader&disabled=false", &["Maria"]),
        // Unknown parameters are ignored.
        ("q=maria&sort=name", &["Maria"]),
    ] {
        let names: BTreeSet<_> = names(&admin, query).await.into_iter().collect();
        assert_eq!(names, found.iter().map(|name| (*name).to_owned()).collect(), "{query}");
    }
    assert_eq!(names(&admin, "q=").await.len(), 6, "an empty prefix matches every user");
}

/// Reads a list page by page. Returns the names of its items, and the number of pages.
async fn pages(admin: &Admin, path: &str, name: &str) -> (Vec<String>, usize) {
    let (mut found, mut cursor, mut count) = (Vec::new(), String::new(), 0);
    loop {
        let page = admin.get(&format!("{path}{cursor}")).await.json_with(200);
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|item| item[name].as_str().unwrap().to_owned()));
        count += 1;
        let Some(next) = page["next_cursor"].as_str() else { return (found, count) };
        let plain = next.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        assert!(plain && !next.is_empty(), "{next}");
        cursor = format!("&cursor={next}");
    }
}

async fn all_lists_are_paginated(database: Database) {
    let admin = Admin::start(database).await;
    for at in 0..7 {
        let body = json!({"username": format!("u-{at}"), "email": format!("u-{at}@example.com"), "password": PASSWORD});
        admin.create(&body).await;
        admin.role(&format!("r-{at}"), &[]).await;
        admin.ask("PUT", &format!("/admin/scopes/s:{at}"), &json!({})).await.json_with(201);
        let client = json!({
            "client_id": format!("c-{at}"), "name": "C", "type": "public", "grant_types": ["password"], "scopes": [],
        });
        admin.create_in("/admin/clients", &client).await;
    }
    for (path, name, total) in [
        ("/admin/users?", "username", 8),
        ("/admin/users?q=u-", "username", 7),
        ("/admin/users?q=U-0@", "username", 1),
        ("/admin/users?role=member", "username", 8),
        ("/admin/users?disabled=false", "username", 8),
        ("/admin/users?role=member&disabled=false", "username", 8),
        ("/admin/users?q=u-&role=member&disabled=false", "username", 7),
        ("/admin/roles?", "name", 9),
        ("/admin/scopes?", "name", 18),
        ("/admin/clients?", "client_id", 8),
    ] {
        let (whole, _) = pages(&admin, &format!("{path}&limit=200"), name).await;
        assert_eq!(whole.len(), total, "{path}: {whole:?}");
        for limit in [1, 2, total] {
            let (found, count) = pages(&admin, &format!("{path}&limit={limit}"), name).await;
            assert_eq!((&found, count), (&whole, total.div_ceil(limit)), "{path} by {limit}");
        }
    }
    // A cursor stays valid if its item is deleted between two pages.
    let first = admin.get("/admin/roles?limit=3").await.json_with(200);
    let last = first["items"][2]["name"].as_str().unwrap();
    assert_eq!(admin.delete(&format!("/admin/roles/{last}")).await.status, 204);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = admin.get(&format!("/admin/roles?limit=200&cursor={cursor}")).await.json_with(200);
    assert_eq!(second["items"].as_array().unwrap().len(), 6);
}

async fn invalid_queries_are_refused(database: Database) {
    let admin = Admin::start(database).await;
    for list in ["users", "roles", "scopes", "clients"] {
        for (query, wrong) in [
            ("limit=0", &["limit"][..]),
            ("limit=201", &["limit"]),
            ("limit=-1", &["limit"]),
            ("limit=x", &["limit"]),
            ("limit=", &["limit"]),
            ("limit=1&limit=1", &["limit"]),
            ("cursor=!", &["cursor"]),
            ("cursor=_w", &["cursor"]),
            ("cursor=AA", &["cursor"]),
            ("cursor=a&limit=0", &["cursor", "limit"]),
        ] {
            let wrong: Vec<_> = wrong.iter().map(|field| (*field, "format")).collect();
            admin.get(&format!("/admin/{list}?{query}")).await.wrong_fields(&wrong);
        }
    }
    let long = format!("q={}", "a".repeat(255));
    for (query, wrong) in [
        ("disabled=yes", &[("disabled", "format")][..]),
        ("disabled=", &[("disabled", "format")]),
        ("role=A", &[("role", "format")]),
        ("q=a&q=b", &[("q", "format")]),
        ("q=%00", &[("q", "format")]),
        (&long, &[("q", "length")]),
        ("role=A&disabled=1&limit=0", &[("role", "format"), ("disabled", "format"), ("limit", "format")]),
    ] {
        admin.get(&format!("/admin/users?{query}")).await.wrong_fields(wrong);
    }
}

async fn the_last_administrator_cannot_be_removed(database: Database) {
    let admin = Admin::start(database).await;
    let list = admin.get("/admin/users?q=admin").await.json_with(200);
    let first = format!("/admin/users/{}", list["items"][0]["id"].as_str().unwrap());
    let second = admin.user("second", &["admin"]).await;
    admin.ask("PATCH", &second, &json!({"disabled": true})).await.json_with(200);
    let before = admin.everything().await;
    // A disabled administrator does not count.
    admin.delete(&first).await.problem(409, "conflict");
    admin.ask("PATCH", &first, &json!({"disabled": true})).await.problem(409, "conflict");
    admin.ask("PUT", &format!("{first}/roles"), &json!({"roles": []})).await.problem(409, "conflict");
    assert_eq!(admin.everything().await, before);
    admin.get("/users/me").await.json_with(200);
    // With a second enabled administrator, either can be removed.
    admin.ask("PATCH", &second, &json!({"disabled": false})).await.json_with(200);
    admin.ask("PUT", &format!("{first}/roles"), &json!({"roles": []})).await.json_with(200);
    // The removed scopes no longer count, although the token still has them.
    admin.get("/admin/users").await.lacks("users:read");
    let token = admin.server.login("second", PASSWORD).await;
    let answer = admin.server.request("DELETE", &second).bearer(&token).send().await;
    answer.problem(409, "conflict");
}

async fn any_role_with_users_write_makes_an_administrator(database: Database) {
    let admin = Admin::start(database).await;
    let list = admin.get("/admin/users?q=admin").await.json_with(200);
    let first = format!("/admin/users/{}", list["items"][0]["id"].as_str().unwrap());
    admin.role("helper", &["users:read", "users:write", "roles:write"]).await;
    admin.user("helper", &["helper"]).await;
    assert_eq!(admin.delete(&first).await.status, 204);
    let helper = admin.server.login("helper", PASSWORD).await;
    let ask = |method: &str, path: &str| admin.server.request(method, path).bearer(&helper);
    // This role of the last administrator cannot be deleted, and must keep `users:write`.
    ask("DELETE", "/admin/roles/helper").send().await.problem(409, "conflict");
    let less = ask("PUT", "/admin/roles/helper").json(&json!({"scopes": ["users:read", "roles:write"]}));
    less.send().await.problem(409, "conflict");
    let same = ask("PUT", "/admin/roles/helper").json(&json!({"scopes": ["users:write", "roles:write"]}));
    same.send().await.json_with(200);
}
