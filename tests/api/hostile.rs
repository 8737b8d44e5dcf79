//! Generated input gets a documented error, never a 500. (The parsers have property tests of their own.)

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

use crate::harness::{ADMIN_PASSWORD, Answer, Database, Form, Request, TestServer};

/// Sends generated requests to a server on each engine, and checks each response. At the end, nothing may have changed.
fn each<T: std::fmt::Debug>(
    strategy: &impl Strategy<Value = T>,
    request: impl Fn(&TestServer, &T) -> Request,
    check: impl Fn(&T, &Answer) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let databases = [Some(Database::sqlite()), runtime.block_on(Database::postgres())];
    for database in databases.into_iter().flatten() {
        // Without limits of failures: each case is answered for what it is.
        let flags = ["--login-failures", "off", "--network-failures", "off"];
        let server = runtime.block_on(TestServer::with(database, &flags));
        let before = runtime.block_on(server.database().row_counts());
        let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
        let sent = |runtime: &Runtime, value: &T| runtime.block_on(request(&server, value).send());
        let done = TestRunner::new(config).run(strategy, |value| check(&value, &sent(&runtime, &value)));
        if let Err(error) = done {
            panic!("{error}");
        }
        assert_eq!(runtime.block_on(server.database().row_counts()), before);
    }
}

/// Checks that the response is any well-formed error of the OAuth endpoints.
fn is_oauth_error(answer: &Answer) -> Result<(), TestCaseError> {
    prop_assert!([400, 401, 413].contains(&answer.status), "{} {}", answer.status, answer.text());
    let error = answer.json_with(answer.status)["error"].as_str().unwrap().to_owned();
    answer.oauth_error(answer.status, &error);
    Ok(())
}

#[test]
fn any_bytes_as_a_form() {
    let pieces = prop_oneof![
        Just(b"grant_type=password".to_vec()),
        Just(b"username=admin".to_vec()),
        Just(b"password=".to_vec()),
        Just(b"scope=".to_vec()),
        Just(b"client_id=".to_vec()),
        Just(b"client_secret=".to_vec()),
        Just(b"resource=".to_vec()),
        Just(b"&".to_vec()),
        Just(b"&&=".to_vec()),
        Just(b"%00".to_vec()),
        Just(b"%".to_vec()),
        Just(b"+".to_vec()),
        Just(b"%F0%9F%8C%BB".to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    let bodies = prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat());
    let request = |server: &TestServer, body: &Vec<u8>| {
        server.request("POST", "/token").body("application/x-www-form-urlencoded", body.clone())
    };
    each(&bodies, request, |_, answer| is_oauth_error(answer));
}

#[test]
fn any_text_in_any_parameter() {
    let names =
        prop::sample::select(vec!["grant_type", "username", "password", "scope", "client_id", "resource", "more"]);
    let values = prop_oneof!["\\PC{0,40}", "[\\x00-\\x7f]{0,20}", "(account|users:read| |\"|\\\\){0,5}"];
    let request = |server: &TestServer, (name, value): &(&str, String)| {
        // The password is wrong, so that none of them may succeed.
        server.token(&Form::admin().set("password", "wrong").set(name, value))
    };
    each(&(names, values), request, |(name, value), answer| {
        prop_assume!(*name != "password" || value != ADMIN_PASSWORD);
        is_oauth_error(answer)
    });
}

#[test]
fn any_authorization_at_the_token_endpoint() {
    let headers = prop_oneof![
        "Basic [A-Za-z0-9+/]{0,24}={0,3}",
        "(Basic|Bearer|basic|) {0,3}[ -~]{0,30}",
        "[ -~]{0,30}",
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| {
            use base64::Engine as _;
            format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(bytes))
        }),
    ];
    let request = |server: &TestServer, value: &String| {
        server.token(&Form::admin().set("password", "wrong")).header("Authorization", value.trim())
    };
    each(&headers, request, |_, answer| is_oauth_error(answer));
}

#[test]
fn any_bearer_token() {
    let parts = "[A-Za-z0-9_-]{0,40}";
    let tokens = prop_oneof![
        (parts, parts, parts).prop_map(|(head, payload, signature)| format!("{head}.{payload}.{signature}")),
        "[!-~]{0,60}".prop_map(String::from),
        (0_usize..200).prop_map(|dots| ".".repeat(dots)),
        r#"\{"(alg|kid|typ|crit)":"[a-zA-Z0-9+]{0,8}"\}"#.prop_map(|head| {
            use base64::Engine as _;
            let part = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(head);
            format!("{part}.{part}.{part}")
        }),
    ];
    let request = |server: &TestServer, token: &String| {
        server.get("/users/me").header("Authorization", format!("Bearer {token}"))
    };
    each(&tokens, request, |_, answer| {
        prop_assert!([400, 401].contains(&answer.status), "{} {}", answer.status, answer.text());
        let kind = if answer.status == 400 { "invalid-request" } else { "invalid-token" };
        answer.problem(answer.status, kind);
        prop_assert!(answer.header("www-authenticate").starts_with("Bearer realm=\"grantd\", error=\""));
        Ok(())
    });
}

#[test]
fn any_path() {
    let paths = "/(users/me|token|docs/|\\.well-known/|%[0-9a-f]{2}|%2e%2e|[a-zA-Z0-9.;:@&=+$,/_~-]|\\?){0,12}";
    let request = |server: &TestServer, path: &String| server.get(path);
    each(&paths, request, |_, answer| {
        prop_assert!(answer.status < 500, "{}", answer.status);
        prop_assert_eq!(answer.headers_named("x-request-id").len(), 1);
        Ok(())
    });
}
