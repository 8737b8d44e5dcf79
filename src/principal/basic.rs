//! HTTP Basic (RFC 7617): a username and password with each request. The first costs a hash; for a minute the pair is then
//! known from memory.

use std::sync::Arc;

use actix_web::{
    HttpRequest,
    http::header::{HeaderName, HeaderValue, ORIGIN},
};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};

use super::origin;
use crate::{
    app::App,
    audit::{self, Event, Kind, Method, Origin},
    error::Error,
    http::problem::Problem,
    login::{self, Refused, Verified},
    passwords::{Outcome, Pair},
    secret::Password,
    users::{self, Login, User},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns the user with this name and password.
pub(super) async fn verify(
    app: &App,
    req: &HttpRequest,
    username: &str,
    password: &SecretString,
) -> Result<Arc<User>, Problem> {
    let now = app.now();
    let malformed = |_| Problem::from(Refused::Wrong("malformed password"));
    let password = Password::presented("password", password.expose_secret()).map_err(malformed)?;
    let pair = app.remembered.pair(username, &password);
    if let Some(user) = remembered(app, &pair, username, now).await? {
        return Ok(user);
    }
    let origin = Origin { method: Some(Method::Basic), ..origin(req, app) };
    let attempt = Attempt { app, pair, username, password, origin, now };
    Ok(attempt.shared().await?)
}

/// A name and a password that are not remembered.
struct Attempt<'a> {
    app: &'a App,
    pair: Pair,
    username: &'a str,
    password: Password,
    origin: Origin,
    now: DateTime<Utc>,
}

impl Attempt<'_> {
    /// Verifies the pair, or waits for another request that does: a client that sends many requests at once would
    /// otherwise fill the queue of the hash threads.
    async fn shared(&self) -> Result<Arc<User>, Refused> {
        // Twice: after the first, the user may have changed, also because the hash was renewed.
        for _ in 0..2 {
            let mut own = None;
            let shared = self.app.remembered.share(self.pair);
            let outcome = shared.outcome(async || {
                let verified = self.verify().await;
                let outcome = match &verified {
                    Ok(_) => Outcome::Right,
                    Err(Refused::Wrong(reason)) => Outcome::Wrong(reason),
                    Err(Refused::Disabled) => Outcome::Disabled,
                    Err(Refused::Throttled(_) | Refused::Failed(_)) => Outcome::Failed,
                };
                own = Some(verified);
                outcome
            });
            let outcome = outcome.await;
            if let Some(verified) = own {
                return verified;
            }
            match outcome {
                Outcome::Right => {
                    if let Some(user) = self.remembered().await? {
                        return Ok(user);
                    }
                }
                Outcome::Wrong(reason) => return Err(Refused::Wrong(reason)),
                Outcome::Disabled => return Err(Refused::Disabled),
                // Not one after the other: each may fail only after a long wait.
                Outcome::Failed => break,
            }
        }
        self.verify().await
    }

    async fn verify(&self) -> Result<Arc<User>, Refused> {
        let Self { app, pair, username, password, origin, now } = self;
        // Another request may have verified it since this one looked.
        if let Some(user) = self.remembered().await? {
            return Ok(user);
        }
        // Twice: the hash may have been renewed by another login while this one was under way.
        for _ in 0..2 {
            let Verified { login, verdict, .. } = login::verify(app, username, password, None, origin, *now).await?;
            if note(app, &login, origin, *now).await? {
                app.remembered.insert(*pair, login.user.id, &login.password_hash, *now);
                login::renew_hash(app, &login, verdict, password, origin).await;
                return Ok(Arc::new(login.user));
            }
        }
        Err(Refused::Wrong("user changed during the login"))
    }

    async fn remembered(&self) -> Result<Option<Arc<User>>, Error> {
        remembered(self.app, &self.pair, self.username, self.now).await
    }
}

/// Returns the user of a pair that was verified less than a minute ago, unless the user has changed since.
async fn remembered(app: &App, pair: &Pair, username: &str, now: DateTime<Utc>) -> Result<Option<Arc<User>>, Error> {
    let Some(verified) = app.remembered.get(pair, now) else { return Ok(None) };
    // Read from the database with each request: a change on any server counts at once.
    let login = app.users.read_login(verified.user).await?;
    let same = |login: &Login| {
        login.password_hash == verified.password_hash && login.has_name(username) && !login.user.disabled
    };
    let user = login.filter(|login| same(login)).map(|login| Arc::new(login.user.clone()));
    if user.is_none() {
        app.remembered.forget(pair, &verified);
    }
    Ok(user)
}

/// Records a login, at most once a minute for each user. `false`: the user was disabled or the password replaced since it
/// was verified.
async fn note(app: &App, login: &Login, origin: &Origin, now: DateTime<Utc>) -> Result<bool, Error> {
    let id = login.user.id;
    if !app.basic_logins.is_first(&id, now) {
        return Ok(true);
    }
    let origin = Origin { actor: Some(id.to_string()), ..origin.clone() };
    let noted = app.store.transact(async |tx| {
        let is_current = users::note_login(tx, login, now).await?;
        if is_current {
            audit::record(tx, Event::success(Kind::Login).subject(&id), &origin, now).await?;
        }
        Ok::<_, Error>(is_current)
    });
    let noted = noted.await;
    if !matches!(noted, Ok(true)) {
        app.basic_logins.forget(&id);
    }
    noted
}

/// Returns whether a request comes from a page of a site that may not send it. Browsers repeat a stored password by
/// themselves, also for a form or a script of another site.
pub(super) fn is_cross_site(req: &HttpRequest, app: &App) -> bool {
    if req.method().is_safe() {
        return false;
    }
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    match req.headers().get(ORIGIN).map(text) {
        Some(origin) => origin != site_of(&app.issuer) && !app.config.http.cors_origins.contains(&origin),
        None => req.headers().get(SEC_FETCH_SITE).is_some_and(|site| site.as_bytes() == b"cross-site"),
    }
}

/// Returns scheme, host and port of a URL.
fn site_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + "://".len());
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    &url[..end]
}
