//! `grantd user import`: the files of each system, with hashes that log in.

use serde_json::{Value, json};

use crate::{
    harness::{Database, TestServer, on_both_engines},
    import::{BCRYPT, IMPORTED, import, import_input, user},
};

on_both_engines!(
    keycloak_realms_with_roles_and_hashes,
    django_dumps_with_groups,
    auth0_exports_and_import_files,
    firebase_json_and_csv,
    supabase_csv_and_copy,
    kratos_identities,
);

const ARGON2_SALT: &str = "WHEzc0Vhc2FsdA==";
const ARGON2_HASH: &str = "0kVXduXcqC8pAfrjmC/ki2A5/XWCpfCZtuIrBSTiySI=";
const DJANGO: &str = "pbkdf2_sha256$1000$Xq3sEasalt$zbClmnLClYlC0PGfXYUr4U0tUIgUHKNTtHoATTF1CSQ=";

async fn roles(server: &TestServer) {
    for name in ["editor", "manager"] {
        server.put_role(name, "account").await;
    }
}

fn keycloak_credential(algorithm: &str, iterations: u32, salt: &str, value: &str, more: &Value) -> Value {
    json!({
        "id": "0d5b", "type": "password", "createdDate": 1_600_000_000_000_u64,
        "secretData": json!({"value": value, "salt": salt, "additionalParameters": {}}).to_string(),
        "credentialData":
            json!({"hashIterations": iterations, "algorithm": algorithm, "additionalParameters": more}).to_string(),
    })
}

async fn keycloak_realms_with_roles_and_hashes(database: Database) {
    let server = TestServer::start(database).await;
    roles(&server).await;
    let salt = "MDEyMzQ1Njc4OWFiY2RlZg==";
    let sha256 = "H5R9LZ0QvKxHLm1Lg0IeQXdtUAa+9gf2NeOZns+WHBTpnlaWE/+JwnJ/2OXEjNPW5EusP1xxGLqEqjWDbIcGlg==";
    let sha512 = "JLIbHS/a1pwkuwB4YMVsxfgHL1RpHXfp7kAkuCcl9dhDgXytdhKp4KRA1tfCbROFYAyWs7Bgy1B82eY2dKJ0Uw==";
    let sha1 = "aUfE2vx5Q7zgbb0jx49AaNpXUQQVW6pePKN5ab37G40CjX2bMTkDcCwFngZ2OyqCChhH4ZgScMIsuF9Oq2gqbw==";
    let argon2 = json!({
        "hashLength": ["32"], "memory": ["64"], "type": ["id"], "version": ["1.3"], "parallelism": ["4"]
    });
    let otp = json!({"type": "otp", "secretData": "{\"value\":\"secret\"}", "credentialData": "{}"});
    let realm = json!({
        "realm": "shop", "roles": {"realm": [{"name": "editor"}], "client": {"app": [[[1, 2.5, -3, null, true]]]}},
        "users": [
            {"id": "6a1e", "username": "maria", "email": "maria@example.com", "firstName": "Maria", "lastName": "B",
             "createdTimestamp": 1_556_971_200_000_u64, "enabled": true, "emailVerified": true, "totp": true,
             "realmRoles": ["editor", "offline_access", "boss=1"], "groups": ["/staff"], "attributes": {"k": ["v"]},
             "credentials": [otp, keycloak_credential("pbkdf2-sha256", 27500, salt, sha256, &json!({}))]},
            {"username": "peter", "enabled": false, "firstName": "", "realmRoles": ["offline_access"],
             "credentials": [keycloak_credential("argon2", 2, ARGON2_SALT, ARGON2_HASH, &argon2)]},
            {"username": "five", "credentials": [keycloak_credential("pbkdf2-sha512", 2000, salt, sha512, &json!({}))]},
            {"username": "one", "credentials": [keycloak_credential("pbkdf2", 1000, salt, sha1, &json!({}))]},
            {"username": "old", "credentials": [{"type": "password", "hashedSaltedValue": sha256, "salt": salt,
                                                 "hashIterations": 27500, "algorithm": "pbkdf2-sha256"}]},
            {"username": "social", "federatedIdentities": [{"identityProvider": "google"}]},
            {"username": "service-account-app", "serviceAccountClientId": "app"},
            {"username": "unknown", "credentials": [keycloak_credential("sha1", 1, salt, sha1, &json!({}))]},
            {"username": "broken", "credentials": [{"type": "password", "secretData": BCRYPT, "credentialData": "{}"}]},
        ],
        "clients": [{"clientId": "app"}],
    });
    let done = import(server.database(), "keycloak", realm.to_string(), &["--role-map", "boss=1=manager"]);
    assert_eq!((done.code, done.counts()), (Some(1), [6, 1, 2]), "{done:?}");
    assert_eq!(done.refused(), [(8, "unknown", "algorithm"), (9, "broken", "secretData")]);
    assert_eq!(done.summary["dropped_roles"], json!({"offline_access": 2}));
    assert_eq!(done.summary["without_password"], 1);
    for name in ["maria", "five", "one", "old"] {
        server.login(name, IMPORTED).await;
    }
    let maria = user(&server, "maria").await;
    assert_eq!(maria["roles"], json!(["editor", "manager", "member"]));
    assert_eq!((&maria["display_name"], &maria["created_at"]), (&json!("Maria B"), &json!("2019-05-04T12:00:00Z")));
    assert_eq!(
        (&user(&server, "peter").await["disabled"], &user(&server, "one").await["disabled"]),
        (&json!(true), &json!(false))
    );
    server.database().execute("UPDATE users SET disabled = FALSE WHERE username = 'peter'").await.unwrap();
    server.login("peter", IMPORTED).await;
}

