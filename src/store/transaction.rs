//! Transactions. A transaction collects its revocations and the caches that it invalidates, and writes them right before
//! the commit ([`Transaction::flush`]).
//!
//! Three invariants of every change follow from this:
//! - *Lock order.* The row of `changes`, which all these transactions lock, is the last row that each locks. So it adds
//!   no deadlock, whatever they locked before.
//! - *Time.* A revocation has the time of the commit, not of the request. So it is not older than a token that was issued
//!   while the change waited for a lock.
//! - *Atomicity.* A change and its revocations are committed together or not at all.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use grantd_guard::RevocationKind;

use super::{
    Conn, StoreError,
    changes::{self, Update},
    conn,
};
use crate::{clock::Clock, secret};

const INSERT_REVOCATION: &str = "INSERT INTO revocations (number, mark, kind, id, revoked_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6)";

/// The number of revocations that [`INSERT_REVOCATIONS`] writes.
const BATCH: usize = 16;
const INSERT_REVOCATIONS: &str = "INSERT INTO revocations (number, mark, kind, id, revoked_at, expires_at) VALUES \
     ($1, $2, $3, $4, $5, $6), ($7, $8, $9, $10, $11, $12), ($13, $14, $15, $16, $17, $18), ($19, $20, $21, $22, \
     $23, $24), ($25, $26, $27, $28, $29, $30), ($31, $32, $33, $34, $35, $36), ($37, $38, $39, $40, $41, $42), \
     ($43, $44, $45, $46, $47, $48), ($49, $50, $51, $52, $53, $54), ($55, $56, $57, $58, $59, $60), ($61, $62, \
     $63, $64, $65, $66), ($67, $68, $69, $70, $71, $72), ($73, $74, $75, $76, $77, $78), ($79, $80, $81, $82, $83, \
     $84), ($85, $86, $87, $88, $89, $90), ($91, $92, $93, $94, $95, $96) RETURNING number";

/// How much longer a revocation is kept than its tokens are valid, since the clocks of verifiers differ.
const LEEWAY: TimeDelta = TimeDelta::minutes(1);

/// A database transaction: several statements that take effect together or not at all. Dropping it rolls it back.
#[derive(Debug)]
pub struct Transaction {
    conn: Conn,
    clock: Clock,
    revocations: Vec<Revocation>,
    stale: Stale,
    entered: Vec<&'static str>,
}

/// The caches that a transaction invalidates, on all servers.
#[derive(Debug, Default)]
struct Stale {
    signing_keys: bool,
    clients: bool,
    roles: bool,
}

/// A revocation of tokens, written at the commit.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// The claim that the tokens have in common.
    pub kind: RevocationKind,
    /// The value of the claim: a `sid`, `sub`, `client_id` or `jti`.
    pub id: String,
    /// The earliest time of the revocation: the issue time of the newest token to revoke. `None`: the time of the commit.
    pub not_before: Option<DateTime<Utc>>,
    /// Added to the time of the revocation. Tokens that are issued until then are revoked, too.
    pub margin: TimeDelta,
    /// When the last of the tokens expires.
    pub tokens_expire: TokensExpire,
    /// A statement that stores the time of the revocation (`$2`) in the row of the revoked object (`$1`).
    pub note: Option<&'static str>,
}

/// The expiry of the last token that a revocation affects.
#[derive(Clone, Copy, Debug)]
pub enum TokensExpire {
    /// A known time.
    At(DateTime<Utc>),
    /// A lifetime, from the time of the revocation.
    After(Duration),
}

impl Revocation {
    /// Returns a revocation at the time of the commit.
    #[must_use]
    pub fn new(kind: RevocationKind, id: &impl ToString, tokens_expire: TokensExpire) -> Self {
        Self { kind, id: id.to_string(), not_before: None, margin: TimeDelta::zero(), tokens_expire, note: None }
    }

    fn time(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.not_before.map_or(now, |at| at.max(now)) + self.margin
    }

