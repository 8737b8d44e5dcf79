//! TLS without a proxy. (Certificate and key are in `tls/`; the key is used only by these tests.)

pub(crate) mod connect;
mod http2;
mod reload;
mod self_signed;

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use grantd::clock::Clock;
use rustls::{ProtocolVersion, version};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use self::connect::Connect;
use crate::{
    harness::{ADMIN_PASSWORD, Database, TestServer, beginning, config, grantd, http_client, on_both_engines},
    token::claims,
};

on_both_engines!(responses_over_tls_have_hsts_and_plain_http_fails);

/// A server with TLS, and the files of its certificate.
pub(crate) async fn server(flags: &[&str]) -> (TestServer, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let tls = self::flags(files.path(), 0o600);
    let flags = [&tls.each_ref().map(String::as_str)[..], flags].concat();
    (TestServer::with(Database::sqlite(), &flags).await, files)
}

/// Writes certificate and key to a directory, the key with this mode. Returns the flags.
pub(crate) fn flags(directory: &std::path::Path, mode: u32) -> [String; 4] {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&cert, include_bytes!("tls/cert.pem")).unwrap();
    fs::write(&key, include_bytes!("tls/key.pem")).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    ["--tls-cert".to_owned(), cert.display().to_string(), "--tls-key".to_owned(), key.display().to_string()]
}

async fn responses_over_tls_have_hsts_and_plain_http_fails(database: Database) {
    let files = tempfile::tempdir().unwrap();
    let flags = flags(files.path(), 0o600);
    let server = TestServer::with(database, &flags.each_ref().map(String::as_str)).await;
    assert!(server.url().starts_with("https://127.0.0.1:"), "{}", server.url());
    let token = server.admin().await;
    assert_eq!(claims(&token)["iss"], server.url());
    let answer = server.get("/users/me").bearer(&token).send().await;
    assert_eq!((answer.status, answer.header("strict-transport-security")), (200, "max-age=31536000"));
    // Plain HTTP gets no response, and does not affect other connections.
    let plain = http_client().get(server.url().replace("https", "http") + "/healthz").send().await;
    assert!(plain.is_err(), "{plain:?}");
    let plain = server.url().replace("https", "http");
    let get = ["token", "get", "--username", "admin", "--password-stdin", "--url", &plain];
    let home = files.path().to_str().unwrap();
    let said = grantd(server.database().url(), &get, ADMIN_PASSWORD, &[("HOME", home)]).stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(&format!("the server at {plain} does not speak HTTP; try https://")), "{said}");
    // Nobody on this machine trusts the certificate of these tests.
    let get = ["token", "get", "--username", "admin", "--password-stdin", "--url", server.url()];
    let said = grantd(server.database().url(), &get, ADMIN_PASSWORD, &[("HOME", home)]).stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("is not accepted") && said.contains("SSL_CERT_FILE") && !said.contains("grantd serve"),
        "{said}"
    );
    assert_eq!(server.get("/healthz").send().await.status, 200);
}

#[actix_web::test]
async fn unsafe_and_incomplete_settings_are_refused() {
    let database = Database::sqlite();
    let refusal = async |flags: &[&str]| {
        let server = TestServer::on(database.url(), flags, Clock::manual(beginning())).await;
        server.err().expect("it should not start")
    };
    let [cert_flag, cert, key_flag, key] = &flags(database.directory(), 0o644);
    let why = refusal(&[cert_flag, cert, key_flag, key]).await;
    assert!(why.contains("GRANTD_TLS_KEY") && why.contains("chmod 600"), "{why}");
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    for wrong in [[cert, cert], [key, key]] {
        let why = refusal(&[cert_flag, wrong[0], key_flag, wrong[1]]).await;
        assert!(why.contains("GRANTD_TLS_CERT"), "{why}");
    }
    for half in [[cert_flag, cert], [key_flag, key]] {
        let why = refusal(&half.map(String::as_str)).await;
        assert!(why.contains("GRANTD_TLS_CERT") && why.contains("GRANTD_TLS_KEY"), "{why}");
    }
    // With both, a public address is accepted.
    let public = ["--listen", "0.0.0.0:0", "--issuer", "https://id.example", cert_flag, cert, key_flag, key];
    config(database.url(), &public).unwrap();
}

#[actix_web::test]
async fn only_tls_1_2_and_1_3_are_spoken() {
    let (server, _files) = server(&[]).await;
    for (version, expected) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let connection = Connect { versions: vec![version], ..Connect::default() }.to(server.url()).await.unwrap();
        assert_eq!(connection.get_ref().1.protocol_version(), Some(expected));
    }
    // The hello of TLS 1.1: its version, 32 random bytes, no session, two ciphers, no compression, and as extensions P-256 and ECDSA.
    let extensions = [0, 22, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3];
    let extensions = &extensions[..];
    let hello = [&[3, 2][..], &[7; 32], &[0], &[0, 4, 0xc0, 0x09, 0xc0, 0x13], &[1, 0], extensions].concat();
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
    let mut connection = TcpStream::connect(server.url().trim_start_matches("https://")).await.unwrap();
    connection.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70], "the fatal alert `protocol_version`");
}

#[actix_web::test]
async fn the_server_chooses_the_cipher() {
    let (server, _files) = server(&[]).await;
    for version in [&version::TLS12, &version::TLS13] {
        let mut chosen = Vec::new();
        for is_reversed in [false, true] {
            let mut connect = Connect { versions: vec![version], ..Connect::default() };
            if is_reversed {
                Arc::make_mut(&mut connect.provider).cipher_suites.reverse();
            }
            let connection = connect.to(server.url()).await.unwrap();
            chosen.push(connection.get_ref().1.negotiated_cipher_suite().unwrap().suite());
        }
        assert_eq!(chosen[0], chosen[1]);
    }
}
