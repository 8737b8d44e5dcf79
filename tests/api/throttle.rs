//! Password guessing is throttled, and nobody can lock somebody else out by guessing.

use chrono::Duration;
use serde_json::{Value, json};

use crate::harness::{Answer, Database, Form, NewClient, PASSWORD, TestServer, on_both_engines};

on_both_engines!(
    ten_failures_are_free_then_the_wait_doubles,
    refused_attempts_lengthen_nothing,
    a_known_network_has_a_budget_of_its_own,
    a_device_has_a_budget_of_its_own,
    device_tokens_end_when_somebody_else_sets_the_password,
    a_network_has_a_budget_for_all_accounts,
    a_success_gives_back_its_own_attempt_only,
    right_passwords_at_once_are_not_refused,
    wrong_client_secrets_are_charged_to_the_network,
    basic_and_password_changes_share_the_budget,
    an_administrator_unlocks_an_account,
    the_first_refusal_of_a_series_is_recorded,
);

pub(crate) const PROXY: [&str; 2] = ["--trusted-proxies", "127.0.0.1"];

/// Networks of the owner, and of strangers.
pub(crate) const HOME: &str = "198.51.100.7";
pub(crate) const AWAY: &str = "203.0.113.9";
pub(crate) const STRANGER: &str = "192.0.2.1";

pub(crate) async fn start(database: Database) -> TestServer {
    let server = TestServer::with(database, &PROXY).await;
    server.create_user("maria", &["admin"]).await;
    server
}

pub(crate) async fn try_from(server: &TestServer, address: &str, form: &Form) -> Answer {
    server.token(form).header("X-Forwarded-For", address).send().await
}

/// Presents a wrong password. Returns the status, and the seconds to wait if it is 429.
pub(crate) async fn guess(server: &TestServer, address: &str, name: &str) -> (u16, Option<u64>) {
    let answer = try_from(server, address, &Form::password(name, "wrong")).await;
    if answer.status != 429 {
        answer.oauth_error(400, "invalid_grant");
        return (400, None);
    }
    answer.oauth_error(429, "slow_down");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert_eq!(answer.header("ratelimit-policy"), "\"login\";q=10;w=3600");
    assert_eq!(answer.header("ratelimit"), format!("\"login\";r=0;t={wait}"));
    (429, Some(wait))
}

/// Uses up the free failures of an account, from networks that it does not know.
pub(crate) async fn use_up(server: &TestServer, name: &str) {
    for _ in 0..10 {
        assert_eq!(guess(server, STRANGER, name).await, (400, None));
    }
    assert_eq!(guess(server, "192.0.2.2", name).await.0, 429);
}

async fn ten_failures_are_free_then_the_wait_doubles(database: Database) {
    let server = start(database).await;
    for _ in 0..10 {
        for name in ["maria", "nobody"] {
            assert_eq!(guess(&server, STRANGER, name).await, (400, None));
        }
    }
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        let hashes = server.app.passwords.hashes_run();
        // Names that do not exist alike, to the byte but for the request id.
        for name in ["maria", "nobody"] {
            // Each from a network of its own: that of the guesses has a limit, too.
            assert_eq!(guess(&server, "192.0.2.77", name).await, (429, Some(wait)), "{name}");
        }
        let right = try_from(&server, AWAY, &Form::password("maria", PASSWORD)).await;
        right.oauth_error(429, "slow_down");
        assert_eq!(server.app.passwords.hashes_run(), hashes, "nothing is hashed");
        server.advance(Duration::seconds(i64::try_from(wait).unwrap()) - Duration::microseconds(1));
        assert_eq!(guess(&server, STRANGER, "maria").await, (429, Some(1)));
        server.advance(Duration::microseconds(1));
        for name in ["maria", "nobody"] {
            assert_eq!(guess(&server, STRANGER, name).await, (400, None), "one attempt after {wait} s");
        }
    }
    // All are free again after a window without failures.
    server.advance(Duration::hours(1));
    use_up(&server, "maria").await;
}

async fn refused_attempts_lengthen_nothing(database: Database) {
    let server = start(database).await;
    use_up(&server, "maria").await;
    server.advance(Duration::milliseconds(500));
    for _ in 0..20 {
        assert_eq!(guess(&server, STRANGER, "maria").await, (429, Some(1)));
    }
    server.advance(Duration::milliseconds(500));
    let answer = try_from(&server, AWAY, &Form::password("maria", PASSWORD)).await;
    assert_eq!(answer.status, 200);
}

