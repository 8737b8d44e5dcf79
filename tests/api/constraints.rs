//! The database decides what is unique; the code knows each constraint by name, on both engines.

use grantd::error::Error;

use crate::harness::{Database, NewClient, PASSWORD, TestServer, on_both_engines};

on_both_engines!(each_unique_name_is_told, impossible_rows_are_errors_and_no_panics);

async fn each_unique_name_is_told(database: Database) {
    let server = TestServer::start(database).await;
    server.try_create_user("maria", Some("maria@example.com"), PASSWORD, &[]).await.unwrap();
    let before = server.database().row_counts().await;
    let taken = |error: Error| match error {
        Error::Taken { field } => field,
        other => panic!("{other}"),
    };
    let create = async |name, email, roles| server.try_create_user(name, email, PASSWORD, roles).await.unwrap_err();
    assert_eq!(taken(create("MARIA", None, &[]).await), "username");
    assert_eq!(taken(create("otto", Some("MARIA@example.com"), &[]).await), "email");
    let unknown = create("otto", None, &["nothing"]).await;
    assert!(matches!(&unknown, Error::Invalid(errors) if errors[0].field == "roles"), "{unknown}");

    server.create_client(NewClient::default()).await;
    assert_eq!(taken(server.try_create_client(NewClient::default()).await.unwrap_err()), "client_id");
    let unknown = NewClient { id: "other", scopes: "nothing", ..NewClient::default() };
    let unknown = server.try_create_client(unknown).await.unwrap_err();
    assert!(matches!(&unknown, Error::Invalid(errors) if errors[0].field == "scopes"), "{unknown}");

    let mut after = server.database().row_counts().await;
    after.iter_mut().filter(|(table, _)| *table == "clients").for_each(|(_, count)| *count -= 1);
    assert_eq!(after, before);
}

async fn impossible_rows_are_errors_and_no_panics(database: Database) {
    let server = TestServer::start(database).await;
    server.create_user("maria", &[]).await;
    let token = server.login("maria", PASSWORD).await;
    server.database().execute("UPDATE users SET username = 'no name' WHERE username = 'maria'").await.unwrap();
    server.get("/users/me").bearer(&token).send().await.problem(500, "internal");
    server.get("/users/me").bearer(&server.admin().await).send().await.json_with(200);
    server.database().execute("UPDATE clients SET grant_types = 'nothing'").await.unwrap();
    server.token(&crate::harness::Form::admin()).send().await.oauth_error(500, "server_error");
}
