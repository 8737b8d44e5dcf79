//! Certificates that are replaced while the server runs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connect::Connect;
use crate::harness::{Database, Grantd, eventually, on_both_engines};

on_both_engines!(a_server_without_tls_ignores_hangups);

/// A certificate and its key, in PEM, and the certificate in DER.
struct Pair {
    cert: String,
    key: String,
    der: Vec<u8>,
}

fn pair() -> Pair {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
}

fn write_key(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Writes a pair to a directory.
fn write(directory: &Path, pair: &Pair) {
    fs::create_dir_all(directory).unwrap();
    write_key(&directory.join("key.pem"), &pair.key);
    fs::write(directory.join("cert.pem"), &pair.cert).unwrap();
}

/// Starts a server with the pair of a directory.
fn start(database: &Database, directory: &Path) -> Grantd {
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.join(name).display().to_string());
    Grantd::start(database.url(), &[("GRANTD_TLS_CERT", &cert), ("GRANTD_TLS_KEY", &key)])
}

/// Returns the certificate that the server shows to a new connection.
async fn shown(server: &Grantd) -> Vec<u8> {
    let connection = Connect::default().to(server.url()).await.unwrap();
    connection.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn shows(server: &Grantd, pair: &Pair) {
    eventually("the new certificate is in use", async || shown(server).await == pair.der).await;
}

/// Ends the server, and returns its log.
fn log(mut server: Grantd) -> String {
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    server.kill().1
}

const UNUSABLE: &str = "the new certificate is not usable; the one before stays in use";

#[actix_web::test]
async fn a_replaced_link_is_followed_and_connections_stay() {
    let (database, files, [one, two]) = (Database::sqlite(), tempfile::tempdir().unwrap(), [pair(), pair()]);
    // As Kubernetes does: the directory with the files is a link, which is replaced.
    let link = files.path().join("current");
    write(&files.path().join("1"), &one);
    write(&files.path().join("2"), &two);
    symlink("1", &link).unwrap();
    let server = start(&database, &link);
    let mut connection = Connect::default().to(server.url()).await.unwrap();
    assert_eq!(shown(&server).await, one.der);

    symlink("2", files.path().join("new")).unwrap();
    fs::rename(files.path().join("new"), &link).unwrap();
    shows(&server, &two).await;
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let log = log(server);
    assert_eq!(log.matches("a new certificate is in use").count(), 1, "{log}");
    assert!(!log.contains(UNUSABLE), "{log}");
}

#[actix_web::test]
async fn a_pair_is_used_once_both_files_are_written() {
    let (database, files, [one, two]) = (Database::sqlite(), tempfile::tempdir().unwrap(), [pair(), pair()]);
    write(files.path(), &one);
    let server = start(&database, files.path());
    // By a rename, so that no half of it is read.
    fs::write(files.path().join("new.pem"), &two.cert).unwrap();
    fs::rename(files.path().join("new.pem"), files.path().join("cert.pem")).unwrap();
    // Two reads of what does not belong together: the first one may have come before the change.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(shown(&server).await, one.der);
    write_key(&files.path().join("key.pem"), &two.key);
    shows(&server, &two).await;
    let log = log(server);
    assert_eq!(log.matches(UNUSABLE).count(), 1, "a problem is logged once: {log}");
    assert!(log.contains("cert.pem"), "{log}");
}

#[actix_web::test]
async fn broken_and_missing_files_leave_the_old_pair_in_use() {
    let (database, files, [one, two]) = (Database::sqlite(), tempfile::tempdir().unwrap(), [pair(), pair()]);
    write(files.path(), &one);
    let server = start(&database, files.path());
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    // SIGHUP reads the files at once, so that this test need not wait for the clock.
    let problems: [(&str, &dyn Fn()); 4] = [
        ("no certificate", &|| fs::write(&cert, "").unwrap()),
        ("half a certificate", &|| fs::write(&cert, &two.cert[..two.cert.len() / 2]).unwrap()),
        ("no file", &|| fs::remove_file(&cert).unwrap()),
        ("readable by others", &|| {
            // First the mode, which a write keeps: the server may read the files at any time.
            fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
            fs::write(&key, &two.key).unwrap();
            fs::write(&cert, &two.cert).unwrap();
        }),
    ];
    for (what, damage) in problems {
        damage();
        server.signal("HUP");
        assert_eq!(shown(&server).await, one.der, "{what}");
    }
    // A mode is corrected without a change of the file.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    shows(&server, &two).await;
    let log = log(server);
    assert!(log.contains("stays in use") && log.contains("chmod 600"), "{log}");
    let secret = two.key.lines().nth(1).unwrap();
    assert!(!log.contains(secret), "{log}");
}

#[actix_web::test]
async fn sighup_reads_the_files_again() {
    let (database, files, pair) = (Database::sqlite(), tempfile::tempdir().unwrap(), pair());
    write(files.path(), &pair);
    let server = start(&database, files.path());
    server.signal("HUP");
    // The signals are handled in order: the log has the line before the server ends.
    assert_eq!(shown(&server).await, pair.der);
    let log = log(server);
    let line = log.lines().find(|line| line.contains("a new certificate is in use")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("cert.pem") && line.contains("not_after"), "{line}");
}

async fn a_server_without_tls_ignores_hangups(database: Database) {
    let server = Grantd::start(database.url(), &[("GRANTD_ADMIN_PASSWORD", crate::harness::ADMIN_PASSWORD)]);
    for _ in 0..3 {
        server.signal("HUP");
        assert_eq!(server.request("GET", "/healthz").send().await.status, 200);
    }
    assert!(log(server).contains("SIGHUP is ignored"));
}
