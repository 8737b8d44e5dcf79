//! Parameters of forms and queries: one syntax, and an error format for each.

use crate::harness::{Admin, Database, Form, NewClient, TestServer, on_both_engines};

on_both_engines!(
    malformed_forms_are_invalid_requests,
    malformed_queries_are_validation_errors,
    a_request_may_name_ten_different_resources,
);

/// Malformed values, in a form and in a query.
const MALFORMED: [&str; 6] = ["%", "%4", "%zz", "%ff", "%c3", "a%+b"];
/// The audiences of a client: more than a request may name.
const AUDIENCES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

async fn malformed_forms_are_invalid_requests(database: Database) {
    let server = TestServer::start(database).await;
    let ask = async |more: &str| {
        let body = format!("{}&{more}", Form::admin().encode());
        server.request("POST", "/token").body("application/x-www-form-urlencoded", body).send().await
    };
    for malformed in MALFORMED.into_iter().chain(["%00", "\0"]) {
        ask(&format!("more={malformed}")).await.oauth_error(400, "invalid_request");
        ask(&format!("{malformed}=more")).await.oauth_error(400, "invalid_request");
    }
    ask("scope=account&scope=account").await.oauth_error(400, "invalid_request");
    ask("scope=&scope=").await.oauth_error(400, "invalid_request");
    // Unknown parameters are ignored, also where they are repeated.
    for ignored in ["", "&&", "more", "more=1&more=2", "=", "=1", "a=b=c", "m%C3%A4hr=%E2%82%AC"] {
        ask(ignored).await.json_with(200);
    }
}

async fn malformed_queries_are_validation_errors(database: Database) {
    let admin = Admin::start(database).await;
    let lists = ["/admin/users", "/admin/roles", "/admin/audit-events", "/admin/signing-keys", "/users/me/sessions"];
    for path in lists.into_iter().chain(["/verify", "/revocations"]) {
        let ask = async |query: &str| admin.get(&format!("{path}?{query}")).await;
        for malformed in MALFORMED {
            ask(&format!("q={malformed}")).await.wrong_fields(&[("query", "format")]);
            ask(&format!("{malformed}=q")).await.wrong_fields(&[("query", "format")]);
        }
        ask("q=a%00b").await.wrong_fields(&[("q", "format")]);
        ask("a%00b=q").await.wrong_fields(&[("ab", "format")]);
        for ignored in ["", "&&", "more", "more=1&more=2", "=", "=1", "more=b=c", "m%C3%A4hr=%E2%82%AC"] {
            assert!([200, 204].contains(&ask(ignored).await.status), "{path}?{ignored}");
        }
    }
    admin.get("/verify?scope=account&scope=account").await.wrong_fields(&[("scope", "format")]);
    assert_eq!(admin.get("/verify?scope=account+users%3Aread").await.status, 204);
}

async fn a_request_may_name_ten_different_resources(database: Database) {
    let server = TestServer::start(database).await;
    server
        .create_client(NewClient { id: "many", confidential: false, audiences: &AUDIENCES, ..NewClient::default() })
        .await;
    let form = || Form::admin().and("client_id", "many");
    let ten = AUDIENCES[..10].iter().fold(form(), |form, resource| form.and("resource", resource));
    server.token(&ten).send().await.json_with(200);
    // Repeated ones count once.
    let repeated = (0..1_000).fold(ten.clone(), |form, _| form.and("resource", "j"));
    server.token(&repeated).send().await.json_with(200);
    server.token(&ten.and("resource", "k")).send().await.oauth_error(400, "invalid_target");
    let thousand = (0..1_000).fold(form(), |form, n| form.and("resource", &n.to_string()));
    server.token(&thousand).send().await.oauth_error(400, "invalid_target");
    // Without `resource` the token has all of them.
    server.token(&form()).send().await.json_with(200);
}
