//! Attempts at once, callers who leave, and names that must not tell anything.

use std::{future::Future as _, pin::pin, sync::Arc, task::Poll};

use chrono::DateTime;
use grantd::{app::App, throttle::Attempt};

use crate::{
    harness::{Database, Form, PASSWORD, TestServer, eventually, on_both_engines},
    throttle::{HOME, PROXY, STRANGER, guess, start, try_from, use_up},
};

on_both_engines!(
    a_users_two_names_do_not_share_a_budget,
    callers_who_leave_are_not_charged,
    a_known_network_does_not_wait_for_strangers,
    attempts_at_once_cost_a_bounded_number_of_statements,
    reservations_are_given_back_at_once_without_a_deadlock,
    strangers_have_half_of_the_places_for_large_hashes,
);

/// Otherwise the second name would be refused at the first attempt, and so be known to exist.
async fn a_users_two_names_do_not_share_a_budget(database: Database) {
    let server = start(database).await;
    server.try_create_user("otto", Some("otto@example.com"), PASSWORD, &[]).await.unwrap();
    for name in ["otto", "nobody"] {
        use_up(&server, name).await;
    }
    for name in ["otto@example.com", "nobody@example.com"] {
        assert_eq!(guess(&server, "192.0.2.50", name).await, (400, None), "{name}");
    }
}

fn attempt(name: &str, last: u8) -> Attempt<'_> {
    let address = Some([10, 1, 1, last].into());
    Attempt { user: None, name, address, device_token: None, devices_since: None }
}

async fn failures(server: &TestServer) -> i64 {
    server.database().number("SELECT CAST(coalesce(sum(failures), 0) AS BIGINT) FROM throttle").await
}

async fn callers_who_leave_are_not_charged(database: Database) {
    let server = start(database).await;
    let work = async |app: Arc<App>, now: DateTime<chrono::Utc>| {
        let mut dropped = 0;
        for number in 0..60_usize {
            let name = format!("name-{number}");
            let mut reserve = pin!(app.throttle.reserve(attempt(&name, 1), now));
            // Dropped after some polls.
            let mut polls = number % 6;
            let left = std::future::poll_fn(|context| {
                if reserve.as_mut().poll(context).is_ready() {
                    return Poll::Ready(false);
                }
                polls = polls.saturating_sub(1);
                if polls == 0 { Poll::Ready(true) } else { Poll::Pending }
            });
            dropped += usize::from(left.await);
        }
        dropped
    };
    assert!(server.within(work).await > 0);
    eventually("all are given back", async || failures(&server).await == 0).await;
}

async fn a_known_network_does_not_wait_for_strangers(database: Database) {
    let server = TestServer::with(database, &[&PROXY[..], &["--hash-wait", "60s"]].concat()).await;
    server.create_user("maria", &[]).await;
    assert_eq!(try_from(&server, HOME, &Form::password("maria", PASSWORD)).await.status, 200);
    for _ in 0..9 {
        assert_eq!(guess(&server, STRANGER, "maria").await, (400, None));
    }
    let work = async |app: Arc<App>, now: DateTime<chrono::Utc>| {
        let user = grantd::users::find(&mut app.store.read().await.unwrap(), "maria").await.unwrap().id;
        let from =
            move |address: [u8; 4]| Attempt { user: Some(user), address: Some(address.into()), ..attempt("maria", 1) };
        let running = app.throttle.reserve(from([192, 0, 2, 9]), now).await.unwrap().unwrap();
        let other = Arc::clone(&app);
        let waits =
            actix_web::rt::spawn(
                async move { other.throttle.reserve(from([192, 0, 2, 10]), now).await.unwrap().is_ok() },
            );
        // HOME: it passes while the stranger's attempt is under way and another one waits for it.
        let own = app.throttle.reserve(from([198, 51, 100, 7]), now).await.unwrap().unwrap();
        let known = own.is_known();
        own.give_back().await;
        running.give_back().await;
        (known, waits.await.unwrap())
    };
    assert_eq!(server.within(work).await, (true, true));
}

async fn attempts_at_once_cost_a_bounded_number_of_statements(database: Database) {
    let server = TestServer::with(database, &[&PROXY[..], &["--hash-wait", "60s"]].concat()).await;
    for _ in 0..9 {
        assert_eq!(guess(&server, STRANGER, "nobody").await, (400, None));
    }
    let before = server.app.store.statements_run();
    let work = async |app: Arc<App>, now: DateTime<chrono::Utc>| {
        let all = (0..50).map(|_| {
            let app = Arc::clone(&app);
            actix_web::rt::spawn(async move {
                match app.throttle.reserve(attempt("nobody", 1), now).await.unwrap() {
                    Ok(reservation) => reservation.give_back().await,
                    Err(throttled) => panic!("{throttled:?}"),
                }
            })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap();
        }
    };
    server.within(work).await;
    // A reservation, a refusal with its wait, and the end of each.
    let statements = server.app.store.statements_run() - before;
    assert!(statements <= 50 * 6, "{statements}");
}

async fn reservations_are_given_back_at_once_without_a_deadlock(database: Database) {
    let server = start(database).await;
    let work = async |app: Arc<App>, now: DateTime<chrono::Utc>| {
        let all = (0..60_u8).map(|number| {
            let app = Arc::clone(&app);
            actix_web::rt::spawn(async move {
                // Accounts and networks in all combinations.
                let name = format!("name-{}", number % 3);
                if let Ok(reservation) = app.throttle.reserve(attempt(&name, number % 4), now).await.unwrap() {
                    reservation.give_back().await;
                }
            })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap();
        }
    };
    server.within(work).await;
    assert_eq!(failures(&server).await, 0);
}

/// Those that need more memory than a hash thread has are computed one at a time, with a queue of their own.
async fn strangers_have_half_of_the_places_for_large_hashes(database: Database) {
    let server = TestServer::with(database, &[&PROXY[..], &["--hash-queue", "8", "--hash-wait", "60s"]].concat()).await;
    server.create_user("slow", &[]).await;
    assert_eq!(try_from(&server, HOME, &Form::password("slow", PASSWORD)).await.status, 200);
    let hash = "$argon2id$v=19$m=65536,t=10,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let change = format!("UPDATE users SET password_hash = '{hash}' WHERE username = 'slow'");
    server.database().execute(&change).await.unwrap();
    let before = server.app.passwords.hashes_run();
    let strangers: Vec<_> = (0..8)
        .map(|number| {
            let form = Form::password("slow", &format!("wrong {number}"));
            tokio::spawn(server.token(&form).header("X-Forwarded-For", STRANGER).send())
        })
        .collect();
    eventually("the thread is busy", async || server.app.passwords.hashes_run() > before).await;
    try_from(&server, HOME, &Form::password("slow", "wrong")).await.oauth_error(400, "invalid_grant");
    let mut refused = 0;
    for stranger in strangers {
        refused += usize::from(stranger.await.unwrap().status == 503);
    }
    assert!((3..=4).contains(&refused), "{refused}");
}
