//! Changes of users.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Login, User, not_found, read, sql};
use crate::{
    api_keys,
    audit::{self, Event, Kind},
    authority::Authority,
    error::{Code, Error, FieldError},
    ids::{SessionId, UserId},
    names::{DisplayName, Email, RoleName, Username},
    patch::Patch,
    roles, sessions,
    store::{Conn, StoreError, Transaction, conn},
    throttle::Throttle,
};

/// A user to create.
pub struct NewUser {
    /// The name that the user logs in with.
    pub username: Username,
    /// The e-mail, with which the user may log in too.
    pub email: Option<Email>,
    /// The display name.
    pub display_name: Option<DisplayName>,
    /// The hash of the first password, a PHC string.
    pub password_hash: String,
    /// The roles; `member` is always added.
    pub roles: Vec<RoleName>,
}

/// A partial update of a user; `None` keeps a field.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// The name that the user logs in with.
    pub username: Option<Username>,
    /// The e-mail.
    pub email: Patch<Email>,
    /// The display name.
    pub display_name: Patch<DisplayName>,
    /// Whether the user is disabled.
    pub disabled: Option<bool>,
}

impl UserPatch {
    /// Returns a patch that disables or enables a user.
    #[must_use]
    pub fn disabled(disabled: bool) -> Self {
        Self { disabled: Some(disabled), ..Self::default() }
    }

    fn onto(&self, before: &User) -> User {
        let Self { username, email, display_name, disabled } = self.clone();
        User {
            username: username.unwrap_or_else(|| before.username.clone()),
            email: email.onto(before.email.as_ref()),
            display_name: display_name.onto(before.display_name.as_ref()),
            disabled: disabled.unwrap_or(before.disabled),
            ..before.clone()
        }
    }
}

/// Checks that a user name with an `@` is the user's own e-mail.
// Logins with an `@` are looked up by e-mail: a name with another user's address would be a trap, or a way to
// impersonate.
pub(crate) fn check_own_address(username: &Username, email: Option<&Email>) -> Result<(), FieldError> {
    let is_own = |email: &Email| email.as_str().eq_ignore_ascii_case(username.as_str());
    if username.is_address() && !email.is_some_and(is_own) {
        return Err(FieldError::new("username", Code::Format, "a username with @ must be the same as email"));
    }
    Ok(())
}

/// Checks that the caller has all scopes of a user. Those of the role `member` do not count, since every user has them.
pub(crate) async fn must_have(by: &Authority, conn: &mut Conn, scopes: &grantd_guard::Scopes) -> Result<(), Error> {
    match by.must_have(scopes) {
        Err(Error::MissingScopes(missing)) => by.must_have(&missing.difference(&roles::scopes_of_member(conn).await?)),
        done => done,
    }
}

/// Creates a user.
pub async fn create(tx: &mut Transaction, new: &NewUser, by: &Authority, now: DateTime<Utc>) -> Result<User, Error> {
    create_with(tx, new, json!({}), by, now).await
}

/// Creates the administrator of a first start. The audit log tells the event from others by its details.
pub(crate) async fn create_first(tx: &mut Transaction, new: &NewUser, now: DateTime<Utc>) -> Result<User, Error> {
    create_with(tx, new, json!({"first_start": true}), &Authority::system(), now).await
}

async fn create_with(
    tx: &mut Transaction,
    new: &NewUser,
    mut details: Value,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    check_own_address(&new.username, new.email.as_ref())?;
    let roles = with_member(&new.roles);
    let scopes = roles::scopes_of(tx, &roles).await?;
    must_have(by, tx, &scopes).await?;
    let id = UserId::new(now);
    conn::execute!(
        tx,
        sql::INSERT,
        id,
        new.username.as_str(),
        new.email.as_ref().map(Email::as_str),
        new.display_name.as_ref().map(DisplayName::as_str),
        new.password_hash.as_str(),
        false,
        now
    )
    .map_err(taken)?;
    insert_roles(tx, id, &roles).await?;
    let user = find_by_id(tx, id).await?;
    details["username"] = json!(user.username);
    details["roles"] = json!(user.roles);
    audit::record(tx, Event::success(Kind::UserCreated).subject(&id).details(details), &by.origin, now).await?;
    Ok(user)
}

fn taken(error: StoreError) -> Error {
    match error {
        StoreError::Constraint("users_username_key") => Error::Taken { field: "username" },
        StoreError::Constraint("users_email_key") => Error::Taken { field: "email" },
        other => Error::Store(other),
    }
}

