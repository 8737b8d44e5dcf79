//! Budgets of failures agree with a model, with a moving clock and several servers at once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::{DateTime, Duration, Utc};
use grantd::{app::App, throttle::Attempt};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};

use crate::{
    harness::{Database, Form, PASSWORD, TestServer, on_both_engines},
    throttle::try_from,
};

on_both_engines!(budgets_agree_with_a_model, a_botnet_reaches_as_many_hashes_as_are_free);

/// A step of one of the servers.
#[derive(Clone, Debug)]
enum Step {
    /// Presents a password.
    Attempt { server: usize, account: usize, network: u8, with_device: bool, result: Outcome },
    /// Lets time pass, in milliseconds.
    Pass(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Wrong,
    Right,
    /// The hash was not computed.
    GivenBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let result = prop_oneof![8 => Just(Outcome::Wrong), 1 => Just(Outcome::Right), 2 => Just(Outcome::GivenBack)];
    let attempt = (0..2_usize, 0..3_usize, 0..3_u8, prop::bool::weighted(0.2), result).prop_map(
        |(server, account, network, with_device, result)| Step::Attempt {
            server,
            account,
            network,
            with_device,
            result,
        },
    );
    // Waits double from a second; the windows below are two and one minutes, and networks are known for 90 days.
    let times = prop_oneof![5 => 0..3000_i64, 3 => 3000..70_000_i64, 1 => 60_000..200_000_i64, 1 => 7_000_000_000..7_800_000_000_i64];
    prop::collection::vec(prop_oneof![6 => attempt, 1 => times.prop_map(Step::Pass)], 150)
}

/// A budget of the model.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    failures: i32,
    last: Option<DateTime<Utc>>,
}

const LOGIN: (i32, i64, i64) = (3, 120, 900);
const NETWORK: (i32, i64, i64) = (6, 60, 300);

impl Model {
    /// Returns the time from which on an attempt is allowed.
    fn free_at(self, (free, window, longest): (i32, i64, i64)) -> DateTime<Utc> {
        let Some(last) = self.last.filter(|_| self.failures >= free) else { return DateTime::UNIX_EPOCH };
        let wait = (0..self.failures - free).fold(1, |wait, _| (wait * 2).min(longest));
        last + Duration::seconds(wait.min(window))
    }

    fn charge(&mut self, (_, window, _): (i32, i64, i64), now: DateTime<Utc>) {
        let is_over = self.last.is_some_and(|last| now >= last + Duration::seconds(window));
        self.failures = if is_over { 1 } else { self.failures + 1 };
        self.last = Some(now);
    }
}

type Times = (DateTime<Utc>, DateTime<Utc>);

#[derive(Default)]
struct Budgets {
    all: BTreeMap<String, Model>,
    known: BTreeMap<(usize, u8), DateTime<Utc>>,
    /// From when to when a server stops to refuse attempts on an account from a network without asking the database: after
    /// half a second to a second.
    recent: BTreeMap<(usize, usize, u8), Times>,
}

impl Budgets {
    /// Returns whether the attempt must have passed, and charges its outcome. `passed`: it did, which counts where both are
    /// right.
    fn attempt(
        &mut self,
        server: usize,
        (account, network): (usize, u8),
        device: bool,
        (outcome, passed): (Outcome, bool),
        now: DateTime<Utc>,
    ) -> bool {
        let (pair, recent) = ((account, network), (server, account, network));
        let remembered = self.recent.get(&recent).copied().filter(|(_, to)| !device && now < *to);
        if remembered.is_some_and(|(from, _)| now < from) {
            return false;
        }
        let is_known = self.known.get(&pair).is_some_and(|at| now - *at < Duration::days(90));
        let charged = if device {
            vec![(format!("device {account}"), LOGIN)]
        } else if is_known {
            vec![(format!("pair {pair:?}"), LOGIN)]
        } else {
            vec![(format!("account {account}"), LOGIN), (format!("network {network}"), NETWORK)]
        };
        let free = charged.iter().map(|(key, limits)| self.all.entry(key.clone()).or_default().free_at(*limits)).max();
        if let Some(free_at) = free.filter(|free_at| now < *free_at) {
            if !device {
                let until = |milliseconds| free_at.min(now + Duration::milliseconds(milliseconds));
                // Where it is unknown whether the database was asked, the earlier refusal may be the one remembered.
                let from = remembered.map_or_else(|| until(500), |(from, _)| from);
                self.recent.insert(recent, (from, until(1000)));
            }
            return false;
        }
        if remembered.is_some() && !passed {
            return false;
        }
        for (key, limits) in &charged {
            match outcome {
                Outcome::Wrong => self.all.entry(key.clone()).or_default().charge(*limits, now),
                Outcome::Right if device || is_known => drop(self.all.remove(key)),
                Outcome::Right | Outcome::GivenBack => {}
            }
        }
        if outcome == Outcome::Right {
            // Written once a day.
            let is_fresh = self.known.get(&pair).is_some_and(|at| now - *at < Duration::days(1));
            if !is_fresh {
                self.known.insert(pair, now);
            }
            self.all.remove(&format!("pair {pair:?}"));
            self.recent.remove(&recent);
        }
        true
    }
}

