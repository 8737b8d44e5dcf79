//! `grantd user import` and `grantd user export`: the rules that hold for every format.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::{
    cli::failure,
    harness::{Database, MASTER_KEY, PASSWORD, TestServer, grantd, on_both_engines},
};

on_both_engines!(
    records_are_imported_whole_or_not_at_all,
    a_second_run_imports_what_is_missing,
    names_belong_to_the_first_record_and_to_users_that_existed,
    a_dry_run_checks_everything_and_writes_nothing,
    batches_follow_each_other,
    csv_has_the_same_records,
    a_file_that_ends_badly_keeps_what_came_before,
    wrong_files_are_refused,
    an_export_is_imported_with_the_same_logins,
    an_export_overwrites_nothing,
    people_read_sentences,
);

/// The password of [`BCRYPT`] and of the hashes of `import_formats.rs`.
pub(crate) const IMPORTED: &str = "correct horse";
pub(crate) const BCRYPT: &str = "$2y$04$DSanBtXLkDogAJ9tbSqPJ.LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpS";
const FIREBASE: &str = "$firescrypt$ln=14,r=8,p=1$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==$Bw==$jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==";

/// The result of an import.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) summary: Value,
    pub(crate) stderr: String,
    pub(crate) report: Vec<Value>,
}

impl Done {
    /// Returns imported, skipped and refused.
    pub(crate) fn counts(&self) -> [u64; 3] {
        ["imported", "skipped", "refused"].map(|name| self.summary[name].as_u64().unwrap_or_else(|| panic!("{self:?}")))
    }

    /// Returns number, user and field of the refused records.
    pub(crate) fn refused(&self) -> Vec<(u64, &str, &str)> {
        let text = |refusal: &'static str, value: &'_ Value| value[refusal].as_str().unwrap_or_default().len();
        assert!(self.report.iter().all(|refusal| text("reason", refusal) > 0), "{self:?}");
        let row = |refusal: &'_ Value| refusal["record"].as_u64().unwrap();
        self.report
            .iter()
            .map(|one| (row(one), one["user"].as_str().unwrap_or_default(), one["field"].as_str().unwrap()))
            .collect()
    }
}

/// Imports a file.
pub(crate) fn import(database: &Database, format: &str, file: impl AsRef<[u8]>, flags: &[&str]) -> Done {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    std::fs::write(&path, file).unwrap();
    import_from(database, format, path.to_str().unwrap(), "", flags)
}

/// Imports from standard input.
pub(crate) fn import_input(database: &Database, format: &str, file: &str, flags: &[&str]) -> Done {
    import_from(database, format, "-", file, flags)
}