async fn a_known_network_has_a_budget_of_its_own(database: Database) {
    let server = start(database).await;
    let right = Form::password("maria", PASSWORD);
    assert_eq!(try_from(&server, HOME, &right).await.status, 200);
    use_up(&server, "maria").await;
    for _ in 0..3 {
        assert_eq!(try_from(&server, HOME, &right).await.status, 200);
    }
    try_from(&server, AWAY, &right).await.oauth_error(429, "slow_down");
    // The network of a pair is not charged: others behind the same address log in.
    for _ in 0..10 {
        assert_eq!(guess(&server, HOME, "maria").await, (400, None));
    }
    assert_eq!(guess(&server, HOME, "maria").await, (429, Some(1)));
    server.advance(Duration::seconds(1));
    // A success clears it.
    assert_eq!(try_from(&server, HOME, &right).await.status, 200);
    for _ in 0..10 {
        assert_eq!(guess(&server, HOME, "maria").await, (400, None));
    }
    // It is known for 90 days, from the last login on.
    server.advance(Duration::days(89));
    assert_eq!(try_from(&server, HOME, &right).await.status, 200);
    server.advance(Duration::days(89));
    use_up(&server, "maria").await;
    assert_eq!(guess(&server, HOME, "maria").await, (400, None));
    server.advance(Duration::days(2));
    use_up(&server, "maria").await;
    try_from(&server, HOME, &right).await.oauth_error(429, "slow_down");
}

pub(crate) async fn device_token(server: &TestServer, name: &str, address: &str) -> String {
    let answer = try_from(server, address, &Form::password(name, PASSWORD)).await.json_with(200);
    let token = answer["device_token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("grd_"), "{token}");
    token
}

async fn a_device_has_a_budget_of_its_own(database: Database) {
    let server = start(database).await;
    server.create_user("otto", &[]).await;
    let (maria, otto) = (device_token(&server, "maria", HOME).await, device_token(&server, "otto", HOME).await);
    use_up(&server, "maria").await;
    let right = Form::password("maria", PASSWORD);
    // That of another user, and malformed ones, are ignored.
    let typo = format!("{}{}", &maria[..maria.len() - 2], if maria.ends_with("AA") { "BA" } else { "AA" });
    for token in [&otto, &typo, "grd_", "x", ""] {
        try_from(&server, AWAY, &right.clone().and("device_token", token)).await.oauth_error(429, "slow_down");
    }
    let with_token = right.clone().and("device_token", &maria);
    let answer = try_from(&server, AWAY, &with_token).await.json_with(200);
    // The next token is one of the same device.
    let next = answer["device_token"].as_str().unwrap();
    let wrong = |token: &str| Form::password("maria", "wrong").and("device_token", token);
    for token in [&*maria, next].into_iter().cycle().take(10) {
        try_from(&server, "203.0.113.10", &wrong(token)).await.oauth_error(400, "invalid_grant");
    }
    for token in [&maria, next] {
        try_from(&server, "203.0.113.10", &wrong(token)).await.oauth_error(429, "slow_down");
    }
    // Neither a password nor a token.
    server.get("/users/me").bearer(&maria).send().await.problem(401, "invalid-token");
    server.advance(Duration::seconds(1));
    assert_eq!(try_from(&server, "203.0.113.10", &with_token).await.status, 200);
    // It is good for 180 days.
    server.advance(Duration::days(180) - Duration::seconds(2));
    use_up(&server, "maria").await;
    assert_eq!(try_from(&server, "203.0.113.11", &with_token).await.status, 200);
    server.advance(Duration::seconds(2));
    assert_eq!(guess(&server, STRANGER, "maria").await, (400, None));
    try_from(&server, "203.0.113.12", &with_token).await.oauth_error(429, "slow_down");
}

async fn device_tokens_end_when_somebody_else_sets_the_password(database: Database) {
    let server = start(database).await;
    let otto = server.create_user("otto", &[]).await;
    let token = device_token(&server, "otto", HOME).await;
    let access = server.login("otto", PASSWORD).await;
    server.advance(Duration::seconds(1));
    let own = json!({"current_password": PASSWORD, "new_password": "seven purple staplers"});
    let changed = server.request("PUT", "/users/me/password").bearer(&access).json(&own).send().await;
    assert_eq!(changed.status, 204);
    use_up(&server, "otto").await;
    let login = |password: &str| Form::password("otto", password).and("device_token", &token);
    assert_eq!(try_from(&server, AWAY, &login("seven purple staplers")).await.status, 200);
    server.set_password(&otto, "eight yellow staplers").await;
    try_from(&server, "203.0.113.10", &login("eight yellow staplers")).await.oauth_error(429, "slow_down");
}

async fn a_network_has_a_budget_for_all_accounts(database: Database) {
    let server = start(database).await;
    let right = Form::password("maria", PASSWORD);
    for attempt in 0..100 {
        // Addresses of one network.
        let address = format!("2001:db8:1:2::{attempt:x}");
        assert_eq!(guess(&server, &address, &format!("name-{attempt}")).await, (400, None));
    }
    assert_eq!(guess(&server, "2001:db8:1:2:ffff::1", "name").await, (429, Some(1)));
    try_from(&server, "2001:db8:1:2::1", &right).await.oauth_error(429, "slow_down");
    assert_eq!(try_from(&server, "2001:db8:1:3::1", &right).await.status, 200);
    // The waits of a network double to 5 minutes.
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        assert_eq!(guess(&server, "2001:db8:1:2::", "name").await, (429, Some(wait)));
        server.advance(Duration::seconds(i64::try_from(wait).unwrap()));
        assert_eq!(guess(&server, "2001:db8:1:2::", &format!("name {wait}")).await, (400, None));
    }
}

