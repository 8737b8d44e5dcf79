//! The measurements, in the order of the table. Compared measurements alternate.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    Outcome, guessing, hashing, import,
    latency::{self, Flood},
    limits,
    load::{self, Connection},
    plan::Plan,
    postgres::Database,
    process::Memory,
    replicas,
    report::{Figure, Report, median, milliseconds, percentile},
    servers::{Grantd, OPERATOR, PASSWORD, Server, SetUp, UNTHROTTLED, USERNAME, WATCHER},
    timing, tokens, users,
};

/// Clients of routes, and clients that guess passwords.
const CLIENTS: usize = 64;
/// Clients that log in without a pause: enough to keep all hash threads busy.
const LOGINS: usize = 16;
/// Requests for `/users/me` per second in measurements of latency.
const PER_SECOND: u32 = 200;
/// How long a server idles before its memory at rest is read.
const SETTLE: Duration = Duration::from_secs(1);
/// How long after a flood the memory of the hash threads must be freed.
const AFTER_FLOOD: Duration = Duration::from_mins(1);

/// The database engine.
pub(crate) enum Engine {
    /// A SQLite file.
    Sqlite,
    /// A Postgres database.
    Postgres(Database),
}

impl Engine {
    fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(_) => "Postgres",
        }
    }

    fn url(&self) -> Option<&str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(database) => Some(&database.url),
        }
    }
}

/// Measures everything on one engine.
pub(crate) fn all(engine: &Engine, plan: &Plan, report: &mut Report) -> Outcome<()> {
    let grantd = Grantd::new(engine.url(), plan.threads)?;
    let set_up = grantd.set_up()?;
    let mut bench = Bench { engine: engine.name(), plan, report, set_up, me: Vec::new() };
    bench.me = load::get("/users/me", Some(&bench.set_up.token));
    if plan.has("start") {
        bench.start(&grantd)?;
    }
    if plan.has("flood") || plan.has("login-time") {
        // Throttled, most wrong passwords would not reach the hash threads.
        let (server, _) = grantd.start_with(&UNTHROTTLED)?;
        if plan.has("flood") {
            bench.flood(&server)?;
        }
        if plan.has("login-time") {
            bench.login_time(server.address)?;
        }
    }
    if plan.has("throttle") {
        bench.throttle(&grantd)?;
    }
    if plan.has("guessing") {
        bench.guessing(&grantd)?;
    }
    if plan.has("limits") {
        bench.limits(&grantd)?;
    }
    if plan.has("replicas") && engine.url().is_some() {
        replicas::all(&grantd, &bench.me, plan, bench.report)?;
    }
    let (server, _) = grantd.start()?;
    let (address, database) = (server.address, grantd.database());
    if plan.has("logins") {
        bench.logins(address)?;
    }
    if plan.has("routes") {
        bench.routes(address)?;
    }
    if plan.has("refreshes") {
        bench.refreshes(address, database)?;
    }
    if plan.has("propagation") {
        // A SQLite file has one server, which then is both.
        let other = if engine.url().is_some() { Some(grantd.start()?.0) } else { None };
        bench.propagation(address, other.as_ref().map_or(address, |other| other.address))?;
    }
    if plan.has("users") {
        bench.users(address, database)?;
    }
    // The last one: it adds twice as many users as there were.
    if plan.has("import") {
        bench.import(database)?;
    }
    Ok(())
}

struct Bench<'a> {
    engine: &'static str,
    plan: &'a Plan,
    report: &'a mut Report,
    set_up: SetUp,
    /// A request for `/users/me`.
    me: Vec<u8>,
}

