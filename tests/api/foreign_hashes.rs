//! Password hashes of other systems: verified at a login, and replaced by Argon2id at the first right password.

use chrono::Duration;
use grantd::{
    passwords::{self, NO_PASSWORD, Passwords},
    secret::MasterKey,
};
use serde_json::json;

use crate::harness::{Database, Form, PASSWORD, TestServer, on_both_engines};

on_both_engines!(
    the_first_right_password_replaces_the_hash,
    a_password_is_tried_as_it_was_sent_and_in_nfc,
    a_password_is_changed_with_an_imported_one,
    a_user_without_a_password_cannot_log_in,
    a_hash_that_is_not_accepted_is_an_error_and_no_guess,
    an_imported_user_costs_what_an_unknown_one_does,
    large_hashes_are_computed_one_at_a_time,
    a_firebase_hash_is_verified_with_its_stored_key,
);

const IMPORTED: &str = "correct horse";

/// Of [`IMPORTED`], made by Django, Werkzeug, passlib and argon2-cffi.
const HASHES: [&str; 9] = [
    "pbkdf2_sha256$1000$Xq3sEasalt$zbClmnLClYlC0PGfXYUr4U0tUIgUHKNTtHoATTF1CSQ=",
    "scrypt$1024$Xq3sEasalt$8$5$w7baGRyVwCI++0JcByDJEPUUt1Y6FJayggeUQa/E2oXkXy+M5qji+5FJgZ3pl5oSZ1MQbHZ0xYJJ6ZRFLZ1SPA==",
    "argon2$argon2id$v=19$m=64,t=2,p=4$WHEzc0Vhc2FsdA$0kVXduXcqC8pAfrjmC/ki2A5/XWCpfCZtuIrBSTiySI",
    "bcrypt_sha256$$2b$04$WYdOGjrE1COcRLMC9FkpEOixQ/aXOEek.VtWJgdbeqCw0htVs.ZE6",
    "pbkdf2:sha1:1000$V1bhDVFy$fc7a367fbd54c9d3f35061aaf8d2d1e5a9dcd82b",
    "$2y$04$DSanBtXLkDogAJ9tbSqPJ.LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpS",
    "$bcrypt-sha256$v=2,t=2b,r=4$6sqOO3q4oKerndEXo4iRD.$ss/0wUoJz33fskYUBv2ARpjKkaIWZae",
    "{CRYPT}$6$rounds=1000$TAIxecVumMKhKwm/$cDfR2AD.HWdw8lr7yVRfzawXMwKC6qkLsEiYODzylwjLvTEJO3v1KZjtg52RK6KKQQ7YR540m.u.xiU7xrFeI1",
    "$argon2i$m=64,t=2,p=2$c29tZXNhbHQwMTIz$CWt27et5WdSbc3pdxbR8omekB7wrYh3w",
];

const OWN: &str = "$argon2id$v=19$m=8,t=1,p=1$";

/// The example of firebase/scrypt, with the password `user1password`.
const FIREBASE: &str = "$firescrypt$ln=14,r=8,p=1$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==$Bw==$jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==";

async fn set_hash(server: &TestServer, name: &str, hash: &str) {
    let change = format!("UPDATE users SET password_hash = '{hash}' WHERE username = '{name}'");
    assert_eq!(server.database().execute(&change).await.unwrap(), 1);
}

async fn hash_of(server: &TestServer, name: &str) -> String {
    server.database().text(&format!("SELECT password_hash FROM users WHERE username = '{name}'")).await
}

async fn is_wrong(server: &TestServer, name: &str, password: &str) {
    server.token(&Form::password(name, password)).send().await.oauth_error(400, "invalid_grant");
}

