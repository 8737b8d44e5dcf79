//! Users: administrators, the first password, hashes of other systems, accounts that nobody uses.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Check::{Administrators, FirstPassword, PasswordHashes, UnusedAccounts},
    Finding,
    database::settle,
    date, names, sql,
};
use crate::{
    config::{Audited, HashConfig},
    ids::UserId,
    passwords::{self, NO_PASSWORD},
    store::{Conn, Store, StoreError, conn},
};

const UNUSED: TimeDelta = TimeDelta::days(365);
/// The password of the first start may be in use for this long.
const FIRST: TimeDelta = TimeDelta::days(7);
/// The names that are read; a finding lists some of them.
const NAMES: i64 = 6;

pub(super) async fn check(store: &Store, settings: &Audited, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = settle(Administrators, administrators(store).await);
    findings.extend(settle(FirstPassword, first_password(store, now).await));
    if let Some(config) = &settings.hash {
        findings.extend(settle(PasswordHashes, password_hashes(store, config).await));
    }
    findings.extend(settle(UnusedAccounts, unused(store, now).await));
    findings
}

async fn administrators(store: &Store) -> Result<Vec<Finding>, StoreError> {
    let mut conn = store.read().await?;
    let found = conn::all!(conn, sql::Name, sql::ADMINISTRATORS, false)?;
    let found: Vec<_> = found.into_iter().map(|(name,)| name).collect();
    if !found.is_empty() {
        let all = if found.len() == 1 { "1 user".to_owned() } else { format!("{} users", found.len()) };
        return Ok(vec![Finding::ok(Administrators, names(&found), format!("{all} with users:write"))]);
    }
    let remedy = "Run `grantd user create NAME --role admin`, or `grantd user enable NAME`";
    Ok(vec![if conn::scalar!(conn, i64, sql::COUNT_USERS)? == 0 {
        Finding::ok(Administrators, "no users", "nobody can manage users over HTTP yet").with_advice(remedy)
    } else {
        let message = "no enabled user has the scope users:write: nobody can manage users over HTTP";
        Finding::failure(Administrators, "users:write", message, remedy)
    }])
}

/// The password of the first start was printed, or stands in a setting. The audit log says whose it is, and whether it was
/// changed since.
async fn first_password(store: &Store, now: DateTime<Utc>) -> Result<Vec<Finding>, StoreError> {
    let mut conn = store.read().await?;
    let Some((name, at)) = first_administrator(&mut conn).await? else {
        let message = "changed, or the audit log has no administrator of a first start";
        return Ok(vec![Finding::ok(FirstPassword, "first start", message)]);
    };
    if now - at <= FIRST {
        return Ok(vec![Finding::ok(FirstPassword, name, "new")]);
    }
    let message = format!(
        "the password has been the same since the first start on {}: it was printed, and may be in the logs of a container, or \
         stands in a setting",
        date(at)
    );
    let remedy = format!("Run `grantd user passwd {name}`, and remove GRANTD_ADMIN_PASSWORD");
    Ok(vec![Finding::warning(FirstPassword, name, message, remedy)])
}

/// Returns the enabled administrator who has the password of the first start, and when that was.
async fn first_administrator(conn: &mut Conn) -> Result<Option<(String, DateTime<Utc>)>, StoreError> {
    let Some((id, at)) = conn::optional!(conn, sql::SubjectAt, sql::FIRST_ADMINISTRATOR)? else { return Ok(None) };
    let Some(user) = UserId::parse(&id) else { return Ok(None) };
    if conn::optional!(conn, sql::Event, sql::PASSWORD_CHANGED, id.as_str())?.is_some() {
        return Ok(None);
    }
    let name = conn::optional!(conn, sql::Name, sql::ENABLED_NAME, user, false)?;
    Ok(name.map(|(name,)| (name, at)))
}

async fn password_hashes(store: &Store, config: &HashConfig) -> Result<Vec<Finding>, StoreError> {
    let mut conn = store.read().await?;
    let (in_force, own) = (passwords::prefix(config), passwords::OWN);
    let length = |text: &str| i32::try_from(text.len()).unwrap_or(i32::MAX);
    let (of_prefix, of_own) = (length(&in_force), length(own));
    let row = conn::optional!(
        conn,
        sql::HashesRow,
        sql::PASSWORD_HASHES,
        in_force.as_str(),
        of_prefix,
        own,
        of_own,
        NO_PASSWORD
    )?;
    Ok(row.map(|row| hashes(&row)).into_iter().collect())
}

fn hashes(row: &sql::HashesRow) -> Finding {
    let sql::HashesRow { every, in_force, own, without_password } = *row;
    let foreign = every - own - without_password;
    let outdated = own - in_force;
    if foreign > 0 {
        let message = format!(
            "{foreign} of {every} are of another system, and may be weaker than Argon2id: each is replaced at the next login"
        );
        let remedy = "Wait for the logins; after some months, set new passwords or disable the rest (docs/import.md)";
        return Finding::warning(PasswordHashes, "password hashes", message, remedy);
    }
    let message = match outdated {
        0 => format!("{in_force}, all with the parameters in force"),
        outdated => {
            format!("{outdated} of {every} have other parameters than those in force; the next login renews each")
        }
    };
    Finding::ok(PasswordHashes, "password hashes", message)
}

async fn unused(store: &Store, now: DateTime<Utc>) -> Result<Vec<Finding>, StoreError> {
    let (mut conn, since) = (store.read().await?, now - UNUSED);
    let count = conn::scalar!(conn, i64, sql::COUNT_UNUSED_ACCOUNTS, false, since)?;
    if count == 0 {
        return Ok(vec![Finding::ok(UnusedAccounts, "enabled users", "each logged in within a year, or is younger")]);
    }
    let some = conn::all!(conn, sql::Name, sql::UNUSED_ACCOUNTS, false, since, NAMES)?;
    let some: Vec<_> = some.into_iter().map(|(name,)| name).collect();
    let message =
        format!("{count} enabled without a login for a year: nobody would notice that somebody else uses them");
    let remedy = "Run `grantd user disable NAME` for those that are not needed";
    let subject = if count > NAMES { format!("{}, …", some.join(", ")) } else { some.join(", ") };
    Ok(vec![Finding::warning(UnusedAccounts, subject, message, remedy)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_other_systems_are_told_from_outdated_ones() {
        let found =
            |every, in_force, own, without_password| hashes(&sql::HashesRow { every, in_force, own, without_password });
        assert_eq!(found(3, 2, 2, 1).message, "2, all with the parameters in force");
        assert!(found(3, 1, 3, 0).message.starts_with("2 of 3 have other parameters"));
        assert!(found(5, 1, 2, 1).message.starts_with("2 of 5 are of another system"));
        assert_eq!(found(5, 1, 2, 1).severity.as_str(), "warning");
    }
}