/// Returns the roles sorted, each once, with `member`.
fn with_member(roles: &[RoleName]) -> Vec<RoleName> {
    let mut roles = [roles, &[RoleName::member()]].concat();
    roles.sort();
    roles.dedup();
    roles
}

async fn replace_roles(conn: &mut Conn, id: UserId, roles: &[RoleName]) -> Result<(), Error> {
    conn::execute!(conn, sql::DELETE_ROLES, id)?;
    insert_roles(conn, id, roles).await
}

async fn insert_roles(conn: &mut Conn, id: UserId, roles: &[RoleName]) -> Result<(), Error> {
    for role in roles {
        conn::execute!(conn, sql::INSERT_ROLE, id, role.as_str()).map_err(|error| match error {
            // The role was deleted after `scopes_of` had read it.
            StoreError::Constraint("user_roles_role_fkey") => {
                Error::invalid("roles", Code::Unknown, format!("role {role} does not exist"))
            }
            other => Error::Store(other),
        })?;
    }
    Ok(())
}

async fn find_by_id(conn: &mut Conn, id: UserId) -> Result<User, Error> {
    read(conn, id).await?.ok_or_else(|| not_found(&id))
}

/// Locks the row of the user until the transaction ends, before any of the user's sessions (lock order). A concurrent
/// login updates the same row: it comes before the change, which then ends its session, or after it.
pub(crate) async fn lock(tx: &mut Transaction, id: UserId) -> Result<User, Error> {
    if conn::execute!(tx, sql::LOCK, id)? == 0 {
        return Err(not_found(&id));
    }
    find_by_id(tx, id).await
}

/// Updates the time of the last change, and records the event.
async fn changed(
    tx: &mut Transaction,
    id: UserId,
    event: Event,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    conn::execute!(tx, sql::TOUCH, id, now)?;
    Ok(audit::record(tx, event.subject(&id), &by.origin, now).await?)
}

/// Changes a user. Disabling ends the user's sessions for good.
pub async fn patch(
    tx: &mut Transaction,
    id: UserId,
    patch: &UserPatch,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let change = async |tx: &mut Transaction| apply_patch(tx, id, patch, by, now).await;
    // Of these changes, only disabling can remove the last administrator. The others do not lock the scopes.
    if patch.disabled == Some(true) { roles::keep_an_administrator(tx, change).await } else { change(tx).await }
}

async fn apply_patch(
    tx: &mut Transaction,
    id: UserId,
    patch: &UserPatch,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let before = lock(tx, id).await?;
    let after = patch.onto(&before);
    check_own_address(&after.username, after.email.as_ref())?;
    must_have(by, tx, &before.scopes).await?;
    let fields = changed_fields(&before, &after);
    if !fields.is_empty() {
        let email = after.email.as_ref().map(Email::as_str);
        let display_name = after.display_name.as_ref().map(DisplayName::as_str);
        conn::execute!(tx, sql::UPDATE, id, after.username.as_str(), email, display_name).map_err(taken)?;
        let details = json!({"changed": fields, "username": after.username});
        changed(tx, id, Event::success(Kind::UserChanged).details(details), by, now).await?;
    }
    if before.disabled != after.disabled {
        conn::execute!(tx, sql::SET_DISABLED, id, after.disabled)?;
        let kind = if after.disabled { Kind::UserDisabled } else { Kind::UserEnabled };
        let details = json!({"username": after.username});
        changed(tx, id, Event::success(kind).details(details), by, now).await?;
        // The row of the user is locked: no login creates a session after this one has ended them all.
        if after.disabled {
            sessions::end_all_of_user(tx, id, None, now).await?;
            api_keys::revoke_tokens_of_user(tx, id, now).await?;
        }
    }
    find_by_id(tx, id).await
}

fn changed_fields(before: &User, after: &User) -> Vec<&'static str> {
    let same = [
        ("username", before.username == after.username),
        ("email", before.email == after.email),
        ("display_name", before.display_name == after.display_name),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect()
}

/// Replaces the roles of a user. `member` is kept even if it is not among them.
pub async fn set_roles(
    tx: &mut Transaction,
    id: UserId,
    roles: &[RoleName],
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    roles::keep_an_administrator(tx, async |tx| {
        let before = lock(tx, id).await?;
        let roles = with_member(roles);
        let scopes = roles::scopes_of(tx, &roles).await?;
        // Both: removing a role removes scopes, adding one grants them.
        must_have(by, tx, &before.scopes).await?;
        must_have(by, tx, &scopes).await?;
        if before.roles == roles {
            return Ok(before);
        }
        replace_roles(tx, id, &roles).await?;
        let details = json!({"username": before.username, "roles": roles});
        changed(tx, id, Event::success(Kind::UserRolesChanged).details(details), by, now).await?;
        find_by_id(tx, id).await
    })
    .await
}

