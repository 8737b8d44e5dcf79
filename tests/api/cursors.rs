//! A cursor is valid only for its list: other lists refuse it, and so does the same list in another order.

use serde_json::json;

use crate::harness::{ADMIN_PASSWORD, Admin, Database, PASSWORD, on_both_engines};

on_both_engines!(a_cursor_is_accepted_by_its_list_only, modified_and_invalid_cursors_are_refused);

/// Every list that has a second page, in each of its orders.
const LISTS: [&str; 8] = [
    "/admin/users?limit=1",
    "/admin/users?limit=1&q=ad",
    "/admin/users?limit=1&q=ad@",
    "/admin/roles?limit=1",
    "/admin/scopes?limit=1",
    "/admin/clients?limit=1",
    "/admin/audit-events?limit=1",
    "/users/me/sessions?limit=1",
];

/// Starts a server on which each of these lists has at least two items.
async fn start(database: Database) -> Admin {
    let admin = Admin::start(database).await;
    // The same names in several lists, so that cursors of different lists have the same key.
    for (username, email) in [("ada", "ad@a.example"), ("adb", "ad@b.example")] {
        admin.create(&json!({"username": username, "email": email, "password": PASSWORD})).await;
        admin.role(username, &[]).await;
        admin.ask("PUT", &format!("/admin/scopes/{username}"), &json!({})).await.json_with(201);
        let client =
            json!({"client_id": username, "name": "C", "type": "public", "grant_types": ["password"], "scopes": []});
        admin.create_in("/admin/clients", &client).await;
    }
    admin.server.login("admin", ADMIN_PASSWORD).await;
    admin
}

/// Returns the cursor of the second page.
async fn cursor(admin: &Admin, list: &str) -> String {
    let page = admin.get(list).await.json_with(200);
    let cursor = page["next_cursor"].as_str().unwrap_or_else(|| panic!("{list} has one page: {page}"));
    assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{cursor}");
    cursor.to_owned()
}

async fn a_cursor_is_accepted_by_its_list_only(database: Database) {
    let admin = start(database).await;
    for from in LISTS {
        let cursor = cursor(&admin, from).await;
        for to in LISTS {
            let answer = admin.get(&format!("{to}&cursor={cursor}")).await;
            if from == to {
                assert_eq!(answer.json_with(200)["items"].as_array().unwrap().len(), 1, "{from}");
            } else {
                assert_eq!(answer.status, 422, "a cursor of {from} is accepted by {to}");
                answer.wrong_fields(&[("cursor", "format")]);
            }
        }
        let keys = admin.get(&format!("/admin/signing-keys?cursor={cursor}")).await;
        keys.wrong_fields(&[("cursor", "unknown")]);
    }
    // Another search accepts it only if the search would find the key of the cursor.
    let cursor = cursor(&admin, "/admin/users?limit=1&q=ad").await;
    for (q, is_accepted) in [("ada", true), ("AD", true), ("a", true), ("adb", false), ("b", false), ("admin", false)] {
        let answer = admin.get(&format!("/admin/users?q={q}&cursor={cursor}")).await;
        if is_accepted {
            answer.json_with(200);
        } else {
            answer.wrong_fields(&[("cursor", "format")]);
        }
    }
}

async fn modified_and_invalid_cursors_are_refused(database: Database) {
    let admin = start(database).await;
    for list in LISTS {
        let cursor = cursor(&admin, list).await;
        let (cut, extended) = (&cursor[..cursor.len() - 2], format!("{cursor}AAAA"));
        let encoded = format!("%{:02x}{}", cursor.as_bytes()[0], &cursor[1..]);
        assert_eq!(admin.get(&format!("{list}&cursor={encoded}")).await.status, 200, "the query is decoded");
        // Only the first byte, and all but the first byte.
        let refused = [&cursor[..2], &cursor[2..], "", "AA", "__8", "=", "%2B", "%2F"].map(str::to_owned);
        let padded = [format!("{cursor}="), format!("{cursor}=="), format!("{cursor}%20"), format!("%0A{cursor}")];
        for wrong in refused.into_iter().chain(padded) {
            admin.get(&format!("{list}&cursor={wrong}")).await.wrong_fields(&[("cursor", "format")]);
        }
        // A list of names accepts any key, a list of ids only a whole id.
        let is_of_ids = ["/admin/users?limit=1", "/admin/audit-events?limit=1", "/users/me/sessions?limit=1"];
        if is_of_ids.contains(&list) {
            for wrong in [cut, &extended] {
                admin.get(&format!("{list}&cursor={wrong}")).await.wrong_fields(&[("cursor", "format")]);
            }
        }
    }
}