fn import_from(database: &Database, format: &str, path: &str, input: &str, flags: &[&str]) -> Done {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.jsonl");
    let report_text = report.to_str().unwrap();
    let arguments = [&["user", "import", path, "--from", format, "--json", "--report", report_text], flags].concat();
    let output = grantd(database.url(), &arguments, input, &[("GRANTD_MASTER_KEY", MASTER_KEY)]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let report = std::fs::read_to_string(&report).unwrap_or_default();
    for secret in ["$2y$", "$2b$", "$argon2", "pbkdf2_sha256$", "jxspr8", "lSrfV15c", "$1$"] {
        assert!(!stderr.contains(secret) && !report.contains(secret), "{stderr}\n{report}");
    }
    Done {
        code: output.status.code(),
        summary: serde_json::from_slice(&output.stdout).unwrap_or_default(),
        stderr,
        report: report.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    }
}

/// Returns the user with this name, as an administrator sees it.
pub(crate) async fn user(server: &TestServer, name: &str) -> Value {
    let token = server.admin().await;
    let list = server.get(&format!("/admin/users?q={name}")).bearer(&token).send().await.json_with(200);
    list["items"].as_array().unwrap().iter().find(|user| user["username"] == name).cloned().unwrap_or_default()
}

fn lines(records: &[Value]) -> String {
    records.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

async fn count(server: &TestServer, what: &str) -> i64 {
    server.database().number(&format!("SELECT count(*) FROM {what}")).await
}

async fn records_are_imported_whole_or_not_at_all(database: Database) {
    let server = TestServer::start(database).await;
    server.put_role("editor", "account").await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = format!(r#"{{"username": "long", "display_name": "{}"}}"#, "x".repeat(2 << 20));
    let file = [
        json!({"username": "maria", "email": "maria@example.com", "display_name": "María 🌻", "roles": ["editor"],
               "created_at": "2019-05-04T12:00:00Z", "password_hash": BCRYPT})
        .to_string(),
        json!({"username": "peter", "disabled": true, "password_hash": BCRYPT}).to_string(),
        json!({"email": "anna@example.com", "roles": null}).to_string(),
        String::new(),
        json!({"username": "no good", "password_hash": BCRYPT}).to_string(),
        json!({"username": "a@example.com", "email": "b@example.com"}).to_string(),
        json!({"username": "c", "email": "nowhere", "password_hash": BCRYPT}).to_string(),
        json!({"username": "d", "display_name": "x".repeat(201)}).to_string(),
        json!({"username": "e", "roles": ["editor", "unknown"]}).to_string(),
        json!({"username": "f", "roles": [BCRYPT]}).to_string(),
        json!({"username": "g", "disabled": BCRYPT}).to_string(),
        json!({"username": "h", "created_at": "yesterday"}).to_string(),
        json!({"username": "i", "password_hash": "$1$aN21E45C$3f/2xKAvs9Anmh1hK2mHG."}).to_string(),
        json!({"username": "j", "password": BCRYPT}).to_string(),
        json!([BCRYPT]).to_string(),
        "{\"username\": \"k".to_owned(),
        deep,
        long,
        json!({"username": "last", "password_hash": "!"}).to_string(),
    ]
    .join("\n");
    let done = import(server.database(), "jsonl", file, &[]);
    assert_eq!((done.code, done.counts()), (Some(1), [4, 0, 14]), "{done:?}");
    assert_eq!(
        done.refused(),
        [
            (5, "no good", "username"),
            (6, "a@example.com", "username"),
            (7, "c", "email"),
            (8, "d", "display_name"),
            (9, "e", "roles"),
            (10, "f", "roles"),
            (11, "g", "disabled"),
            (12, "h", "created_at"),
            (13, "i", "password_hash"),
            (14, "j", ""),
            (15, "", ""),
            (16, "", ""),
            (17, "", ""),
            (18, "", ""),
        ]
    );
    assert!(done.report[8]["reason"].as_str().unwrap().contains("MD5-crypt"), "{done:?}");
    assert!(done.stderr.contains("record 9 (e): roles role unknown does not exist"), "{}", done.stderr);
    assert_eq!(done.summary["without_password"], 2);

    let maria = user(&server, "maria").await;
    assert_eq!(maria["roles"], json!(["editor", "member"]));
    assert_eq!((&maria["display_name"], &maria["created_at"]), (&json!("María 🌻"), &json!("2019-05-04T12:00:00Z")));
    server.login("maria", IMPORTED).await;
    server.login("maria@example.com", IMPORTED).await;
    assert_eq!(user(&server, "peter").await["disabled"], true);
    assert_eq!(user(&server, "anna@example.com").await["roles"], json!(["member"]));
    assert_eq!(count(&server, "users").await, 5);
    let event = server.database().text("SELECT details FROM audit_events WHERE kind = 'user.imported'").await;
    assert_eq!(
        serde_json::from_str::<Value>(&event).unwrap(),
        json!({"from": "jsonl", "imported": 4, "skipped": 0, "refused": 14, "without_password": 2})
    );
}

async fn a_second_run_imports_what_is_missing(database: Database) {
    let server = TestServer::start(database).await;
    let (one, two) = (json!({"username": "one", "password_hash": BCRYPT}), json!({"username": "two"}));
    let done = import(server.database(), "jsonl", lines(&[one.clone(), json!({"username": "two!"})]), &[]);
    assert_eq!((done.code, done.counts()), (Some(1), [1, 0, 1]));
    let file = lines(&[one, two]);
    for counts in [[1, 1, 0], [0, 2, 0]] {
        let done = import_input(server.database(), "jsonl", &file, &[]);
        assert_eq!((done.code, done.counts(), done.report.len()), (Some(0), counts, 0), "{done:?}");
    }
    assert_eq!(count(&server, "audit_events WHERE kind = 'user.imported'").await, 3);
    server.login("one", IMPORTED).await;
}

async fn names_belong_to_the_first_record_and_to_users_that_existed(database: Database) {
    let server = TestServer::start(database).await;
    server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &[]).await.unwrap();
    let file = lines(&[
        json!({"username": "MARIA", "password_hash": BCRYPT}),
        json!({"username": "other", "email": "Maria@Example.com"}),
        json!({"username": "peter", "email": "peter@example.com"}),
        json!({"username": "Peter"}),
        json!({"username": "petra", "email": "PETER@example.com"}),
        json!({"username": "peter", "email": "maria@example.com"}),
    ]);
    for flags in [&["--dry-run"][..], &[]] {
        let done = import(server.database(), "jsonl", &file, flags);
        assert_eq!((done.code, done.counts()), (Some(1), [1, 3, 2]), "{done:?}");
        assert_eq!(done.refused(), [(4, "Peter", "username"), (5, "petra", "email")]);
    }
    server.login("maria", PASSWORD).await;
    // Now both existed before.
    let done = import(server.database(), "jsonl", &file, &[]);
    assert_eq!((done.code, done.counts()), (Some(0), [0, 6, 0]), "{done:?}");
}

async fn a_dry_run_checks_everything_and_writes_nothing(database: Database) {
    let server = TestServer::start(database).await;
    let before = server.database().row_counts().await;
    let file = lines(&[
        json!({"username": "one", "password_hash": FIREBASE}),
        json!({"username": "admin"}),
        json!({"username": "two", "password_hash": "{SSHA}LAIKfy7rAPdXtL10Jw5m1EyR2rD5o1Tc"}),
    ]);
    let done = import(server.database(), "jsonl", &file, &["--dry-run"]);
    assert_eq!((done.code, done.counts(), &done.summary["dry_run"]), (Some(1), [1, 1, 1], &json!(true)), "{done:?}");
    assert_eq!(server.database().row_counts().await, before);
}

async fn batches_follow_each_other(database: Database) {
    let server = TestServer::start(database).await;
    let record =
        |number: usize| json!({"username": format!("user-{number}"), "email": format!("u{number}@example.com")});
    let records: Vec<_> = (0..1201).map(record).chain([record(7)]).collect();
    let done = import(server.database(), "jsonl", lines(&records), &[]);
    assert_eq!((done.code, done.counts()), (Some(1), [1201, 0, 1]), "{}", done.stderr);
    assert_eq!(done.refused(), [(1202, "user-7", "username")]);
    assert_eq!(count(&server, "user_roles WHERE role = 'member'").await, 1202);
    // In the order of the file.
    let names = "SELECT username FROM users WHERE username <> 'admin' ORDER BY id LIMIT 1 OFFSET 1100";
    assert_eq!(server.database().text(names).await, "user-1100");
}

async fn csv_has_the_same_records(database: Database) {
    let server = TestServer::start(database).await;
    server.put_role("editor", "account").await;
    server.put_role("author", "account").await;
    let file = format!(
        "\u{feff}username,email,roles,disabled,created_at,display_name,password_hash\r\n\
         maria,maria@example.com,editor author,f,2019-05-04 12:00:00+00,\"María\nof \"\"two\"\" lines\",{BCRYPT}\r\n\
         peter,,,true,,,\r\n\
         anna,anna@example.com,editor\r\n\
         eva,,unknown,,,,{BCRYPT}\r\n"
    );
    let done = import(server.database(), "csv", &file, &[]);
    assert_eq!((done.code, done.counts()), (Some(1), [2, 0, 2]), "{done:?}");
    // The first record has two lines.
    assert_eq!(done.refused(), [(5, "", ""), (6, "eva", "roles")]);
    server.login("maria", IMPORTED).await;
    let maria = user(&server, "maria").await;
    assert_eq!((&maria["roles"], &maria["disabled"]), (&json!(["author", "editor", "member"]), &json!(false)));
    assert_eq!(maria["display_name"], "María\nof \"two\" lines");
    assert_eq!(user(&server, "peter").await["disabled"], true);
    for head in ["username,password", "username,username", "name"] {
        let done = import(server.database(), "csv", format!("{head}\na,b\n"), &[]);
        assert_eq!((done.code, done.counts()), (Some(1), [0, 0, 0]));
        assert!(done.stderr.contains("the first line must name the columns"), "{}", done.stderr);
    }
}

async fn a_file_that_ends_badly_keeps_what_came_before(database: Database) {
    let server = TestServer::start(database).await;
    let deep = "[".repeat(200);
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    for (number, end) in ["", "tru]}", &deep, &large].iter().enumerate() {
        let file = format!(r#"{{"users": [{{"username": "user-{number}", "enabled": true}}, {end}"#);
        let done = import(server.database(), "keycloak", file, &[]);
        assert_eq!((done.code, done.counts()), (Some(1), [1, 0, 0]), "{done:?}");
        assert!(!user(&server, &format!("user-{number}")).await.is_null());
    }
    let failed = "audit_events WHERE kind = 'user.imported' AND outcome = 'failure'";
    assert_eq!(count(&server, failed).await, 4);
}

async fn wrong_files_are_refused(database: Database) {
    let server = TestServer::start(database).await;
    let deep = "[".repeat(1_000_000);
    for (format, file, message) in [
        ("keycloak", "[]", "a JSON object with an array"),
        ("keycloak", r#"{"realm": "shop"}"#, "a JSON object with an array"),
        ("keycloak", r#"{"users": {}}"#, "a JSON object with an array"),
        ("keycloak", &format!(r#"{{"clients": {deep}"#), "not valid JSON at line 1, column"),
        ("keycloak", r#"{"users": []} {}"#, "not valid JSON"),
        ("supabase", "id,email\n1,a@example.com\n", "there is no column"),
        ("supabase", "-- a dump\nSET x = 1;\n", "there is no COPY of auth.users"),
    ] {
        let done = import(server.database(), format, file, &[]);
        assert_eq!((done.code, done.counts()), (Some(1), [0, 0, 0]), "{done:?}");
        assert!(done.stderr.contains(message), "{format}: {}", done.stderr);
    }
    let done = import(server.database(), "keycloak", r#"{"users": []}"#, &["--role-map", "manager=nobody"]);
    assert!(done.stderr.contains("role nobody does not exist"), "{}", done.stderr);
    let (code, stderr) = failure(server.database(), &["user", "import", "/", "--from", "jsonl"], "");
    assert_eq!(code, Some(1), "{stderr}");
    for arguments in [&["--from", "excel"][..], &["--from", "jsonl", "--role-map", "manager"], &[]] {
        let (code, stderr) = failure(server.database(), &[&["user", "import", "-"], arguments].concat(), "");
        assert_eq!(code, Some(2), "{stderr}");
    }
}

async fn an_export_is_imported_with_the_same_logins(database: Database) {
    let is_postgres = database.is_postgres();
    let server = TestServer::start(database).await;
    server.put_role("editor", "account").await;
    let file = lines(&[
        json!({"username": "imported", "email": "i@example.com", "roles": ["editor"], "password_hash": BCRYPT}),
        json!({"username": "fire", "disabled": false, "created_at": "2019-05-04T12:00:00Z", "password_hash": FIREBASE}),
        json!({"username": "none", "display_name": "Nobody", "disabled": true}),
    ]);
    assert_eq!(import(server.database(), "jsonl", file, &[]).code, Some(0));
    server.create_user("own", &[]).await;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.jsonl");
    let arguments = ["user", "export", "--output", path.to_str().unwrap()];
    let variables = [("GRANTD_MASTER_KEY", MASTER_KEY)];
    let output = grantd(server.database().url(), &arguments, "", &variables);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("Exported 5 users"), "{output:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let exported = std::fs::read_to_string(&path).unwrap();
    let printed = grantd(server.database().url(), &["user", "export"], "", &variables);
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), exported);
    assert!(exported.contains(FIREBASE), "{exported}");

    let other = if is_postgres { Database::postgres().await.unwrap() } else { Database::sqlite() };
    let other = TestServer::start(other).await;
    other.put_role("editor", "account").await;
    let done = import(other.database(), "jsonl", exported, &[]);
    // The administrator existed.
    assert_eq!((done.code, done.counts()), (Some(0), [4, 1, 0]), "{done:?}");
    other.login("imported", IMPORTED).await;
    other.login("i@example.com", IMPORTED).await;
    other.login("fire", "user1password").await;
    other.login("own", PASSWORD).await;
    for name in ["imported", "fire", "none", "own"] {
        let [before, after] = [user(&server, name).await, user(&other, name).await];
        for field in ["email", "display_name", "roles", "disabled", "created_at"] {
            assert_eq!(before[field], after[field], "{name}");
        }
    }
}

async fn an_export_overwrites_nothing(database: Database) {
    let server = TestServer::start(database).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "precious").unwrap();
    let arguments = ["user", "export", "--output", file.path().to_str().unwrap()];
    let output = grantd(server.database().url(), &arguments, "", &[("GRANTD_MASTER_KEY", MASTER_KEY)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it exists already"), "{output:?}");
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "precious");
}

async fn people_read_sentences(database: Database) {
    let server = TestServer::start(database).await;
    let realm = json!({"users": [
        {"username": "one", "realmRoles": ["boss"]}, {"username": "admin"}, {"username": "\u{1b}[31m"}
    ]});
    let arguments = ["user", "import", "-", "--from", "keycloak"];
    let variables = [("GRANTD_MASTER_KEY", MASTER_KEY)];
    let output = grantd(server.database().url(), &arguments, &realm.to_string(), &variables);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "Imported 1 user, skipped 1, refused 1.\n\
         Without a password, and not able to log in until it is set: 1.\n\
         Roles that do not exist here, and were dropped: boss (1). --role-map FROM=TO maps them.\n"
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("record 3 (\\u{1b}[31m): username must consist of"), "{stderr}");
    assert!(stderr.ends_with("error: 1 record refused\n"), "{stderr}");
}
