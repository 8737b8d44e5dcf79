//! A login of an unknown user gets the same response as a wrong password, after the same statements and hashes, whatever the kind
//! of the user's hash.

use std::collections::BTreeMap;

use grantd::passwords::NO_PASSWORD;

use crate::harness::{Database, Form, NewClient, PASSWORD, Request, TestServer, on_both_engines};

on_both_engines!(
    unknown_users_and_wrong_passwords_cost_the_same,
    every_kind_of_user_gets_the_same_response,
    requests_that_are_refused_early_cause_no_hash,
);

/// Wrong passwords are hashed, however many there are.
const NO_LIMITS: [&str; 4] = ["--login-failures", "off", "--network-failures", "off"];

/// Users whose password has another hash than Argon2id with the parameters in force: those of other systems, one with other
/// parameters, and none.
const OTHER_HASHES: [(&str, &str); 8] = [
    ("bcrypt", "$2y$04$DSanBtXLkDogAJ9tbSqPJ.LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpS"),
    ("bcrypt-sha256", "bcrypt_sha256$$2b$04$WYdOGjrE1COcRLMC9FkpEOixQ/aXOEek.VtWJgdbeqCw0htVs.ZE6"),
    ("pbkdf2", "pbkdf2_sha256$1000$Xq3sEasalt$zbClmnLClYlC0PGfXYUr4U0tUIgUHKNTtHoATTF1CSQ="),
    ("pbkdf2-hex", "pbkdf2:sha1:1000$V1bhDVFy$fc7a367fbd54c9d3f35061aaf8d2d1e5a9dcd82b"),
    (
        "scrypt",
        "scrypt$1024$Xq3sEasalt$8$5$w7baGRyVwCI++0JcByDJEPUUt1Y6FJayggeUQa/E2oXkXy+M5qji+5FJgZ3pl5oSZ1MQbHZ0xYJJ6ZRFLZ1SPA==",
    ),
    ("argon2i", "$argon2i$m=64,t=2,p=2$c29tZXNhbHQwMTIz$CWt27et5WdSbc3pdxbR8omekB7wrYh3w"),
    ("argon2id", "$argon2id$v=19$m=64,t=2,p=4$WHEzc0Vhc2FsdA$0kVXduXcqC8pAfrjmC/ki2A5/XWCpfCZtuIrBSTiySI"),
    ("none", NO_PASSWORD),
];

/// Returns the number of statements and hashes of one request.
async fn work(server: &TestServer, form: &Form) -> (u64, u64) {
    let app = &server.app;
    let before = (app.store.statements_run(), app.passwords.hashes_run());
    server.token(form).send().await;
    (app.store.statements_run() - before.0, app.passwords.hashes_run() - before.1)
}

/// How often each pair of these numbers occurred.
type Distribution = BTreeMap<(u64, u64), usize>;

async fn unknown_users_and_wrong_passwords_cost_the_same(database: Database) {
    let server = TestServer::with(database, &NO_LIMITS).await;
    server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &["admin"]).await.unwrap();
    let disabled = server.create_user("otto", &[]).await;
    server.set_disabled(&disabled, true).await;
    let names = ["maria", "nobody", "maria@example.com", "nobody@example.com", "otto", "not a name"];
    let mut work_of: BTreeMap<&str, Distribution> = BTreeMap::new();
    // Warms up: the first request may cause more statements.
    work(&server, &Form::password("maria", "wrong")).await;
    // In turns, so that background work affects all names alike.
    for round in 0..20 {
        for name in names {
            let done = work(&server, &Form::password(name, &format!("wrong {round}"))).await;
            *work_of.entry(name).or_default().entry(done).or_default() += 1;
        }
    }
    let expected = work_of["maria"].clone();
    assert!(expected.keys().all(|(statements, hashes)| *statements > 0 && *hashes == 1), "{expected:?}");
    for (name, distribution) in &work_of {
        assert_eq!(*distribution, expected, "{name}");
    }

    // Also if the stored hash has other parameters: only the right password replaces it.
    let database = server.stop();
    let server = TestServer::with(database, &[&NO_LIMITS[..], &["--hash-memory", "16KiB"]].concat()).await;
    work(&server, &Form::password("maria", "wrong")).await;
    let wrong = work(&server, &Form::password("maria", "wrong")).await;
    assert_eq!(work(&server, &Form::password("nobody", "wrong")).await, wrong);
    assert_eq!(work(&server, &Form::password("maria", PASSWORD)).await.1, 2);
    assert_eq!(work(&server, &Form::password("maria", PASSWORD)).await.1, 1);
}

/// Presents a username and a password.
type Way<'w> = &'w dyn Fn(&str, &str) -> Request;

async fn every_kind_of_user_gets_the_same_response(database: Database) {
    let server = TestServer::with(database, &NO_LIMITS).await;
    let secret = server.create_client(NewClient::default()).await;
    server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &["admin"]).await.unwrap();
    let disabled = server.create_user("otto", &[]).await;
    server.set_disabled(&disabled, true).await;
    for (name, hash) in OTHER_HASHES {
        server.create_user(name, &[]).await;
        let change = format!("UPDATE users SET password_hash = '{hash}' WHERE username = '{name}'");
        assert_eq!(server.database().execute(&change).await.unwrap(), 1);
    }
    let known = ["maria", "MARIA", "maria@example.com", "otto"].into_iter().chain(OTHER_HASHES.map(|(name, _)| name));
    let names: Vec<&str> = known.chain(["nobody@example.com", "not a name", "admin2", "\u{e9}"]).collect();

    // Every way in which a stranger can present a password. In a problem, the request id is part of the body.
    let ways: [(&str, Way<'_>); 3] = [
        ("the client default", &|name, password| server.token(&Form::password(name, password))),
        ("a confidential client", &|name, password| {
            server.token(&Form::password(name, password)).basic("back-office", &secret)
        }),
        ("HTTP Basic", &|name, password| {
            server.get("/users/me").basic_user(name, password).header("X-Request-Id", "the-same")
        }),
    ];
    for (way, request) in ways {
        // Not ASCII and not in NFC: another system may have hashed the bytes as they are.
        for password in ["wrong", "cafe\u{301}"] {
            let answer = async |name: &str| {
                let before = (server.app.store.statements_run(), server.app.passwords.hashes_run());
                let answer = request(name, password).send().await.to_the_byte();
                let after = (server.app.store.statements_run(), server.app.passwords.hashes_run());
                (answer, after.0 - before.0, after.1 - before.1)
            };
            // Warms up: the first request may cause more statements.
            answer("nobody").await;
            let expected = answer("nobody").await;
            assert_eq!(expected.2, 1, "{way}");
            for name in &names {
                assert_eq!(answer(name).await, expected, "{way}: {name}");
            }
        }
    }
}

async fn requests_that_are_refused_early_cause_no_hash(database: Database) {
    let server = TestServer::start(database).await;
    server.create_client(NewClient::default()).await;
    for form in [
        Form::password("maria", &"x".repeat(1025)),
        Form::password("maria", "wrong").and("scope", "nothing:like:that"),
        Form::password("maria", "wrong").and("resource", "https://elsewhere.example"),
        Form::password("maria", "wrong").and("client_id", "back-office").and("client_secret", "wrong"),
        Form::password("maria", "wrong").set("grant_type", "implicit"),
        Form::password("maria", "wrong").and("username", "maria"),
    ] {
        assert_eq!(work(&server, &form).await.1, 0, "{form:?}");
    }
}
