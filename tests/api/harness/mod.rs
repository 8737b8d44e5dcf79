//! The test harness: databases, servers, clients, and their set-up.

use std::time::Duration;

mod admin;
mod binary;
mod client;
mod database;
mod postgres;
mod proxy;
mod raw;
mod server;
mod set_up;
mod settings_text;
mod sql;

pub(crate) use self::{
    admin::Admin,
    binary::{GRANTD, Grantd, grantd, grantd_on_terminal},
    client::{Answer, Form, Request, http_client},
    database::Database,
    proxy::Proxy,
    raw::raw,
    server::{ADMIN_PASSWORD, MASTER_KEY, TestServer, beginning, config},
    set_up::{NewClient, PASSWORD, retire_key, rotate_keys},
    settings_text::{env_example, settings_table},
    sql::Transaction,
};

/// Defines two tests for each function: one with SQLite, the other with Postgres.
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use crate::harness::Database;

            #[actix_web::test]
            async fn sqlite() {
                super::$test(Database::sqlite()).await;
            }

            #[actix_web::test]
            async fn postgres() {
                if let Some(database) = Database::postgres().await {
                    super::$test(database).await;
                }
            }
        }
    )+};
}
pub(crate) use on_both_engines;

/// Finds the Postgres server of the tests, and reports if there is none.
pub(crate) fn postgres_is_available() {
    postgres::server();
}

/// Waits until a condition holds, and fails after half a minute. It assumes nothing about how long it takes.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "gave up waiting: {what}");
}