/// Sets the password of a user, ends all the user's sessions and invalidates the user's device tokens.
pub async fn set_password(
    tx: &mut Transaction,
    id: UserId,
    password_hash: &str,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let user = lock(tx, id).await?;
    must_have(by, tx, &user.scopes).await?;
    conn::execute!(tx, sql::SET_PASSWORD, id, password_hash, now)?;
    let details = json!({"username": user.username});
    changed(tx, id, Event::success(Kind::UserPasswordChanged).details(details), by, now).await?;
    sessions::end_all_of_user(tx, id, None, now).await?;
    find_by_id(tx, id).await
}

/// Returns the password hash of a user.
pub async fn password_hash(conn: &mut Conn, id: UserId) -> Result<String, Error> {
    let hash = conn::optional!(conn, (String,), sql::PASSWORD_HASH, id)?;
    hash.map(|(hash,)| hash).ok_or_else(|| not_found(&id))
}

/// Records that a user presented a wrong current password, and returns the error for it.
pub async fn record_wrong_password(
    conn: &mut Conn,
    user: &User,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<Error, Error> {
    let details = json!({"username": user.username, "reason": "wrong_password"});
    let event = Event::failure(Kind::UserPasswordChanged).subject(&user.id).details(details);
    audit::record(conn, event, &by.origin, now).await?;
    Ok(wrong_password())
}

fn wrong_password() -> Error {
    Error::invalid("current_password", Code::Format, "is not your current password")
}

/// Replaces the password of a user whose current hash is `current`, and ends all the user's sessions but `except`.
pub async fn set_own_password(
    tx: &mut Transaction,
    user: &User,
    current: &str,
    new: &str,
    except: Option<SessionId>,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    lock(tx, user.id).await?;
    // The current password was verified before this transaction. If another change came first, this one must not
    // overwrite it.
    if !replace_hash(tx, user.id, current, new).await? {
        return Err(wrong_password());
    }
    let details = json!({"username": user.username});
    changed(tx, user.id, Event::success(Kind::UserPasswordChanged).details(details), by, now).await?;
    sessions::end_all_of_user(tx, user.id, except, now).await
}

/// Replaces a password hash if it is still `current` (compare and swap); returns whether it was.
pub(crate) async fn replace_hash(conn: &mut Conn, id: UserId, current: &str, new: &str) -> Result<bool, StoreError> {
    Ok(conn::execute!(conn, sql::REPLACE_HASH, id, current, new)? == 1)
}

/// Records the time of a login, and locks the user. `false`: the user was disabled or the password was replaced since it
/// was verified, and there is no login.
pub(crate) async fn note_login(conn: &mut Conn, login: &Login, now: DateTime<Utc>) -> Result<bool, StoreError> {
    Ok(conn::execute!(conn, sql::LOGGED_IN, login.user.id, login.password_hash.as_str(), now, false)? == 1)
}

/// Clears the failed logins of a user, so that none is throttled.
pub async fn unlock(
    tx: &mut Transaction,
    id: UserId,
    throttle: &Throttle,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let user = find_by_id(tx, id).await?;
    must_have(by, tx, &user.scopes).await?;
    throttle.unlock(tx, id).await?;
    let details = json!({"username": user.username});
    audit::record(tx, Event::success(Kind::UserUnlocked).subject(&id).details(details), &by.origin, now).await?;
    Ok(user)
}

/// Deletes a user with its sessions and role assignments, and revokes the user's tokens.
pub async fn delete(tx: &mut Transaction, id: UserId, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    roles::keep_an_administrator(tx, async |tx| {
        let user = lock(tx, id).await?;
        must_have(by, tx, &user.scopes).await?;
        // Before the row is deleted, which deletes the sessions: they tell how long the revocation must be kept.
        sessions::end_every_session(tx, id, now).await?;
        api_keys::revoke_tokens_of_user(tx, id, now).await?;
        conn::execute!(tx, sql::DELETE, id)?;
        let event = Event::success(Kind::UserDeleted).subject(&id).details(json!({"username": user.username}));
        Ok(audit::record(tx, event, &by.origin, now).await?)
    })
    .await
}

/// Ends all sessions of a user.
pub async fn end_sessions(tx: &mut Transaction, id: UserId, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    let user = lock(tx, id).await?;
    must_have(by, tx, &user.scopes).await?;
    sessions::end_all(tx, id, &by.origin, now).await
}
