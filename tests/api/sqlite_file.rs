//! The file of a SQLite database: only one server can use it, its deletion or replacement is detected, and it is not opened with
//! the write-ahead log of another file.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::harness::{ADMIN_PASSWORD, Database, Grantd, PASSWORD, TestServer, grantd};

const VARIABLES: [(&str, &str); 1] = [("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)];

/// Checks that a server on this file is refused because of the one with this process id.
fn is_refused(url: &str, process: u32) {
    let said = Grantd::try_start(url, &[], &VARIABLES).err().unwrap_or_else(|| panic!("{url}: it starts"));
    let first = format!("DATABASE_URL: another grantd server (process {process}) uses this database: /");
    assert!(said.contains(&first), "{url}: {said}");
    assert!(said.contains("grantd.db; stop it, or use Postgres for several servers"), "{url}: {said}");
}

#[actix_web::test]
async fn a_second_server_is_refused_but_commands_are_not() {
    let database = Database::sqlite();
    let server = Grantd::start(database.url(), &VARIABLES);
    let before = database.row_counts().await;
    is_refused(database.url(), server.id());
    assert_eq!(grantd(database.url(), &["serve"], "", &VARIABLES).status.code(), Some(1));
    // The same file by other names.
    let directory = database.directory();
    std::os::unix::fs::symlink(directory.join("grantd.db"), directory.join("link.db")).unwrap();
    std::os::unix::fs::symlink(directory, directory.join("folder")).unwrap();
    for name in ["link.db", "folder/grantd.db", "folder/link.db"] {
        is_refused(&format!("sqlite://{}/{name}", directory.display()), server.id());
    }
    assert_eq!(database.row_counts().await, before);
    assert!(!directory.join("link.db.pid").exists());
    let lock = directory.join("grantd.db.pid");
    assert_eq!(fs::read_to_string(&lock).unwrap().lines().next().unwrap(), server.id().to_string());
    assert_eq!(fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o600);

    for arguments in [&["user", "create", "maria", "--password-stdin"][..], &["user", "list"], &["migrate"]] {
        let output = grantd(database.url(), arguments, PASSWORD, &VARIABLES);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    server.login(ADMIN_PASSWORD).await;
}

#[actix_web::test]
async fn the_lock_is_released_when_the_server_ends() {
    let database = Database::sqlite();
    for signal in ["KILL", "TERM"] {
        let mut server = Grantd::start(database.url(), &VARIABLES);
        is_refused(database.url(), server.id());
        server.signal(signal);
        server.wait();
        assert!(database.directory().join("grantd.db.pid").exists());
    }
    // Other, longer contents are replaced.
    fs::write(database.directory().join("grantd.db.pid"), "4294967295 and more\n").unwrap();
    let server = Grantd::start(database.url(), &VARIABLES);
    is_refused(database.url(), server.id());
}

#[actix_web::test]
async fn of_concurrent_starts_one_succeeds() {
    let database = Database::sqlite();
    // In a directory that does not exist yet, and by two names: the link leads to a file that does not exist yet.
    let data = database.directory().join("data");
    let link = database.directory().join("link.db");
    std::os::unix::fs::symlink("data/grantd.db", &link).unwrap();
    fs::create_dir(&data).unwrap();
    let urls = [data.join("grantd.db"), link].map(|path| format!("sqlite://{}", path.display()));
    let started: Vec<_> = std::thread::scope(|scope| {
        let start = |url: &String| Grantd::try_start(url, &[], &VARIABLES);
        let starts: Vec<_> = urls.iter().cycle().take(4).map(|url| scope.spawn(move || start(url))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let (servers, refused): (Vec<_>, Vec<_>) = started.into_iter().partition(Result::is_ok);
    let [Ok(server)] = &servers[..] else { panic!("{} servers started", servers.len()) };
    for why in refused {
        let why = why.err().unwrap();
        assert!(why.contains("another grantd server (process "), "{why}");
    }
    server.login(ADMIN_PASSWORD).await;
}

#[actix_web::test]
async fn a_deleted_or_replaced_file_is_reported() {
    for replaced in [false, true] {
        let database = Database::sqlite();
        let mut server = Grantd::start(database.url(), &VARIABLES);
        let ready = async || server.request("GET", "/readyz").send().await;
        // `VACUUM` does not replace the file.
        database.execute("VACUUM").await.unwrap();
        assert_eq!(ready().await.status, 200);
        let path = database.directory().join("grantd.db");
        if replaced {
            fs::copy(&path, database.directory().join("copy.db")).unwrap();
            fs::rename(database.directory().join("copy.db"), &path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        for _ in 0..3 {
            let answer = ready().await;
            answer.problem(503, "unavailable");
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
        }
        assert_eq!(server.request("GET", "/healthz").send().await.status, 200);
        // Stopped before it is killed, so that the log thread writes all lines.
        server.signal("TERM");
        server.wait();
        let log = server.kill().1;
        let lines: Vec<_> =
            log.lines().filter(|line| line.contains("\"ERROR\"") && line.contains("start the server")).collect();
        let [line] = lines[..] else { panic!("logged {} times: {log}", lines.len()) };
        assert!(line.contains(&path.display().to_string()), "{line}");
    }
}

#[actix_web::test]
async fn a_restored_file_is_used_again() {
    let server = TestServer::start(Database::sqlite()).await;
    let (path, away) = ["grantd.db", "away.db"].map(|name| server.database().directory().join(name)).into();
    fs::rename(&path, &away).unwrap();
    server.get("/readyz").send().await.problem(503, "unavailable");
    fs::rename(&away, &path).unwrap();
    assert_eq!(server.get("/readyz").send().await.status, 200);
    let token = server.admin().await;
    assert_eq!(server.get("/users/me").bearer(&token).send().await.status, 200);
}

const USER_MARIA: [&str; 4] = ["user", "create", "maria", "--password-stdin"];
/// A command of each kind: those that need a database, and those that create one.
const COMMANDS: [&[&str]; 3] = [&["user", "list"], &["migrate"], &["apply", "/dev/null"]];

/// Standard error of a command that fails.
fn refusal(database: &Database, arguments: &[&str]) -> String {
    let output = grantd(database.url(), arguments, "", &VARIABLES);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    said
}

/// Creates a user, whose row is in the write-ahead log alone as long as the server runs.
fn create_maria(database: &Database) {
    let made = grantd(database.url(), &USER_MARIA, PASSWORD, &VARIABLES);
    assert!(made.status.success(), "{made:?}");
}

fn users(database: &Database) -> String {
    let output = grantd(database.url(), &["user", "list"], "", &VARIABLES);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a backup, as docs/backup.md says.
async fn back_up(database: &Database) -> std::path::PathBuf {
    let backup = database.directory().join("backup.db");
    database.execute(&format!("VACUUM INTO '{}'", backup.display())).await.unwrap();
    backup
}

#[actix_web::test]
async fn a_replaced_file_is_not_opened_with_the_log_of_the_one_before() {
    for signal in ["TERM", "KILL"] {
        let database = Database::sqlite();
        let [path, wal, shm] = ["", "-wal", "-shm"].map(|end| database.directory().join(format!("grantd.db{end}")));
        let mut server = Grantd::start(database.url(), &VARIABLES);
        let backup = back_up(&database).await;
        create_maria(&database);
        fs::rename(&path, database.directory().join("before.db")).unwrap();
        fs::rename(backup, &path).unwrap();
        let restored = fs::read(&path).unwrap();
        let are_refused = || {
            for arguments in COMMANDS {
                let said = refusal(&database, arguments);
                let process = format!("(process {})", server.id());
                for part in ["grantd.db was deleted or replaced", &process, "grantd.db-wal and /", "grantd.db-shm"] {
                    assert!(said.contains(part), "{arguments:?}: {part}: {said}");
                }
            }
        };
        are_refused();
        is_refused(database.url(), server.id());
        // Moved back, it is the file of the log.
        fs::rename(&path, database.directory().join("restored.db")).unwrap();
        fs::rename(database.directory().join("before.db"), &path).unwrap();
        assert!(users(&database).contains("maria"));
        fs::rename(database.directory().join("restored.db"), &path).unwrap();
        // The log stays when the server ends, and so does the refusal, however often it is tried.
        server.signal(signal);
        server.wait();
        for _ in 0..2 {
            let said = Grantd::try_start(database.url(), &[], &VARIABLES).err().expect("it should not start");
            let process = format!("(process {})", server.id());
            assert!(said.contains("was deleted or replaced") && said.contains(&process), "{said}");
        }
        assert_eq!(fs::read(&path).unwrap(), restored);
        // What the message says.
        fs::remove_file(wal).unwrap();
        fs::remove_file(shm).unwrap();
        let server = Grantd::start(database.url(), &VARIABLES);
        server.login(ADMIN_PASSWORD).await;
        assert!(!users(&database).contains("maria"));
        assert_eq!(database.text("PRAGMA integrity_check").await, "ok");
    }
}

#[actix_web::test]
async fn a_backup_that_is_restored_as_documented_is_used() {
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &VARIABLES);
    let backup = back_up(&database).await;
    create_maria(&database);
    server.signal("TERM");
    server.wait();
    fs::rename(backup, database.directory().join("grantd.db")).unwrap();
    assert!(!users(&database).contains("maria"));
    Grantd::start(database.url(), &VARIABLES).login(ADMIN_PASSWORD).await;
}

#[actix_web::test]
async fn a_directory_that_was_copied_after_a_crash_keeps_its_changes() {
    let database = Database::sqlite();
    let mut server = Grantd::start(database.url(), &VARIABLES);
    create_maria(&database);
    server.signal("KILL");
    server.wait();
    let copy = Database::sqlite();
    for entry in fs::read_dir(database.directory()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.directory().join(entry.file_name())).unwrap();
    }
    assert!(size(&copy.directory().join("grantd.db-wal")) > 0);
    assert!(users(&copy).contains("maria"));
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

#[actix_web::test]
async fn a_log_without_its_database_is_kept() {
    for is_empty in [false, true] {
        let database = Database::sqlite();
        let mut server = Grantd::start(database.url(), &VARIABLES);
        create_maria(&database);
        server.signal("KILL");
        server.wait();
        let directory = database.directory();
        let path = directory.join("grantd.db");
        fs::rename(&path, directory.join("away.db")).unwrap();
        if is_empty {
            fs::write(&path, "").unwrap();
        }
        let wal = fs::read(directory.join("grantd.db-wal")).unwrap();
        for arguments in COMMANDS.into_iter().chain([&["serve"][..]]) {
            let said = refusal(&database, arguments);
            for part in
                ["grantd.db is missing or empty", "grantd.db-wal", "grantd.db-shm", "Move the database file back"]
            {
                assert!(said.contains(part), "{arguments:?}: {part}: {said}");
            }
        }
        assert_eq!((path.exists(), size(&path)), (is_empty, 0));
        assert_eq!(fs::read(directory.join("grantd.db-wal")).unwrap(), wal);
        fs::rename(directory.join("away.db"), &path).unwrap();
        assert!(users(&database).contains("maria"));
    }
}