async fn django_dumps_with_groups(database: Database) {
    let server = TestServer::start(database).await;
    roles(&server).await;
    let person = |pk: u64, name: &str, fields: Value| {
        let mut all = json!({
            "password": DJANGO, "last_login": "2026-01-30T08:00:00Z", "is_superuser": false, "username": name,
            "first_name": "", "last_name": "", "email": "", "is_staff": false, "is_active": true,
            "date_joined": "2019-05-04T12:00:00.123Z", "groups": [], "user_permissions": []
        });
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"model": "auth.user", "pk": pk, "fields": all})
    };
    let users = [
        person(1, "maria", json!({"groups": [1, 2], "is_superuser": true, "is_staff": true, "email": "m@example.com"})),
        person(2, "peter", json!({"is_active": false, "password": "!unusable", "groups": [["editor"]]})),
        json!({"model": "accounts.person", "pk": 3, "fields": {"email": "anna@example.com", "password": BCRYPT}}),
        person(4, "md5", json!({"password": "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99"})),
    ];
    let groups = [
        json!({"model": "auth.group", "pk": 1, "fields": {"name": "editor", "permissions": []}}),
        json!({"model": "auth.group", "pk": 2, "fields": {"name": "Night shift", "permissions": []}}),
        json!({"model": "sessions.session", "pk": "x", "fields": {"session_data": "…"}}),
    ];
    // Groups after the users: a file is read twice, and of a pipe the users wait.
    let dump = Value::from([&users[..], &groups].concat()).to_string();
    let flags = ["--role-map", "is_superuser=admin", "--role-map", "Night shift=manager"];
    let dry = import_input(server.database(), "django", &dump, &[&flags[..], &["--dry-run"]].concat());
    let done = import(server.database(), "django", &dump, &flags);
    for done in [&dry, &done] {
        assert_eq!((done.code, done.counts()), (Some(1), [3, 0, 1]), "{done:?}");
        assert_eq!(done.refused(), [(4, "md5", "password_hash")]);
        assert_eq!(done.summary["dropped_roles"], json!({"is_staff": 1}));
    }
    let maria = user(&server, "maria").await;
    assert_eq!(maria["roles"], json!(["admin", "editor", "manager", "member"]));
    assert_eq!(maria["last_login_at"], "2026-01-30T08:00:00Z");
    let peter = user(&server, "peter").await;
    assert_eq!((&peter["disabled"], &peter["roles"]), (&json!(true), &json!(["editor", "member"])));
    server.login("maria", IMPORTED).await;
    server.login("anna@example.com", IMPORTED).await;
}

