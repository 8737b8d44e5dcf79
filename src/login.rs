//! Verification of a user's name and password, the same for every way to present them.

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::{
    app::App,
    audit::{self, Event, Kind, Origin},
    error::Error,
    passwords::Verdict,
    secret::Password,
    users::{self, Login},
};

/// Why a name and a password are refused. The event in the audit log is written.
pub(crate) enum Refused {
    /// Unknown user or wrong password. Callers must not learn which; the text is for the log.
    Wrong(&'static str),
    /// The password is right, and the user is disabled.
    Disabled,
    /// They could not be verified.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Returns the user with this name and password, and whether the stored hash is outdated.
///
/// An unknown user costs what a wrong password does: the same statements, and a hash.
pub(crate) async fn verify(
    app: &App,
    username: &str,
    password: &Password,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(Login, Verdict), Refused> {
    let mut conn = app.store.read().await.map_err(Error::from)?;
    let login = users::find_login(&mut conn, username).await.map_err(Error::from)?;
    // Back to the pool: the hash takes long, and waits for its turn.
    drop(conn);
    let hash = login.as_ref().map(|login| (login.user.id, login.password_hash.as_str()));
    let verdict = app.passwords.verify(password, hash).await?;
    let event = Event::failure(Kind::LoginFailed);
    match login {
        Some(login) if verdict != Verdict::Wrong && !login.user.disabled => Ok((login, verdict)),
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

/// Records a failed login.
pub(crate) async fn record_failure(
    app: &App,
    event: Event,
    reason: &str,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let event = event.details(json!({"reason": reason}));
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