impl Bench<'_> {
    fn figure(&self, what: impl Into<String>, value: f64, unit: &'static str) -> Figure {
        Figure::new(self.engine, what, value, unit)
    }

    fn say(&self, what: &str) {
        eprintln!("{}: {what}", self.engine);
    }

    fn start(&mut self, grantd: &Grantd) -> Outcome<()> {
        self.say("start to ready");
        let times = (0..self.plan.starts).map(|_| Ok(grantd.start()?.1)).collect::<Outcome<Vec<_>>>()?;
        let figure = self.figure("from start to ready", median(&milliseconds(&times)), "ms");
        // No target with Postgres, whose time is included.
        self.report.add(if self.engine == "SQLite" { figure.at_most(150.0) } else { figure });
        Ok(())
    }

    /// Measures `/users/me` at a fixed rate, idle and during a flood of password guesses, and the memory of both.
    fn flood(&mut self, server: &Server) -> Outcome<()> {
        let (wrong, right) = (load::login(USERNAME, "a-wrong-password"), load::login(USERNAME, PASSWORD));
        thread::sleep(SETTLE);
        let rest = server.process.memory();
        latency::at_rate(server.address, &self.me, PER_SECOND, self.plan.warm_up)?;
        let (mut idle, mut flooded) = (Vec::new(), Vec::new());
        let (mut refused, mut admitted) = (Vec::new(), Vec::new());
        for round in 1..=self.plan.rounds {
            self.say(&format!("a flood of logins, round {round} of {}", self.plan.rounds));
            idle.extend(latency::at_rate(server.address, &self.me, PER_SECOND, self.plan.steady)?);
            let guessing = Flood::start(server.address, &wrong, CLIENTS);
            let knowing = Flood::start(server.address, &right, 1);
            thread::sleep(self.plan.warm_up);
            flooded.extend(latency::at_rate(server.address, &self.me, PER_SECOND, self.plan.steady)?);
            admitted.push(knowing.stop()?);
            refused.push(guessing.stop()?);
        }
        self.report_latency(&milliseconds(&idle), &milliseconds(&flooded));
        self.report_answers("wrong passwords in the flood", &refused);
        self.report_answers("a right password in the flood", &admitted);
        thread::sleep(SETTLE);
        let flood = server.process.memory();
        self.say("memory after the flood");
        thread::sleep(AFTER_FLOOD);
        if let (Some(rest), Some(flood), Some(after)) = (rest, flood, server.process.memory()) {
            let allowed = f64::from(hashing::MEMORY_MIB * u32::try_from(self.plan.threads)?) + 30.0;
            self.report.add(self.figure("memory at rest", rest.now, "MiB").at_most(40.0));
            self.report.add(self.figure("memory in the flood, at most", flood.peak, "MiB").at_most(rest.now + allowed));
            self.report.add(self.figure("memory a minute after the flood", after.now, "MiB").at_most(30.0));
        }
        Ok(())
    }

    fn report_latency(&mut self, idle: &[f64], flooded: &[f64]) {
        for percent in [50, 99] {
            let (idle, flooded) = (percentile(idle, percent), percentile(flooded, percent));
            let what = format!("/users/me at {PER_SECOND}/s, p{percent}");
            self.report.add(self.figure(format!("{what}, idle"), idle, "ms"));
            let figure = self.figure(format!("{what}, in the flood"), flooded, "ms").beside("idle", idle);
            self.report.add(if percent == 99 { figure.at_most((3.0 * idle).max(10.0)) } else { figure });
        }
    }

    /// Reports responses per second, by status: hashing (200, 400) must continue.
    fn report_answers(&mut self, what: &str, rounds: &[BTreeMap<u16, f64>]) {
        let mut statuses: Vec<u16> = rounds.iter().flat_map(BTreeMap::keys).copied().collect();
        statuses.sort_unstable();
        statuses.dedup();
        for status in statuses {
            let rates: Vec<f64> = rounds.iter().map(|round| round.get(&status).copied().unwrap_or_default()).collect();
            let figure = self.figure(format!("{what}, answered {status}"), median(&rates), "/s");
            self.report.add(if status <= 400 { figure.above(0.0) } else { figure });
        }
    }

    /// Measures logins with and without a limit of failures. A SQLite file has one server: they take turns.
    fn throttle(&mut self, grantd: &Grantd) -> Outcome<()> {
        let (request, mut with, mut without) = (load::login(USERNAME, PASSWORD), Vec::new(), Vec::new());
        for round in 1..=self.plan.rounds {
            self.say(&format!("throttled and unthrottled logins, round {round} of {}", self.plan.rounds));
            let (server, _) = grantd.start()?;
            with.push(load::per_second(server.address, &request, LOGINS, self.plan)?);
            drop(server);
            let (server, _) = grantd.start_with(&UNTHROTTLED)?;
            without.push(load::per_second(server.address, &request, LOGINS, self.plan)?);
        }
        let figure = self.figure("logins with a limit of failures", median(&with), "/s");
        self.report.add(figure.beside("without", median(&without)).ratio_at_least(0.98));
        Ok(())
    }

    /// Measures the owner's logins and another route while others guess passwords.
    fn guessing(&mut self, grantd: &Grantd) -> Outcome<()> {
        // Guesses come through a proxy, which reports their addresses.
        let (server, _) = grantd.start_with(&[("GRANTD_TRUSTED_PROXIES", "127.0.0.1")])?;
        Connection::open(server.address)?.call(&guessing::owner())?;
        thread::sleep(SETTLE);
        let rest = server.process.memory();
        let me = (&*self.me, PER_SECOND);
        for (addresses, what) in [(1, "one address"), (1000, "1000 addresses")] {
            let (mut idle, mut flooded, mut logins, mut succeeded) = (Vec::new(), Vec::new(), 0, 0);
            for round in 1..=self.plan.rounds {
                self.say(&format!("guesses from {what}, round {round} of {}", self.plan.rounds));
                idle.extend(latency::at_rate(server.address, &self.me, PER_SECOND, self.plan.steady)?);
                let flood = guessing::flood(server.address, addresses, me, self.plan.steady)?;
                flooded.extend(flood.took);
                logins += flood.logins;
                succeeded += flood.succeeded;
            }
            let share = 100.0 * f64::from(succeeded) / f64::from(logins);
            self.report.add(self.figure(format!("the owner's logins, guesses from {what}"), share, "%").at_least(95.0));
            let (idle, flooded) = (percentile(&milliseconds(&idle), 99), percentile(&milliseconds(&flooded), 99));
            let figure = self.figure(format!("/users/me p99, guesses from {what}"), flooded, "ms");
            self.report.add(figure.beside("idle", idle).at_most((2.0 * idle).max(5.0)));
        }
        self.say("memory after the guesses");
        thread::sleep(AFTER_FLOOD);
        if let (Some(rest), Some(after)) = (rest, server.process.memory()) {
            let figure = self.figure("memory a minute after the guesses", after.now, "MiB");
            self.report.add(figure.beside("before", rest.now));
        }
        Ok(())
    }

    fn logins(&mut self, grantd: SocketAddr) -> Outcome<()> {
        let (request, mut logins, mut hashes) = (load::login(USERNAME, PASSWORD), Vec::new(), Vec::new());
        for round in 1..=self.plan.rounds {
            self.say(&format!("logins, round {round} of {}", self.plan.rounds));
            logins.push(load::per_second(grantd, &request, LOGINS, self.plan)?);
            hashes.push(hashing::per_second(self.plan.threads, self.plan.window)?);
        }
        let figure = self.figure("logins", median(&logins), "/s").beside("bare Argon2id", median(&hashes));
        self.report.add(figure.ratio_at_least(0.9));
        Ok(())
    }

    fn routes(&mut self, grantd: SocketAddr) -> Outcome<()> {
        let constant = Server::constant(self.plan.threads)?;
        let guarded = Server::guarded(self.plan.threads, &self.set_up.jwks)?;
        let (open, closed) = (load::get("/items", None), load::get("/items", Some(&self.set_up.token)));
        let look = tokens::introspection(WATCHER, &self.set_up.secret, &self.set_up.token);
        let by_key = load::get_with("/users/me", &format!("X-API-Key: {}\r\n", self.set_up.api_key));
        let pair = BASE64_STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
        let by_basic = load::get_with("/users/me", &format!("Authorization: Basic {pair}\r\n"));
        let (mut ceilings, mut items, mut mes, mut looks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut keys, mut basics) = (Vec::new(), Vec::new());
        for round in 1..=self.plan.rounds {
            self.say(&format!("routes, round {round} of {}", self.plan.rounds));
            ceilings.push(load::per_second(constant.address, &open, CLIENTS, self.plan)?);
            items.push(load::per_second(guarded.address, &closed, CLIENTS, self.plan)?);
            mes.push(load::per_second(grantd, &self.me, CLIENTS, self.plan)?);
            looks.push(load::per_second(grantd, &look, CLIENTS, self.plan)?);
            keys.push(load::per_second(grantd, &by_key, CLIENTS, self.plan)?);
            // The first request hashes the password; the others find it in memory.
            Connection::open(grantd)?.call(&by_basic)?;
            basics.push(load::per_second(grantd, &by_basic, CLIENTS, self.plan)?);
        }
        let by_token = median(&mes);
        let ceiling = median(&ceilings);
        for (what, rates, least) in [
            ("a route guarded by scope", items, 0.7),
            ("GET /users/me", mes, 0.3),
            ("introspections of an access token", looks, 0.45),
        ] {
            let figure = self.figure(what, median(&rates), "/s").beside("a constant", ceiling);
            self.report.add(figure.ratio_at_least(least));
        }
        for (what, rates) in [("GET /users/me with an API key", keys), ("GET /users/me with HTTP Basic", basics)] {
            let figure = self.figure(what, median(&rates), "/s").beside("with a token", by_token);
            self.report.add(figure.ratio_at_least(0.5));
        }
        Ok(())
    }

    fn limits(&mut self, grantd: &Grantd) -> Outcome<()> {
        self.say("rate limits");
        for limits::Rates { route, with, without } in limits::rates(grantd, &self.set_up.token, CLIENTS, self.plan)? {
            let figure = self.figure(format!("{route} with a rate limit"), median(&with), "/s");
            self.report.add(figure.beside("without", median(&without)).ratio_at_least(0.98));
        }
        Ok(())
    }

    fn refreshes(&mut self, grantd: SocketAddr, database: &str) -> Outcome<()> {
        let (mut refreshes, mut updates) = (Vec::new(), Vec::new());
        for round in 1..=self.plan.rounds {
            self.say(&format!("refreshes, round {round} of {}", self.plan.rounds));
            refreshes.push(tokens::refreshes(grantd, tokens::CLIENTS, self.plan)?);
            updates.push(tokens::updates(database, self.plan)?);
        }
        let figure = self.figure("refreshes", median(&refreshes), "/s").beside("bare UPDATE", median(&updates));
        self.report.add(figure.ratio_at_least(if self.engine == "SQLite" { 1.0 } else { 0.45 }));
        Ok(())
    }

    fn propagation(&mut self, ends: SocketAddr, followed: SocketAddr) -> Outcome<()> {
        self.say("propagation of the end of a session");
        let client = (WATCHER, self.set_up.secret.as_str());
        let took = milliseconds(&tokens::propagation(ends, followed, client, self.plan.sessions)?);
        let what = "from the end of a session to its refusal by a guard";
        self.report.add(self.figure(format!("{what}, p50"), percentile(&took, 50), "ms"));
        self.report.add(self.figure(format!("{what}, p99"), percentile(&took, 99), "ms").at_most(1000.0));
        Ok(())
    }

    fn users(&mut self, grantd: SocketAddr, database: &str) -> Outcome<()> {
        let count = self.plan.users;
        self.say(&format!("{count} users"));
        let few = Memory::peak_of(|| users::create(database, 0..count / 10, self.plan.threads))?;
        let began = Instant::now();
        let all = Memory::peak_of(|| users::create(database, count / 10..count, self.plan.threads))?;
        let rate = f64::from(u32::try_from(count - count / 10)?) / began.elapsed().as_secs_f64();
        self.report.add(self.figure("users created through the store", rate, "/s"));
        if let (Some(few), Some(all)) = (few, all) {
            let figure = self.figure("peak memory during the creation of the other users", all, "MiB");
            self.report.add(figure.beside("the first tenth", few).at_most(few + 5.0));
        }
        let cursors = users::cursors(database)?;
        let token = tokens::log_in(grantd, OPERATOR)?.access;
        for pages in users::pages(grantd, &token, count, &cursors)? {
            let (first, last) = (median(&milliseconds(&pages.first)), median(&milliseconds(&pages.last)));
            let what = format!("the last page of {count} users ({})", pages.what);
            self.report.add(self.figure(what, last, "ms").beside("the first page", first).at_most(2.0 * first + 1.0));
        }
        Ok(())
    }

    fn import(&mut self, database: &str) -> Outcome<()> {
        let count = self.plan.users;
        self.say(&format!("import of {count} users"));
        let file = tempfile::NamedTempFile::new_in("/var/tmp")?;
        import::write_file(file.path(), count)?;
        let rate =
            |began: Instant| -> Outcome<f64> { Ok(f64::from(u32::try_from(count)?) / began.elapsed().as_secs_f64()) };
        let began = Instant::now();
        let peak = Memory::peak_of(|| import::run(database, file.path(), count))?;
        let imported = rate(began)?;
        let began = Instant::now();
        import::bulk(database, count)?;
        let figure = self.figure(format!("import of {count} users"), imported, "/s");
        self.report.add(figure.beside("two INSERTs for all", rate(began)?));
        if let Some(peak) = peak {
            self.report.add(self.figure("peak memory during the import", peak, "MiB").at_most(100.0));
        }
        Ok(())
    }

    /// A difference in response time would reveal which usernames exist.
    fn login_time(&mut self, grantd: SocketAddr) -> Outcome<()> {
        self.say("refused logins");
        let times = timing::refused_logins(grantd, self.plan.logins)?.map(|times| milliseconds(&times));
        let [unknown, others @ ..] = &times;
        let [_, kinds @ ..] = timing::KINDS;
        for percent in [5, 50, 95, 99] {
            let reference = percentile(unknown, percent);
            self.report.add(self.figure(format!("login of an unknown user, p{percent}"), reference, "ms"));
            for (kind, times) in kinds.iter().zip(others) {
                let figure = self.figure(format!("{}, p{percent}", kind.what), percentile(times, percent), "ms");
                self.report.add(figure.beside("an unknown user", reference));
            }
        }
        for (kind, times) in kinds.iter().zip(others) {
            let difference = timing::difference(times, unknown)?.abs();
            let what = format!("{}: difference of means to an unknown user", kind.what);
            let figure = self.figure(what, difference, "standard errors");
            self.report.add(if kind.is_equal { figure.at_most(timing::LEAK) } else { figure });
        }
        Ok(())
    }
}
