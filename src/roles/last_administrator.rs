//! The rule of the last administrator: at least one enabled user keeps the scope `users:write`.

use super::{lock, sql};
use crate::{
    error::Error,
    store::{Conn, StoreError, Transaction, conn},
};

const RULE: &str = "the last administrator";

/// Runs a change that may remove `users:write` from users, and fails if no enabled user would keep the scope.
///
/// A nested call only runs the change, since the outer call checks at its end: a set-up file may remove one administrator
/// before it creates the next.
pub(crate) async fn keep_an_administrator<T>(
    tx: &mut Transaction,
    change: impl AsyncFnOnce(&mut Transaction) -> Result<T, Error>,
) -> Result<T, Error> {
    if !tx.enter(RULE) {
        return change(tx).await;
    }
    // Two changes could otherwise each remove one of the last two administrators, and neither would see the other's.
    lock(tx).await?;
    // A database without an administrator must still accept changes: otherwise it could never get one.
    let had_one = has_one(tx).await?;
    let done = change(tx).await?;
    if had_one && !has_one(tx).await? {
        return Err(Error::RuleViolation("cannot remove the last enabled user with the scope users:write"));
    }
    Ok(done)
}

async fn has_one(conn: &mut Conn) -> Result<bool, StoreError> {
    Ok(conn::optional!(conn, (String,), sql::ONE_ADMINISTRATOR, false)?.is_some())
}
