//! The signing keys: whether they open, are strong, and are rotated.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Check::SigningKeys, Finding, date, names, span};
use crate::{
    config::{Audited, SigningKeyConfig},
    keys::{self, Inspected, KeyState},
    secret::MasterKey,
    store::{Store, StoreError},
};

/// A server rotates a key when it is due. One that was stopped meanwhile does so at its start.
const GRACE: TimeDelta = TimeDelta::days(1);
const RSA_BITS: usize = 2048;

pub(super) async fn check(
    store: &Store,
    settings: &Audited,
    master_key: Option<&MasterKey>,
    now: DateTime<Utc>,
) -> Result<Vec<Finding>, StoreError> {
    let Some(master_key) = master_key else { return Ok(Vec::new()) };
    let mut conn = store.read().await?;
    let inspected = keys::inspect(&mut conn, master_key, now).await?;
    let mut findings: Vec<_> = inspected.iter().filter_map(closed).collect();
    findings.extend(closed_server_keys(&keys::closed_server_keys(&mut conn, master_key).await?));
    findings.extend(inspected.iter().filter_map(weak));
    let Some(active) = inspected.iter().find(|one| one.key.state == KeyState::Active) else {
        let message = "no key is active: no tokens are issued";
        findings.push(Finding::failure(SigningKeys, "signing keys", message, "Start the server, which creates one"));
        return Ok(findings);
    };
    findings.extend(settings.signing_keys.as_ref().and_then(|config| overdue(active, config, now)));
    if findings.is_empty() {
        let (algorithm, since) = (active.key.algorithm.as_str(), date(active.key.not_before));
        findings.push(Finding::ok(SigningKeys, &active.key.kid, format!("{algorithm}, signs since {since}")));
    }
    Ok(findings)
}

/// Retired keys need no private part.
fn closed(one: &Inspected) -> Option<Finding> {
    if one.opens || one.key.state == KeyState::Retired {
        return None;
    }
    let message = format!(
        "the {} key does not open under the master key in force, so that no tokens are issued",
        one.key.state.as_str()
    );
    let remedy = "Set GRANTD_MASTER_KEY, or put master.key back: the key of the last `grantd keys rewrap`, or that of the \
                  first start";
    Some(Finding::failure(SigningKeys, &one.key.kid, message, remedy))
}

fn closed_server_keys(closed: &[String]) -> Option<Finding> {
    if closed.is_empty() {
        return None;
    }
    let message = "these keys of the server do not open under the master key in force: refresh tokens and seals cannot be verified";
    let remedy = "Use the master key of the last `grantd keys rewrap`, or that of the first start";
    Some(Finding::failure(SigningKeys, names(closed), message, remedy))
}

fn weak(one: &Inspected) -> Option<Finding> {
    let bits = one.rsa_bits.filter(|bits| *bits < RSA_BITS)?;
    let message = format!("{bits} bits of RSA: who breaks the key signs any token");
    let remedy = format!("Run `grantd keys rotate`, and then `grantd keys retire {}`", one.key.kid);
    Some(Finding::failure(SigningKeys, &one.key.kid, message, remedy))
}

fn overdue(active: &Inspected, config: &SigningKeyConfig, now: DateTime<Utc>) -> Option<Finding> {
    let due = active.key.not_before + config.ttl;
    let late = now - due;
    if late < GRACE {
        return None;
    }
    let message = format!(
        "signs since {}, and should have been rotated {} ago (GRANTD_SIGNING_KEY_TTL): no server runs, or none can write",
        date(active.key.not_before),
        span(late)
    );
    let remedy = "Start the server, and look into its log; or run `grantd keys rotate`";
    Some(Finding::warning(SigningKeys, &active.key.kid, message, remedy))
}
