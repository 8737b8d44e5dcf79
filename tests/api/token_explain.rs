//! `grantd token explain`: the contents of a token, and whether this server accepts it.

use std::process::Output;

use chrono::Utc;
use serde_json::{Value, json};

use crate::{
    harness::{ADMIN_PASSWORD, Database, Form, Grantd, PASSWORD, grantd, on_both_engines},
    token::claims,
};

on_both_engines!(a_token_is_explained, an_issuer_replaces_the_database);

const VARIABLES: [(&str, &str); 2] =
    [("GRANTD_ISSUER", "http://id.example"), ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)];

struct Explained(Output);

impl Explained {
    fn of(database: &Database, token: &str, flags: &[&str]) -> Self {
        Self(grantd(database.url(), &[&["token", "explain"], flags].concat(), token, &VARIABLES))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.0.stdout).unwrap()
    }

    #[track_caller]
    fn is_refused(&self, why: &str) {
        assert_eq!(self.0.status.code(), Some(1), "{}", self.text());
        assert!(self.text().contains("Refused:") && self.text().contains(why), "{why}: {}", self.text());
    }
}

async fn a_token_is_explained(database: Database) {
    let server = Grantd::start(database.url(), &VARIABLES);
    let body = server.request("POST", "/token").form(&Form::admin()).send().await.json_with(200);
    let token = body["access_token"].as_str().unwrap();
    let explain = |token: &str, flags: &[&str]| Explained::of(&database, token, flags);

    for token in [token.to_owned(), format!("Bearer {token}\n"), format!("authorization: Bearer {token}\n")] {
        let good = explain(&token, &["--scope", "account", "--scope", "users:read"]);
        assert!(good.0.status.success(), "{good:?}", good = good.0);
        let text = good.text();
        for part in ["Header:", "at+jwt", "ES256, active", "username: \"admin\"", "exp: ", "(20", "in 14m", "Accepted."]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let json: Value = serde_json::from_slice(&explain(token, &["--json"]).0.stdout).unwrap();
    assert_eq!(
        (&json["accepted"], &json["refused_because"], &json["claims"]),
        (&json!(true), &json!([]), &claims(token))
    );

    explain(token, &["--scope", "items:read"]).is_refused("it lacks the scope items:read");
    explain(token, &["--token-audience", "https://items.example"])
        .is_refused("it is for http://id.example, not for https://items.example");
    let (head, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{other}{}", &signature[1..]);
    explain(&forged, &[]).is_refused("the signature of the token is wrong");
    explain("nonsense", &[]).is_refused("the token is not a signed JWT");
    let refresh_token = body["refresh_token"].as_str().unwrap();
    for (other, says) in [
        ("\n", "no token on standard input"),
        (refresh_token, "this is a refresh token; explain takes an access token"),
        ("grs_x", "this is a client secret; explain takes an access token"),
    ] {
        let Explained(Output { status, stderr, .. }) = explain(other, &[]);
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(1) && said.contains(says), "{said}");
    }
    let elsewhere = ["token", "explain"];
    let variables = [("GRANTD_ISSUER", "http://other.example"), ("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)];
    Explained(grantd(database.url(), &elsewhere, token, &variables))
        .is_refused("issued by http://id.example; the issuer of this server is http://other.example (GRANTD_ISSUER)");
    // Claims may contain anything; control characters do not reach the terminal.
    let evil = format!("{}.{}.x", base64("{\"kid\":\"\\u001b[2J\"}"), base64("{\"sub\":\"\\u001b[31m\"}"));
    let shown = explain(&evil, &[]);
    shown.is_refused("");
    assert!(!shown.text().contains('\u{1b}'), "{:?}", shown.text());

    grantd(database.url(), &["user", "create", "maria", "--password-stdin"], PASSWORD, &VARIABLES);
    let body = server.request("POST", "/token").form(&Form::password("maria", PASSWORD)).send().await.json_with(200);
    let of_maria = body["access_token"].as_str().unwrap();
    assert!(explain(of_maria, &[]).0.status.success());
    grantd(database.url(), &["user", "disable", "maria"], "", &VARIABLES);
    explain(of_maria, &[]).is_refused("the token was revoked");
    let late = claims(token)["exp"].as_i64().unwrap() - now();
    assert!((0..=900).contains(&late));
}

#[expect(clippy::disallowed_methods, reason = "the program has no other clock")]
fn now() -> i64 {
    Utc::now().timestamp()
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)
}

async fn an_issuer_replaces_the_database(database: Database) {
    // The issuer is the address, so that its metadata is found there.
    let server = Grantd::start(database.url(), &[("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)]);
    let body = server.request("POST", "/token").form(&Form::admin()).send().await.json_with(200);
    let token = body["access_token"].as_str().unwrap();
    let elsewhere = Database::sqlite();
    let issuer = server.url();
    let explain = |issuer: &str, flags: &[&str]| {
        let arguments = [&["token", "explain", "--issuer", issuer], flags].concat();
        Explained(grantd(elsewhere.url(), &arguments, token, &[]))
    };
    let good = explain(issuer, &["--scope", "account", "--token-audience", issuer]);
    assert!(good.0.status.success(), "{:?}", good.0);
    let shown = good.text();
    assert!(shown.contains("username: \"admin\"") && shown.contains("Accepted.\nNot checked: revocations."), "{shown}");
    assert!(explain(issuer, &[]).text().contains("the audience (--token-audience)"));
    explain(issuer, &["--scope", "items:read"]).is_refused("it lacks the scope items:read");
    explain(issuer, &["--token-audience", "https://items.example"]).is_refused("not for https://items.example");

    for (wrong, says) in [("http://127.0.0.1:1", "cannot fetch the signing keys"), ("nonsense", "is refused")] {
        let Explained(output) = explain(wrong, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(wrong) && said.contains(says), "{said}");
    }
    let files: Vec<_> = std::fs::read_dir(elsewhere.directory()).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
    let help = grantd(elsewhere.url(), &["token", "explain", "--help"], "", &[]);
    assert!(String::from_utf8(help.stdout).unwrap().contains("--issuer <URL>"));
}
