//! Sessions: one login of one user at one client, which the refresh token belongs to.

mod live;
mod refresh_token;
pub(crate) mod routes;
mod shared;
mod sql;

use std::time::Duration;

use chrono::{DateTime, Utc};
use grantd_guard::{RevocationKind, Scopes};

use self::shared::Rotation;
pub use self::{
    live::{LiveSession, end_one, list_of_user},
    refresh_token::{RefreshClaim, RefreshTokens},
    shared::Sessions,
};
pub(crate) use self::{
    live::{end_all, end_own, not_found},
    shared::{Basis, Kept},
};
use crate::{
    app::App,
    clients::{Client, ClientId},
    config::TokenConfig,
    error::Error,
    ids::{SessionId, UserId},
    revocations, secret,
    store::{Conn, StoreError, run},
};

/// A session to begin.
pub(crate) struct NewSession<'s> {
    pub(crate) user_id: UserId,
    pub(crate) client_id: &'s ClientId,
    /// As it was asked for; none: nothing, which means all.
    pub(crate) scope: Option<&'s Scopes>,
    /// The RFC 8707 resources that were asked for.
    pub(crate) resource: Option<&'s [String]>,
    pub(crate) address: Option<&'s str>,
    pub(crate) user_agent: Option<&'s str>,
}

/// A session that lives, or did.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) client_id: ClientId,
    /// As it was asked for at login; none: nothing, which means all.
    pub(crate) scope: Option<Scopes>,
    /// The RFC 8707 resources that were asked for; none: nothing, which means all of the client's audiences.
    pub(crate) resource: Option<Vec<String>>,
    /// Goes into the MAC of the refresh token.
    pub(crate) secret: [u8; 32],
    /// How often the refresh token was rotated: the current one carries this number.
    pub(crate) counter: u64,
    rotated_at: Option<DateTime<Utc>>,
    /// When the password was given.
    pub(crate) created_at: DateTime<Utc>,
    idle_expires_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

/// What a refresh token is to its session (design: a session is one row, a refresh token a claim on it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The current one.
    Current,
    /// The one before, whose successor was not used: its answer was lost on the way.
    LostAnswer,
    /// One that was retired before, or too long ago: somebody has a copy.
    Reused,
    /// One that never was, as after a restored backup.
    Unknown,
    /// Of a session that has ended, or has expired.
    Over,
}

impl Session {
    /// Whether it ended because its client was disabled.
    pub(crate) fn ended_with(&self, client: &Client) -> bool {
        client.sessions_ended_at.is_some_and(|at| self.created_at <= at)
    }

    /// When the current refresh token expires.
    pub(crate) fn lives_until(&self) -> DateTime<Utc> {
        self.idle_expires_at
    }

    /// When the current refresh token was made.
    pub(crate) fn last_rotated_at(&self) -> DateTime<Utc> {
        self.rotated_at.unwrap_or(self.created_at)
    }

    /// What a token with this counter is. `leeway`: how long a lost answer is believed; none: until the successor is used,
    /// for clients that prove who they are.
    pub(crate) fn standing(&self, counter: u64, leeway: Option<Duration>, now: DateTime<Utc>) -> Standing {
        if self.ended_at.is_some() || now >= self.idle_expires_at || now >= self.expires_at {
            return Standing::Over;
        }
        let in_time = |leeway| self.rotated_at.is_some_and(|rotated_at| now < rotated_at + leeway);
        match self.counter.checked_sub(counter) {
            None => Standing::Unknown,
            Some(0) => Standing::Current,
            Some(1) if leeway.is_none_or(in_time) => Standing::LostAnswer,
            Some(_) => Standing::Reused,
        }
    }
}

/// As much of a user agent as is kept, in characters.
const USER_AGENT_LENGTH: usize = 256;

fn kept(user_agent: Option<&str>) -> Option<String> {
    user_agent.map(|text| text.chars().take(USER_AGENT_LENGTH).collect())
}

/// Begins a session in a transaction that is under way.
pub(crate) async fn begin(
    conn: &mut Conn,
    config: &TokenConfig,
    new: &NewSession<'_>,
    now: DateTime<Utc>,
) -> Result<Session, Error> {
    let expires_at = now + config.session_ttl;
    let idle_expires_at = (now + config.refresh_token_ttl).min(expires_at);
    let session = Session {
        id: SessionId::new(now),
        user_id: new.user_id,
        client_id: new.client_id.clone(),
        scope: new.scope.cloned(),
        resource: new.resource.map(<[String]>::to_vec),
        secret: secret::random()?,
        counter: 0,
        rotated_at: None,
        created_at: now,
        idle_expires_at,
        expires_at,
        ended_at: None,
    };
    run::execute!(
        conn,
        sql::INSERT,
        session.id,
        new.user_id,
        new.client_id.as_str(),
        new.scope.map(ToString::to_string),
        new.resource.map(|resources| resources.join(" ")),
        session.secret.to_vec(),
        0_i64,
        now,
        idle_expires_at,
        expires_at,
        new.address,
        kept(new.user_agent)
    )?;
    Ok(session)
}