async fn a_success_gives_back_its_own_attempt_only(database: Database) {
    let server = start(database).await;
    for _ in 0..9 {
        assert_eq!(guess(&server, STRANGER, "maria").await, (400, None));
    }
    // From networks that are not known.
    for number in 0..5 {
        let answer = try_from(&server, &format!("203.0.113.{number}"), &Form::password("maria", PASSWORD)).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(guess(&server, STRANGER, "maria").await, (400, None));
    assert_eq!(guess(&server, STRANGER, "maria").await, (429, Some(1)));
    // A right password of a disabled user is no guess either.
    let otto = server.create_user("otto", &[]).await;
    server.set_disabled(&otto, true).await;
    for _ in 0..12 {
        try_from(&server, AWAY, &Form::password("otto", PASSWORD)).await.oauth_error(400, "invalid_grant");
    }
    assert_eq!(guess(&server, STRANGER, "otto").await, (400, None));
}

async fn right_passwords_at_once_are_not_refused(database: Database) {
    let server = TestServer::with(database, &[&PROXY[..], &["--hash-wait", "60s"]].concat()).await;
    server.create_user("maria", &[]).await;
    for _ in 0..9 {
        assert_eq!(guess(&server, STRANGER, "maria").await, (400, None));
    }
    let form = Form::password("maria", PASSWORD);
    let logins = (0..30).map(|_| tokio::spawn(server.token(&form).header("X-Forwarded-For", AWAY).send()));
    for login in logins.collect::<Vec<_>>() {
        assert_eq!(login.await.unwrap().status, 200);
    }
}

async fn wrong_client_secrets_are_charged_to_the_network(database: Database) {
    let server = start(database).await;
    let grants: &[&str] = &["client_credentials"];
    let secret = server.create_client(NewClient { grants, ..NewClient::default() }).await;
    let form = Form::of(&[("grant_type", "client_credentials")]);
    let send = async |path: &str, id: &str, secret: &str| {
        let request = server.request("POST", path).form(&form.clone().and("token", "x")).basic(id, secret);
        request.header("X-Forwarded-For", STRANGER).send().await
    };
    for number in 0..100 {
        let (path, id) = if number % 2 == 0 { ("/token", "back-office") } else { ("/introspect", "nobody") };
        send(path, id, "grs_wrong").await.oauth_error(401, "invalid_client");
    }
    let refused = send("/token", "back-office", "grs_wrong").await;
    refused.oauth_error(429, "slow_down");
    assert_eq!(refused.header("retry-after"), "1");
    let feed = server.get("/revocations").basic("back-office", "grs_wrong").header("X-Forwarded-For", STRANGER);
    feed.send().await.problem(429, "too-many-requests");
    // A right secret always passes, and costs no statement of the throttle.
    assert_eq!(send("/token", "back-office", &secret).await.status, 200);
    let budgets = "SELECT count(*) FROM throttle";
    let before = server.database().number(budgets).await;
    assert_eq!(send("/introspect", "back-office", &secret).await.status, 200);
    assert_eq!(server.database().number(budgets).await, before);
    // The same network cannot guess passwords either.
    assert_eq!(guess(&server, STRANGER, "maria").await.0, 429);
}

async fn basic_and_password_changes_share_the_budget(database: Database) {
    let server = start(database).await;
    let token = server.login("maria", PASSWORD).await;
    let basic = |password: &str| server.get("/users/me").basic_user("maria", password);
    for number in 0..5 {
        let wrong = basic(&format!("wrong {number}")).header("X-Forwarded-For", STRANGER).send().await;
        wrong.problem(401, "unauthorized");
        let body = json!({"current_password": "wrong", "new_password": "seven purple staplers"});
        let change = server.request("PUT", "/users/me/password").bearer(&token).json(&body);
        change.header("X-Forwarded-For", STRANGER).send().await.wrong_fields(&[("current_password", "format")]);
    }
    let refused = basic(PASSWORD).header("X-Forwarded-For", STRANGER).send().await;
    refused.problem(429, "too-many-requests");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("ratelimit"), "\"login\";r=0;t=1");
    let body = json!({"current_password": PASSWORD, "new_password": "seven purple staplers"});
    let change = server.request("PUT", "/users/me/password").bearer(&token).json(&body);
    change.header("X-Forwarded-For", STRANGER).send().await.problem(429, "too-many-requests");
    assert_eq!(guess(&server, STRANGER, "maria").await.0, 429);
    // A pair that is remembered passes without an attempt.
    assert_eq!(basic(PASSWORD).send().await.status, 200);
    for _ in 0..3 {
        assert_eq!(guess(&server, "127.0.0.2", "maria").await.0, 429);
        assert_eq!(basic(PASSWORD).send().await.status, 200);
    }
    // It is remembered for its own address: elsewhere, it would tell a guesser without a limit which password is right.
    let elsewhere = basic(PASSWORD).header("X-Forwarded-For", STRANGER).send().await;
    elsewhere.problem(429, "too-many-requests");
}

