//! The file of a SQLite database: only one server can use it, and its deletion or replacement is detected.

use std::{fs, os::unix::fs::PermissionsExt as _};

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
    assert_eq!(fs::read_to_string(&lock).unwrap(), format!("{}\n", server.id()));
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