/// Makes an attempt with the functions of a server. Returns whether it passes.
async fn attempt(server: &TestServer, account: usize, network: u8, device: Option<String>, outcome: Outcome) -> bool {
    let id = [u8::try_from(account).unwrap(); 16];
    let work = move |app: Arc<App>, now| async move {
        let address = Some([192, 0, 2, network].into());
        let (user, name, device_token) = (Some(id.into()), format!("name-{account}"), device.as_deref());
        let attempt = Attempt { user, name: &name, address, device_token, devices_since: None };
        if app.throttle.refused_lately(&name, address, device_token, now).is_some() {
            return false;
        }
        let reserved = app.throttle.reserve(attempt, now).await;
        let Ok(reservation) = reserved.unwrap() else { return false };
        match outcome {
            Outcome::Wrong => reservation.fail(),
            Outcome::Right => reservation.succeed().await,
            Outcome::GivenBack => reservation.give_back().await,
        }
        true
    };
    server.within(work).await
}

/// Starts another server on the database of Postgres; a SQLite file has one server.
async fn replica(server: &TestServer, flags: &[&str]) -> Option<TestServer> {
    if !server.database().is_postgres() {
        return None;
    }
    Some(TestServer::on(server.database().url(), flags, server.clock.clone()).await.unwrap())
}

async fn budgets_agree_with_a_model(database: Database) {
    let flags = ["--login-failures", "3/2m", "--network-failures", "6/1m"];
    let server = TestServer::with(database, &flags).await;
    let other = replica(&server, &flags).await;
    let servers = [&server, other.as_ref().unwrap_or(&server)];
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    for case in 0..12 {
        let all = steps().new_tree(&mut runner).unwrap().current();
        server.database().execute("DELETE FROM throttle").await.unwrap();
        for server in servers {
            server.app.throttle.forget_refusals();
        }
        let mut model = Budgets::default();
        let mut done = Vec::new();
        for step in all {
            done.push(step.clone());
            match step {
                Step::Pass(milliseconds) => server.advance(Duration::milliseconds(milliseconds)),
                Step::Attempt { server: number, account, network, with_device, result } => {
                    let now = server.clock.now();
                    let id = [u8::try_from(account).unwrap(); 16];
                    let device = Some(device_of(account));
                    let token = with_device.then(|| server.app.throttle.device_token(id.into(), device, now).unwrap());
                    let server_id = if other.is_some() { number } else { 0 };
                    let passed = attempt(servers[number], account, network, token, result).await;
                    let expected = model.attempt(server_id, (account, network), with_device, (result, passed), now);
                    assert_eq!(passed, expected, "case {case}: {done:#?}");
                }
            }
        }
    }
}

/// Returns the same device for each account.
fn device_of(account: usize) -> grantd::throttle::Device {
    grantd::throttle::Device::with_nonce([u8::try_from(account).unwrap(); 16])
}

/// 10,000 guesses from 1,000 addresses on 100 accounts, 64 at a time, on two servers.
async fn a_botnet_reaches_as_many_hashes_as_are_free(database: Database) {
    // Strangers have half of the places, which is enough for all of them.
    let flags = ["--trusted-proxies", "127.0.0.1", "--hash-queue", "128"];
    let server = TestServer::with(database, &flags).await;
    let other = replica(&server, &flags).await;
    let servers: Arc<[String]> =
        [Some(&server), other.as_ref()].into_iter().flatten().map(|server| server.url().to_owned()).collect();
    server.create_user("otto", &[]).await;
    // The owners have logged in before: at home, and on a device.
    let home = try_from(&server, "198.51.100.1", &Form::password("otto", PASSWORD)).await.json_with(200);
    let device = home["device_token"].as_str().unwrap().to_owned();
    let hashes =
        || server.app.passwords.hashes_run() + other.as_ref().map_or(0, |other| other.app.passwords.hashes_run());
    let before = hashes();
    let client = crate::harness::http_client();
    let next = Arc::new(AtomicUsize::new(0));
    let guessers = (0..64).map(|_| {
        let (client, servers, next) = (client.clone(), Arc::clone(&servers), Arc::clone(&next));
        tokio::spawn(async move {
            let mut answers = BTreeMap::<u16, usize>::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= 10_000 {
                    return answers;
                }
                // One of the accounts exists. Each address guesses at ten of them.
                let name = if number % 100 == 0 { "otto".to_owned() } else { format!("name-{}", number % 100) };
                let address = format!("10.0.{}.{}", number / 10 / 250, number / 10 % 250);
                let form = Form::password(&name, "wrong").encode();
                let request = client.post(format!("{}/token", servers[number % servers.len()]));
                // Without reuse: a connection that idles while the machine is busy may be closed at this moment.
                let request = request.header("X-Forwarded-For", address).header("Connection", "close");
                let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form);
                *answers.entry(request.send().await.unwrap().status().as_u16()).or_default() += 1;
            }
        })
    });
    let mut answers = BTreeMap::<u16, usize>::new();
    for guesser in guessers.collect::<Vec<_>>() {
        for (status, count) in guesser.await.unwrap() {
            *answers.entry(status).or_default() += count;
        }
    }
    // The clock stands still: the free failures of each account, and no other attempt.
    assert_eq!(answers, BTreeMap::from([(400, 1000), (429, 9000)]));
    assert_eq!(hashes() - before, 1000);
    // The owner logs in every time.
    for number in 0..20 {
        let right = Form::password("otto", PASSWORD);
        assert_eq!(try_from(&server, "198.51.100.1", &right).await.status, 200);
        let away = try_from(&server, &format!("203.0.113.{number}"), &right.clone().and("device_token", &device)).await;
        assert_eq!(away.status, 200);
    }
}
