//! `grantd health`.

use std::{net::TcpListener, process::Output};

use crate::{
    harness::{ADMIN_PASSWORD, Database, Grantd, eventually, grantd},
    stop, tls,
};

fn health(variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = grantd("sqlite:///none/grantd.db", &["health"], "", variables);
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// Returns an address that nobody listens on.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[actix_web::test]
async fn a_ready_server_is_healthy_until_it_stops() {
    let database = Database::sqlite();
    let server = Grantd::start(database.url(), &[("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)]);
    let address = server.url().trim_start_matches("http://").to_owned();
    let port = address.rsplit(':').next().unwrap();
    assert_eq!(health(&[("GRANTD_LISTEN", &address)]), (Some(0), "ready\n".to_owned()));
    // An address of all interfaces, and a proxy that is not asked.
    let every = format!("0.0.0.0:{port}");
    let public = [
        ("GRANTD_LISTEN", &*every),
        ("GRANTD_ISSUER", "https://id.example"),
        ("GRANTD_ALLOW_INSECURE", "true"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
    ];
    assert_eq!(health(&public), (Some(0), "ready\n".to_owned()));
    let _login = stop::begin(server.url()).await;
    stop::terminate(&server).await;
    let stopping = "error: not ready (503): the server is shutting down; retry later\n".to_owned();
    assert_eq!(health(&[("GRANTD_LISTEN", &address)]), (Some(1), stopping));
}

#[actix_web::test]
async fn a_server_with_tls_is_asked_over_tls() {
    let (database, files, address) = (Database::sqlite(), tempfile::tempdir().unwrap(), free());
    let [_, cert, _, key] = tls::flags(files.path(), 0o600);
    let settings = [("GRANTD_LISTEN", &*address), ("GRANTD_TLS_CERT", &*cert), ("GRANTD_TLS_KEY", &*key)];
    let _server = Grantd::start(database.url(), &settings);
    assert_eq!(health(&settings), (Some(0), "ready\n".to_owned()));
    let (code, said) = health(&settings[..1]);
    assert!(code == Some(1) && said.starts_with("error: "), "{said}");
}

#[actix_web::test]
async fn what_does_not_answer_is_not_healthy() {
    let address = free();
    let (code, said) = health(&[("GRANTD_LISTEN", &address)]);
    assert_eq!((code, said), (Some(1), format!("error: cannot reach the server at {address}: connection refused\n")));
    let (code, said) = health(&[("GRANTD_LISTEN", "127.0.0.1:0")]);
    assert!(code == Some(1) && said.contains("--listen"), "{said}");
    // A server whose database is gone.
    let database = Database::sqlite();
    let server = Grantd::start(database.url(), &[("GRANTD_ADMIN_PASSWORD", ADMIN_PASSWORD)]);
    let address = server.url().trim_start_matches("http://").to_owned();
    std::fs::remove_file(database.directory().join("grantd.db")).unwrap();
    let mut last = (None, String::new());
    eventually("it is not ready", async || {
        last = health(&[("GRANTD_LISTEN", &address)]);
        last.0 == Some(1)
    })
    .await;
    assert!(last.1.starts_with("error: not ready (503): "), "{}", last.1);
}