/// So many sessions are revoked one by one; of more, all the user's tokens are.
const ONE_BY_ONE: usize = 100;

/// Ends all sessions of a user and revokes their tokens, in a transaction that is under way, as the last thing there.
pub(crate) async fn end_all_of_user(conn: &mut Conn, id: UserId, now: DateTime<Utc>) -> Result<(), Error> {
    let ended = run::all!(conn, (SessionId,), sql::END_ALL_OF_USER, id, now)?;
    if ended.len() > ONE_BY_ONE {
        revocations::record(conn, RevocationKind::User, &[id.to_string()], now).await
    } else {
        revoke_each(conn, &ended, now).await
    }
}

/// Ends all sessions of a user but one, and revokes their tokens, in a transaction that is under way, as the last thing there.
/// However many they are, one by one: a revocation of all the user's tokens would refuse those of the one that stays.
pub(crate) async fn end_all_of_user_but(
    conn: &mut Conn,
    id: UserId,
    except: SessionId,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let ended = run::all!(conn, (SessionId,), sql::END_ALL_OF_USER_BUT, id, now, except)?;
    revoke_each(conn, &ended, now).await
}

async fn revoke_each(conn: &mut Conn, ended: &[(SessionId,)], now: DateTime<Utc>) -> Result<(), Error> {
    let ids: Vec<_> = ended.iter().map(|(session,)| session.to_string()).collect();
    revocations::record(conn, RevocationKind::Session, &ids, now).await
}

/// Retires the current refresh token in favour of the next, in one statement, and notes from where; `false`: another request
/// did so meanwhile, the session has ended, or its basis was changed.
pub(crate) async fn rotate(
    app: &App,
    session: &mut Session,
    basis: Option<Basis>,
    address: Option<&str>,
    user_agent: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let rotation = Rotation {
        session: session.id,
        counter: i64::try_from(session.counter).unwrap_or(i64::MAX),
        idle_expires_at: (now + app.config.tokens.refresh_token_ttl).min(session.expires_at),
        address: address.map(str::to_owned),
        user_agent: kept(user_agent),
        basis,
        now,
    };
    let idle_expires_at = rotation.idle_expires_at;
    let rotated = app.sessions.rotate(rotation).await?;
    if rotated {
        *session = Session { counter: session.counter + 1, rotated_at: Some(now), idle_expires_at, ..session.clone() };
    }
    Ok(rotated)
}

/// Ends a session and revokes its tokens, in a transaction that is under way; gives whose it was. None: there is none, or it had
/// ended before.
pub(crate) async fn end(conn: &mut Conn, id: SessionId, now: DateTime<Utc>) -> Result<Option<UserId>, Error> {
    let ended = run::optional!(conn, (UserId,), sql::END, id, now)?;
    if ended.is_some() {
        revocations::record(conn, RevocationKind::Session, &[id.to_string()], now).await?;
    }
    Ok(ended.map(|(user,)| user))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(counter: u64, rotated_at: Option<i64>) -> Session {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        Session {
            id: [1; 16].into(),
            user_id: [2; 16].into(),
            client_id: ClientId::default_client(),
            scope: None,
            resource: None,
            secret: [3; 32],
            counter,
            rotated_at: rotated_at.map(at),
            created_at: at(0),
            idle_expires_at: at(1000),
            expires_at: at(5000),
            ended_at: None,
        }
    }

    #[test]
    fn a_token_is_what_its_counter_says() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let leeway = Some(Duration::from_secs(30));
        let rotated = session(5, Some(100));
        for (counter, leeway, now, expected) in [
            (5, leeway, 101, Standing::Current),
            (4, leeway, 129, Standing::LostAnswer),
            (4, leeway, 130, Standing::Reused),
            (4, None, 999, Standing::LostAnswer),
            (3, None, 101, Standing::Reused),
            (0, leeway, 101, Standing::Reused),
            (6, leeway, 101, Standing::Unknown),
            (5, leeway, 1000, Standing::Over),
            (0, leeway, 1000, Standing::Over),
        ] {
            assert_eq!(rotated.standing(counter, leeway, at(now)), expected, "{counter} at {now}");
        }
        let ended = Session { ended_at: Some(at(10)), ..rotated };
        assert_eq!(ended.standing(3, None, at(101)), Standing::Over);
        assert_eq!(session(0, None).standing(0, leeway, at(1)), Standing::Current);
    }
}