async fn auth0_exports_and_import_files(database: Database) {
    let server = TestServer::start(database).await;
    let long = format!("{}@example.com", "x".repeat(60));
    let export = [
        json!({"_id": {"$oid": "5f7c8ec7c33c6c004bbafe82"}, "email": "maria@example.com", "email_verified": true,
               "passwordHash": BCRYPT, "password_set_date": {"$date": "2020-10-06T15:00:00.000Z"}, "tenant": "shop"}),
        json!({"user_id": "auth0|abc", "email": long, "name": "Peter", "created_at": "2019-05-04T12:00:00.000Z",
               "blocked": true}),
    ];
    let file = export.map(|user| user.to_string()).join("\n");
    let done = import(server.database(), "auth0", file, &[]);
    assert_eq!((done.code, done.counts()), (Some(0), [2, 0, 0]), "{done:?}");
    let peter = user(&server, "auth0-abc").await;
    assert_eq!((&peter["email"], &peter["disabled"]), (&json!(long), &json!(true)));
    server.login("maria@example.com", IMPORTED).await;

    let custom = |email: &str, hash: Value| json!({"email": email, "custom_password_hash": hash});
    let import_file = json!([
        custom("b@example.com", json!({"algorithm": "bcrypt", "hash": {"value": BCRYPT}})),
        custom(
            "s@example.com",
            json!({
                "algorithm": "scrypt", "hash": {"value": "ZGeSwropSvEgLQU1pjltINKrRvmEBSnohdqYXUe5EZ8=", "encoding": "base64"},
                "salt": {"value": "saltsalt", "encoding": "utf8"}, "keylen": 32, "cost": 1024, "blockSize": 8,
                "parallelization": 1
            })
        ),
        custom("m@example.com", json!({"algorithm": "md5", "hash": {"value": "00", "encoding": "hex"}})),
    ]);
    let done = import(server.database(), "auth0", import_file.to_string(), &[]);
    assert_eq!((done.code, done.counts()), (Some(1), [2, 0, 1]), "{done:?}");
    assert!(done.report[0]["reason"].as_str().unwrap().starts_with("md5 is not supported"));
    server.login("b@example.com", IMPORTED).await;
    server.login("s@example.com", IMPORTED).await;
}

async fn firebase_json_and_csv(database: Database) {
    let server = TestServer::start(database).await;
    let (salt, hash) = (
        "42xEC+ixf3L2lw==",
        "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==",
    );
    let key = tempfile::NamedTempFile::new().unwrap();
    let signer_key = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==\n";
    std::fs::write(key.path(), signer_key).unwrap();
    let flags = [
        "--firebase-signer-key-file",
        key.path().to_str().unwrap(),
        "--firebase-salt-separator",
        "Bw==",
        "--firebase-rounds",
        "8",
        "--firebase-mem-cost",
        "14",
    ];
    let json = json!({"users": [
        {"localId": "8nQUrQ9jQhTQ7yMVuG4dqbXxVRr1", "email": "maria@example.com", "emailVerified": true,
         "passwordHash": hash, "salt": salt, "displayName": "Maria", "createdAt": "1556971200000",
         "lastSignedInAt": "1769760000000", "providerUserInfo": []},
        {"localId": "phone", "phoneNumber": "+15555550100", "disabled": true, "createdAt": "1556971200000"},
    ]});
    let without_key = import(server.database(), "firebase", json.to_string(), &["--dry-run"]);
    assert_eq!(without_key.refused(), [(1, "maria@example.com", "passwordHash")]);
    let done = import(server.database(), "firebase", json.to_string(), &flags);
    assert_eq!((done.code, done.counts()), (Some(0), [2, 0, 0]), "{done:?}");
    server.login("maria@example.com", "user1password").await;
    assert_eq!(user(&server, "phone").await["disabled"], true);
    assert_eq!(user(&server, "maria@example.com").await["created_at"], "2019-05-04T12:00:00Z");

    let columns = ["id-of-eva", "eva@example.com", "true", hash, salt, "Eva, \"E\"", ""]
        .map(|text| format!("\"{}\"", text.replace('"', "\"\"")));
    let row = format!("{}{},1556971200000,,,false,\r\n", columns.join(","), ",".repeat(16));
    let done = import(server.database(), "firebase", row, &flags);
    assert_eq!((done.code, done.counts()), (Some(0), [1, 0, 0]), "{done:?}");
    server.login("eva@example.com", "user1password").await;
}