async fn the_first_right_password_replaces_the_hash(database: Database) {
    let server = TestServer::start(database).await;
    for (number, hash) in HASHES.iter().enumerate() {
        let name = &*format!("user-{number}");
        server.create_user(name, &[]).await;
        let session = server.token(&Form::password(name, PASSWORD)).send().await.json_with(200);
        let changed = format!("SELECT CAST(updated_at AS text) FROM users WHERE username = '{name}'");
        let before = server.database().text(&changed).await;
        set_hash(&server, name, hash).await;
        server.advance(Duration::minutes(1));

        is_wrong(&server, name, "correct horse battery").await;
        assert_eq!(hash_of(&server, name).await, *hash, "a wrong password changes nothing");
        server.login(name, IMPORTED).await;
        let replaced = hash_of(&server, name).await;
        assert!(replaced.starts_with(OWN), "{hash}: {replaced}");
        is_wrong(&server, name, "correct horse battery").await;
        server.login(name, IMPORTED).await;
        assert_eq!(hash_of(&server, name).await, replaced);

        // It was no change of the password.
        assert_eq!(server.database().text(&changed).await, before);
        let refresh = session["refresh_token"].as_str().unwrap();
        let refresh = Form::of(&[("grant_type", "refresh_token"), ("refresh_token", refresh)]);
        server.token(&refresh).send().await.json_with(200);
    }
    let events = "SELECT count(*) FROM audit_events WHERE kind = 'user.password_changed'";
    assert_eq!(server.database().number(events).await, 0);
}

async fn a_password_is_tried_as_it_was_sent_and_in_nfc(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let (composed, decomposed) = ("caf\u{e9} au lait", "cafe\u{301} au lait");
    // The other system hashed the bytes that it got.
    let of_composed = "$2b$04$Czux8134hcR7CX2CszysQ.iPz8di/7Gbyn19nciuHrMaicR58s.KW";
    let of_decomposed = "$2b$04$DAygfpPKvPXFzHl8eTLetuHEIfSOfZ6fBtrhhhMWAE2CxDBZqFcqi";
    for (hash, sent) in [(of_composed, composed), (of_composed, decomposed), (of_decomposed, decomposed)] {
        set_hash(&server, "maria", hash).await;
        server.login("maria", sent).await;
        // From now on in NFC, whichever the keyboard sends.
        assert!(hash_of(&server, "maria").await.starts_with(OWN));
        server.login("maria", composed).await;
        server.login("maria", decomposed).await;
    }
}

async fn a_password_is_changed_with_an_imported_one(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let token = server.login("maria", PASSWORD).await;
    set_hash(&server, "maria", HASHES[0]).await;
    let change = async |current: &str| {
        let body = json!({"current_password": current, "new_password": "another long password"});
        server.request("PUT", "/users/me/password").bearer(&token).json(&body).send().await
    };
    change("wrong").await.wrong_fields(&[("current_password", "format")]);
    assert_eq!(change(IMPORTED).await.status, 204);
    server.login("maria", "another long password").await;
}

async fn a_user_without_a_password_cannot_log_in(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    set_hash(&server, "maria", NO_PASSWORD).await;
    for password in [NO_PASSWORD, PASSWORD, "wrong"] {
        is_wrong(&server, "maria", password).await;
    }
    assert_eq!(hash_of(&server, "maria").await, NO_PASSWORD);
    assert_eq!(server.app.passwords.exported(NO_PASSWORD).await.unwrap(), None);
}

async fn a_hash_that_is_not_accepted_is_an_error_and_no_guess(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    for hash in [
        "$1$aN21E45C$3f/2xKAvs9Anmh1hK2mHG.",
        "{SSHA}LAIKfy7rAPdXtL10Jw5m1EyR2rD5o1Tc",
        "a password",
        // Costs 4 TiB, and hours.
        "$argon2id$v=19$m=4294967295,t=1,p=4$c29tZXNhbHQwMTIz$yCKjYm6zS/uq4zIxKu8OHBa9VSTTTaOh",
        "$2b$31$GCfe4trzfstac3MEV6tw/O9fSfZl7WvNUS7aDhjQXsW90UeSKLIF6",
        "$6$rounds=999999999$E9gRKfpxIA7Axfcr$dl7zc8uF7dtt2qIBfpiPwtn1GkEejtyPQC0y4w8tiwwIx2fSZfMNfv1s4JNtrO/GZpT6JEDyzcavXTsWKe2tr1",
        // Its key is nowhere.
        "$firebase-scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAAAAA$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1Q=",
    ] {
        set_hash(&server, "maria", hash).await;
        let hashes = server.app.passwords.hashes_run();
        let answer = server.token(&Form::password("maria", PASSWORD)).send().await;
        answer.oauth_error(500, "server_error");
        assert!(!answer.text().contains(&hash[..8]), "{}", answer.text());
        assert_eq!(server.app.passwords.hashes_run(), hashes, "{hash}");
    }
}