pub(crate) async fn events(server: &TestServer, token: &str, kind: &str) -> Vec<Value> {
    let page = server.get(&format!("/admin/audit-events?kind={kind}")).bearer(token).send().await.json_with(200);
    page["items"].as_array().unwrap().clone()
}

async fn an_administrator_unlocks_an_account(database: Database) {
    let server = start(database).await;
    let otto = server.create_user("otto", &[]).await;
    let device = device_token(&server, "otto", HOME).await;
    use_up(&server, "otto").await;
    let of_device = Form::password("otto", "wrong").and("device_token", &device);
    for _ in 0..10 {
        assert_eq!(guess(&server, HOME, "otto").await, (400, None));
        try_from(&server, AWAY, &of_device).await.oauth_error(400, "invalid_grant");
    }
    assert_eq!(guess(&server, HOME, "otto").await.0, 429);
    let admin = server.admin().await;
    let path = format!("/admin/users/{}/unlock", otto.id);
    assert_eq!(server.request("POST", &path).bearer(&admin).send().await.status, 204);
    assert_eq!(guess(&server, "203.0.113.10", "otto").await, (400, None));
    assert_eq!(guess(&server, HOME, "otto").await, (400, None));
    try_from(&server, AWAY, &of_device).await.oauth_error(400, "invalid_grant");
    let unlocked = events(&server, &admin, "user.unlocked").await;
    assert_eq!(unlocked.len(), 1);
    assert_eq!((unlocked[0]["subject"].clone(), &unlocked[0]["outcome"]), (json!(otto.id), &json!("success")));
    let missing = "/admin/users/019c0000-0000-7000-8000-000000000000/unlock";
    server.request("POST", missing).bearer(&admin).send().await.problem(404, "not-found");
}

async fn the_first_refusal_of_a_series_is_recorded(database: Database) {
    let server = start(database).await;
    let otto = server.create_user("otto", &[]).await;
    use_up(&server, "otto").await;
    for _ in 0..5 {
        assert_eq!(guess(&server, STRANGER, "otto").await.0, 429);
    }
    let admin = server.admin().await;
    let throttled = events(&server, &admin, "login.throttled").await;
    assert_eq!(throttled.len(), 1, "{throttled:?}");
    assert_eq!(throttled[0]["subject"], json!(otto.id));
    assert_eq!(throttled[0]["address"], "192.0.2.2");
    assert_eq!(throttled[0]["details"], json!({"budget": "account"}));
    let refusals = server.app.throttle.refusals();
    assert_eq!(refusals.of(grantd::throttle::Budget::Account), 6);
}