    /// Returns when the revocation expires and may be deleted.
    fn expires_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let last = match self.tokens_expire {
            TokensExpire::At(at) => at,
            TokensExpire::After(ttl) => self.time(now) + ttl,
        };
        last + LEEWAY
    }
}

/// An error type that work in a transaction may return.
pub trait FromStore: From<StoreError> {
    /// Returns the database error behind this error, if there is one.
    fn store(&self) -> Option<&StoreError>;
}

impl FromStore for StoreError {
    fn store(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl Deref for Transaction {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

impl Transaction {
    pub(super) fn new(conn: Conn, clock: Clock) -> Self {
        Self { conn, clock, revocations: Vec::new(), stale: Stale::default(), entered: Vec::new() }
    }

    /// Revokes tokens when this commits.
    pub(crate) fn revoke(&mut self, revocation: Revocation) {
        self.revocations.push(revocation);
    }

    /// Invalidates the signing keys in the caches of all servers.
    pub(crate) fn signing_keys_changed(&mut self) {
        self.stale.signing_keys = true;
    }

    /// Invalidates the clients in the caches of all servers.
    pub(crate) fn clients_changed(&mut self) {
        self.stale.clients = true;
    }

    /// Invalidates the roles and scopes in the caches of all servers.
    pub(crate) fn roles_changed(&mut self) {
        self.stale.roles = true;
    }

    /// Marks a rule or lock as entered for the rest of the transaction; `false`: an outer call has entered it already.
    pub(crate) fn enter(&mut self, rule: &'static str) -> bool {
        let is_first = !self.entered.contains(&rule);
        if is_first {
            self.entered.push(rule);
        }
        is_first
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.conn.commit().await
    }

    /// Writes the collected revocations and invalidations. It is the last step before the commit: other transactions wait
    /// for the row of `changes` from here on, so nothing else may be locked after it.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        let revocations = std::mem::take(&mut self.revocations);
        let Stale { signing_keys, clients, roles } = std::mem::take(&mut self.stale);
        if revocations.is_empty() && !(signing_keys || clients || roles) {
            return Ok(());
        }
        let count = i64::try_from(revocations.len()).unwrap_or(i64::MAX);
        let mark = mark()?;
        let text = format!("{mark:016x}");
        let update = Update {
            revocations: count,
            revocation_mark: (count > 0).then(|| text.clone()),
            signing_keys: signing_keys.then_some(mark),
            clients: clients.then_some(mark),
            roles: roles.then_some(mark),
        };
        let last = changes::write(&mut self.conn, &update).await?;
        // Read after waiting for the last lock. With an earlier time, tokens that were issued during the wait would be
        // younger than their revocation, and stay valid.
        let now = self.clock.now();
        for one in &revocations {
            if let Some(note) = one.note {
                conn::execute!(self.conn, note, one.id.as_str(), one.time(now))?;
            }
        }
        // `changes` is locked since the number was taken, so the numbers are without gaps and in the order of the
        // commits.
        let numbered: Vec<_> = (last - count + 1..).zip(&revocations).collect();
        for batch in numbered.chunks(BATCH) {
            if batch.len() == BATCH {
                conn::all_of!(self.conn, (i64,), INSERT_REVOCATIONS, batch, |one| [
                    one.0,
                    text.as_str(),
                    one.1.kind.as_str(),
                    one.1.id.as_str(),
                    one.1.time(now),
                    one.1.expires_at(now)
                ])?;
                continue;
            }
            for (number, one) in batch {
                let (kind, id, at, until) = (one.kind.as_str(), one.id.as_str(), one.time(now), one.expires_at(now));
                conn::execute!(self.conn, INSERT_REVOCATION, *number, text.as_str(), kind, id, at, until)?;
            }
        }
        Ok(())
    }

    pub(super) async fn roll_back(self) -> Result<(), StoreError> {
        self.conn.roll_back().await
    }
}

/// Returns a random, non-negative number that identifies a change.
fn mark() -> Result<i64, StoreError> {
    let bytes = secret::random().map_err(|error| StoreError::Other(sqlx::Error::Protocol(error.to_string())))?;
    Ok(i64::from_ne_bytes(bytes) & i64::MAX)
}