async fn an_imported_user_costs_what_an_unknown_one_does(database: Database) {
    let flags = ["--login-failures", "off", "--network-failures", "off"];
    let server = TestServer::with(database, &flags).await;
    server.create_user("maria", &[]).await;
    let work = async |name: &str, password: &str| {
        let before = (server.app.store.statements_run(), server.app.passwords.hashes_run());
        is_wrong(&server, name, password).await;
        (server.app.store.statements_run() - before.0, server.app.passwords.hashes_run() - before.1)
    };
    // The client is read once.
    work("nobody", "wrong").await;
    let expected = work("nobody", "wrong").await;
    assert_eq!(expected.1, 1);
    for hash in HASHES.iter().copied().chain([NO_PASSWORD]) {
        set_hash(&server, "maria", hash).await;
        for password in ["wrong", "cafe\u{301}"] {
            assert_eq!(work("maria", password).await, expected, "{hash}");
        }
    }
}

async fn large_hashes_are_computed_one_at_a_time(database: Database) {
    let flags = ["--hash-threads", "2", "--hash-queue", "8", "--hash-wait", "60s"];
    let server = TestServer::with(database, &flags).await;
    // 32 MiB.
    let hash = "$argon2id$v=19$m=32768,t=1,p=4$zX2uS/9dTZQVapLv2P9hEQ$j/fVlYFkZxv2iO99I9WmTaeZhPIwD/rI1eCufn7tC+c";
    for name in ["one", "two", "three", "four"] {
        server.create_user(name, &[]).await;
        set_hash(&server, name, hash).await;
    }
    let login = async |name, password| server.token(&Form::password(name, password)).send().await;
    let (one, two, three, four) =
        tokio::join!(login("one", IMPORTED), login("two", IMPORTED), login("three", "wrong"), login("four", IMPORTED));
    for right in [one, two, four] {
        right.json_with(200);
    }
    three.oauth_error(400, "invalid_grant");
    assert!(hash_of(&server, "four").await.starts_with(OWN));
}

async fn a_firebase_hash_is_verified_with_its_stored_key(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let imported = passwords::check_imported(FIREBASE).unwrap();
    set_hash(&server, "maria", &imported.text).await;
    let key = imported.firebase_key.unwrap();
    let id = key.id();
    server
        .within(async move |app, _now| {
            // A second import of the same project changes nothing.
            for _ in 0..2 {
                app.write(async |tx| app.passwords.add_firebase_key(tx, &key).await).await.unwrap();
            }
        })
        .await;
    assert_eq!(server.database().text("SELECT id FROM firebase_keys").await, id);

    is_wrong(&server, "maria", "user2password").await;
    assert_eq!(server.app.passwords.exported(&imported.text).await.unwrap().unwrap(), FIREBASE);
    server.login("maria", "user1password").await;
    assert!(hash_of(&server, "maria").await.starts_with(OWN));

    // Sealed under the master key, and with all else under a new one.
    let exported = server.within(async move |app, now| {
        let new = MasterKey::generate().unwrap();
        app.write(async |tx| app.keys.rewrap(tx, &new, now).await).await.unwrap();
        let start = || Passwords::start(&app.config.hash, &app.config.passwords, &app.issuer).unwrap();
        let old = start().with_firebase_keys(&app.store, &MasterKey::generate().unwrap());
        old.exported(&imported.text).await.unwrap_err();
        start().with_firebase_keys(&app.store, &new).exported(&imported.text).await.unwrap()
    });
    assert_eq!(exported.await.unwrap(), FIREBASE);
}