async fn supabase_csv_and_copy(database: Database) {
    let server = TestServer::start(database).await;
    let head = "instance_id,id,aud,role,email,encrypted_password,created_at,last_sign_in_at,raw_user_meta_data,banned_until,is_anonymous,deleted_at";
    let id = |number: u32| format!("6f1d3a52-0000-4000-8000-{number:012}");
    let csv = format!(
        "{head}\n\
         0,{},authenticated,authenticated,maria@example.com,{BCRYPT},2019-05-04 12:00:00.000001+00,,\"{{\"\"full_name\"\": \"\"Maria B\"\"}}\",,false,\n\
         0,{},authenticated,authenticated,,,2019-05-04 12:00:00+00,,{{}},2999-01-01 00:00:00+00,false,\n\
         0,{},authenticated,authenticated,,,2019-05-04 12:00:00+00,,{{}},,true,\n\
         0,{},authenticated,authenticated,gone@example.com,{BCRYPT},2019-05-04 12:00:00+00,,{{}},,false,2025-01-01 00:00:00+00\n",
        id(1),
        id(2),
        id(3),
        id(4)
    );
    let done = import(server.database(), "supabase", csv, &[]);
    assert_eq!((done.code, done.counts()), (Some(0), [2, 2, 0]), "{done:?}");
    server.login("maria@example.com", IMPORTED).await;
    assert_eq!(user(&server, "maria@example.com").await["display_name"], "Maria B");
    assert_eq!(user(&server, &format!("user-{}", id(2))).await["disabled"], true);

    let copy = format!(
        "--\n-- PostgreSQL database dump\n--\nSET client_encoding = 'UTF8';\nCOPY auth.sessions (id) FROM stdin;\n1\n\\.\n\
         COPY auth.users (id, email, encrypted_password, raw_user_meta_data, banned_until, created_at) FROM stdin;\n\
         {}\tpeter@example.com\t{BCRYPT}\t{{\"name\": \"a\\\\tb\"}}\t2020-01-01 00:00:00+00\t2019-05-04 12:00:00+00\n\
         {}\teva@example.com\t\\N\t\\N\t\\N\t\\N\n\
         {}\ttoo few\n\\.\nCOPY auth.other (id) FROM stdin;\n1\n\\.\n",
        id(5),
        id(6),
        id(7)
    );
    let done = import(server.database(), "supabase", copy, &[]);
    assert_eq!((done.code, done.counts()), (Some(1), [2, 0, 1]), "{done:?}");
    assert_eq!(done.refused(), [(11, "", "")]);
    server.login("peter@example.com", IMPORTED).await;
    assert_eq!(user(&server, "peter@example.com").await["disabled"], false);
}

async fn kratos_identities(database: Database) {
    let server = TestServer::start(database).await;
    let identity = |traits: Value, state: &str| {
        json!({
            "id": "9f425a8d-7efc-4768-8f23-7647a74fdf13", "schema_id": "default", "state": state, "traits": traits,
            "created_at": "2019-05-04T12:00:00.5Z", "metadata_public": null,
            "credentials": {"password": {"type": "password", "config": {"hashed_password": BCRYPT}}, "oidc": {}}
        })
    };
    let maria = identity(json!({"email": "maria@example.com", "name": {"first": "Maria", "last": "B"}}), "active");
    let peter = identity(json!({"username": "peter", "name": "Peter"}), "inactive");
    let social = json!({"id": "x", "traits": {"email": "social@example.com"}});
    let wrong = json!({"id": "y"});
    let done = import(server.database(), "kratos", json!([maria, peter]).to_string(), &[]);
    assert_eq!((done.code, done.counts()), (Some(0), [2, 0, 0]), "{done:?}");
    let done = import_input(server.database(), "kratos", &format!("{maria}\n{social}\n{wrong}\n"), &[]);
    assert_eq!((done.code, done.counts()), (Some(1), [1, 1, 1]), "{done:?}");
    assert_eq!(done.refused(), [(3, "y", "traits")]);
    server.login("maria@example.com", IMPORTED).await;
    assert_eq!(user(&server, "maria@example.com").await["display_name"], "Maria B");
    assert_eq!(user(&server, "peter").await["disabled"], true);
}
