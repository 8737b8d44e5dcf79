//! The rule of the last administrator: an enabled user with the scope `users:write` remains.

use super::{lock, sql};
use crate::{
    error::Error,
    store::{Conn, StoreError, Transaction, conn},
};

const RULE: &str = "the last administrator";

/// Makes a change that may take `users:write` from users, and refuses it if no enabled user would keep the scope.
///
/// Of two such changes at the same time, the second sees what the first has done. Inside another call it only makes the change, since the outer call checks: a set-up file may remove one
/// administrator before it creates the next.
pub(crate) async fn keep_an_administrator<T>(
    tx: &mut Transaction,
    change: impl AsyncFnOnce(&mut Transaction) -> Result<T, Error>,
) -> Result<T, Error> {
    if !tx.enter(RULE) {
        return change(tx).await;
    }
    lock(tx).await?;
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
