//! Whatever is sent: never a 500, and nothing changes.

use proptest::{prelude::*, strategy::ValueTree as _};

use crate::harness::{Database, TestServer};

const FORM: &str = "application/x-www-form-urlencoded";

#[actix_web::test]
async fn no_form_is_a_500() {
    let server = TestServer::start(Database::sqlite()).await;
    let before = server.database().row_counts().await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let name = prop_oneof![
        Just("grant_type".to_owned()),
        Just("username".to_owned()),
        Just("password".to_owned()),
        Just("scope".to_owned()),
        Just("client_id".to_owned()),
        Just("client_secret".to_owned()),
        Just("resource".to_owned()),
        "\\PC{0,8}",
    ];
    let value = prop_oneof![
        Just("password".to_owned()),
        Just("admin".to_owned()),
        "\\PC{0,20}",
        "%[0-9a-fg]{0,2}",
        "[\0-\u{7f}]{0,6}"
    ];
    let forms = proptest::collection::vec((name, value), 0..6);
    for _ in 0..300 {
        let form = forms.new_tree(&mut runner).unwrap().current();
        let body = form.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let answer = server.request("POST", "/token").body(FORM, body.clone()).send().await;
        assert!([400, 401].contains(&answer.status), "{body:?} is answered {}: {}", answer.status, answer.text());
        let error = answer.json_with(answer.status)["error"].as_str().unwrap().to_owned();
        answer.oauth_error(answer.status, &error);
    }
    assert_eq!(server.database().row_counts().await, before);
}

#[actix_web::test]
async fn no_credentials_are_a_500() {
    let server = TestServer::start(Database::sqlite()).await;
    let token = server.admin().await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = prop_oneof![
        "Bearer [!-~]{0,60}",
        "Basic [A-Za-z0-9+/=]{0,40}",
        "[ -~]{0,40}",
        (0..token.len(), "[A-Za-z0-9_.-]")
            .prop_map(move |(at, with)| { format!("Bearer {}{with}{}", &token[..at], &token[at + 1..]) }),
    ];
    for _ in 0..300 {
        let value = strategy.new_tree(&mut runner).unwrap().current();
        let answer = server.get("/users/me").header("Authorization", &value).send().await;
        // A changed character may be the one that was there.
        assert!([200, 400, 401].contains(&answer.status), "{value:?} is answered {}", answer.status);
    }
}
