//! What every test stands on: a database, a server, a client, and what they are set up with.

use std::time::Duration;

mod admin;
mod binary;
mod client;
mod database;
mod past;
mod postgres;
mod proxy;
mod raw;
mod server;
mod set_up;
mod settings_text;

pub(crate) use self::{
    admin::Admin,
    binary::{GRANTD, Grantd, grantd, grantd_on_terminal},
    client::{Answer, Form, Request, http_client},
    database::Database,
    past::Transaction,
    proxy::Proxy,
    raw::raw,
    server::{ADMIN_PASSWORD, MASTER_KEY, TestServer, beginning, config},
    set_up::{NewClient, PASSWORD, retire_key, rotate_keys},
    settings_text::{env_example, settings_table},
};

/// Makes two tests of each function: one gets a SQLite file, the other a database on Postgres.
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

/// Looks for the Postgres of the tests, and says so where there is none.
pub(crate) fn postgres_is_there() {
    postgres::server();
}

/// Waits until something is so, without an assumption about how long that takes; gives up after half a minute.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "gave up waiting: {what}");
}
