//! Verification of a user's name and password, the same for every way to present them.

use std::{net::IpAddr, pin::pin, sync::Arc};

use chrono::{DateTime, Utc};
use opentelemetry::trace::FutureExt as _;
use serde_json::json;
use tokio::{select, sync::oneshot};

use crate::{
    app::App,
    audit::{self, Event, Kind, Origin},
    error::Error,
    ids::UserId,
    passwords::{Turn, Verdict},
    secret::Password,
    throttle::{Attempt, Device, Repeated, Reservation, Throttled},
    users::{self, Login, User},
};

/// Why a name and a password are refused. The event in the audit log is written.
pub(crate) enum Refused {
    /// Unknown user or wrong password. Callers must not learn which; the text is for the log.
    Wrong(&'static str),
    /// The password is right, and the user is disabled.
    Disabled,
    /// Too many failures; the password was not verified.
    Throttled(Throttled),
    /// They could not be verified.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A user whose name and password were verified.
pub(crate) struct Verified {
    pub(crate) login: Login,
    /// Whether the stored hash is outdated.
    pub(crate) verdict: Verdict,
    /// The device of a valid device token.
    pub(crate) device: Option<Device>,
}

/// Returns the user with this name and password, and counts the login.
pub(crate) async fn verify(
    app: &App,
    username: &str,
    password: &Password,
    device_token: Option<&str>,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<Verified, Refused> {
    let verified = verify_uncounted(app, username, password, device_token, origin, now).await;
    let logins = &app.metrics.logins;
    match &verified {
        Ok(_) => logins.success.add(),
        Err(Refused::Wrong(_)) => logins.wrong_password.add(),
        Err(Refused::Disabled) => logins.disabled.add(),
        Err(Refused::Throttled(_)) => logins.throttled.add(),
        Err(Refused::Failed(Error::HashQueueFull)) => logins.overloaded.add(),
        // The database's errors are counted there.
        Err(Refused::Failed(_)) => {}
    }
    verified
}

/// An unknown user costs what a wrong password does: the same statements, and a hash. They are throttled alike, and what was
/// throttled a moment ago is refused before the user is read.
async fn verify_uncounted(
    app: &App,
    username: &str,
    password: &Password,
    device_token: Option<&str>,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<Verified, Refused> {
    let address = address(origin);
    match app.throttle.refused_lately(username, address, device_token, now) {
        Some(Repeated::Throttled(throttled)) => return Err(Refused::Throttled(throttled)),
        Some(Repeated::Crowded) if !app.passwords.has_place_for_strangers() => return Err(Error::HashQueueFull.into()),
        Some(Repeated::Crowded) | None => {}
    }
    let mut conn = app.throttle.half().read().await.map_err(Error::from)?;
    let login = users::find_login(&mut conn, username).await.map_err(Error::from)?;
    // Back to the pool: the hash takes long, and waits for its turn.
    drop(conn);
    let attempt = Attempt {
        user: login.as_ref().map(|login| login.user.id),
        name: username,
        address,
        device_token,
        devices_since: login.as_ref().and_then(|login| login.devices_since),
    };
    let reservation = reserve(app, attempt, origin, now).await?;
    let device = reservation.device();
    let hash = login.as_ref().map(|login| (login.user.id, login.password_hash.clone()));
    let may_log_in = login.as_ref().is_some_and(|login| !login.user.disabled);
    let verdict = settled(app, password, hash, may_log_in, reservation).await?;
    let event = Event::failure(Kind::LoginFailed);
    match login {
        Some(login) if verdict != Verdict::Wrong && may_log_in => Ok(Verified { login, verdict, device }),
        Some(login) if verdict != Verdict::Wrong => {
            record_failure(app, event.subject(&login.user.id), "account_disabled", origin, now).await?;
            Err(Refused::Disabled)
        }
        Some(login) => {
            record_failure(app, event.subject(&login.user.id), "wrong_password", origin, now).await?;
            Err(Refused::Wrong("wrong password"))
        }
        // The name is not recorded: people type passwords into the wrong field.
        None => {
            record_failure(app, event, "unknown_user", origin, now).await?;
            Err(Refused::Wrong("unknown user"))
        }
    }
}

/// Verifies the current password of a user who changes it. `hash`: the stored one. The caller records a wrong password.
pub(crate) async fn verify_current(
    app: &App,
    user: &User,
    password: &Password,
    hash: &str,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<bool, Refused> {
    let (name, address) = (user.username.as_str(), address(origin));
    let attempt = Attempt { user: Some(user.id), name, address, device_token: None, devices_since: None };
    let reservation = reserve(app, attempt, origin, now).await?;
    let verdict = settled(app, password, Some((user.id, hash.to_owned())), true, reservation).await?;
    Ok(verdict != Verdict::Wrong)
}

fn address(origin: &Origin) -> Option<IpAddr> {
    origin.address.as_deref().and_then(|address| address.parse().ok())
}

/// Reserves an attempt. Records the first of a series of refusals.
async fn reserve(app: &App, attempt: Attempt<'_>, origin: &Origin, now: DateTime<Utc>) -> Result<Reservation, Refused> {
    let throttled = match app.throttle.reserve(attempt, now).await? {
        Ok(reservation) => return Ok(reservation),
        Err(throttled) => throttled,
    };
    if app.throttle.is_first(&throttled, now) {
        let event = Event::failure(Kind::LoginThrottled).details(json!({"budget": throttled.budget}));
        let event = match attempt.user {
            Some(id) => event.subject(&id),
            None => event,
        };
        let recorded = async { audit::record(&mut app.throttle.half().write().await?, event, origin, now).await };
        if let Err(error) = recorded.await {
            app.throttle.forget_first(&throttled);
            tracing::warn!(%error, "a throttled login could not be recorded");
        }
    }
    Err(Refused::Throttled(throttled))
}

/// Verifies a password, and settles its reservation.
///
/// In a task of its own: once the hash has begun, its result counts, whether or not the caller still waits. Otherwise
/// callers who leave would guess for free. If the caller leaves before, nothing is hashed and the attempt is given back.
async fn settled(
    app: &App,
    password: &Password,
    hash: Option<(UserId, String)>,
    may_log_in: bool,
    reservation: Reservation,
) -> Result<Verdict, Error> {
    let turn = if reservation.is_known() { Turn::known() } else { Turn::stranger() };
    let (passwords, password) = (Arc::clone(&app.passwords), password.clone());
    // Dropped with the caller's future.
    let (_caller, left) = oneshot::channel::<()>();
    let work = async move {
        let hash = hash.as_ref().map(|(id, hash)| (*id, hash.as_str()));
        let verdict = {
            let mut verify = pin!(passwords.verify(&password, hash, &turn));
            select! {
                biased;
                verdict = &mut verify => verdict,
                _ = left => if turn.has_begun() { verify.await } else { Err(Error::HashQueueFull) },
            }
        };
        match &verdict {
            Ok(Verdict::Wrong) => reservation.fail(),
            Ok(_) if may_log_in => reservation.succeed().await,
            Err(Error::HashQueueFull) => reservation.crowd_out().await,
            Ok(_) | Err(_) => reservation.give_back().await,
        }
        verdict
    };
    let task = tokio::spawn(work.with_current_context());
    task.await.map_err(|error| Error::Internal(format!("a password could not be verified: {error}")))?
}

/// Records a failed login.
pub(crate) async fn record_failure(
    app: &App,
    event: Event,
    reason: &str,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let event = event.details(json!({"reason": reason}));
    // On all connections: a password was hashed, which bounds how many there are.
    Ok(audit::record(&mut app.store.write().await?, event, origin, now).await?)
}

/// Replaces the hash of a password that was verified, if it is outdated and was not replaced meanwhile.
///
/// It is not a change of the password: sessions stay. A failure is logged only, since the login has succeeded.
pub(crate) async fn renew_hash(app: &App, login: &Login, verdict: Verdict, password: &Password, origin: &Origin) {
    if verdict != Verdict::RightButOutdated {
        return;
    }
    let renewed = async {
        let hash = app.passwords.hash(password).await?;
        let mut conn = app.store.write().await?;
        Ok::<_, Error>(users::replace_hash(&mut conn, login.user.id, &login.password_hash, &hash).await?)
    };
    if let Err(error) = renewed.await {
        let request_id = origin.request_id.as_deref();
        tracing::warn!(%error, request_id, "an outdated password hash was not replaced");
    }
}
