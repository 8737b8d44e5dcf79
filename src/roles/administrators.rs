//! That somebody is left who can change users.

use crate::{
    error::Error,
    store::{Conn, StoreError, run},
};

/// Whoever can take the scope from somebody holds this row first: of two who do so at once, the second sees what the first
/// has done.
const HOLD: &str = "UPDATE scopes SET description = description WHERE name = 'users:write'";
/// `$1` is false: an enabled user with the scope.
const ONE: &str = "SELECT r.name FROM roles r JOIN user_roles ur ON ur.role = r.name JOIN users u ON u.id = ur.user_id \
     WHERE ' ' || r.scopes || ' ' LIKE '% users:write %' AND u.disabled = $1 LIMIT 1";

/// Does something that may take `users:write` from users, in a transaction that is under way; unless none who is enabled would
/// have it then.
pub(crate) async fn keeping_an_administrator<T>(
    conn: &mut Conn,
    work: &impl AsyncFn(&mut Conn) -> Result<T, Error>,
) -> Result<T, Error> {
    run::execute!(conn, HOLD)?;
    let had_one = has_one(conn).await?;
    let done = work(conn).await?;
    if had_one && !has_one(conn).await? {
        return Err(Error::Forbidden("the last enabled user with the scope users:write stays as it is"));
    }
    Ok(done)
}

async fn has_one(conn: &mut Conn) -> Result<bool, StoreError> {
    Ok(run::optional!(conn, (String,), ONE, false)?.is_some())
}
