//! What changes users.

use chrono::{DateTime, Utc};
use grantd_guard::RevocationKind;
use serde_json::json;

use super::{Email, User, Username, not_found, read, sql};
use crate::{
    app::App,
    audit::{self, Event},
    authority::Authority,
    changes,
    error::{Code, Error, FieldError},
    ids::{SessionId, UserId},
    passwords::{Password, Verdict},
    patch::Patch,
    revocations,
    roles::{self, RoleName},
    sessions,
    store::{Conn, StoreError, run},
};

/// A user to be made.
#[derive(Debug)]
pub struct NewUser {
    /// What the user logs in with.
    pub username: Username,
    /// An address.
    pub email: Option<Email>,
    /// What the user is called.
    pub display_name: Option<String>,
    /// The first password.
    pub password: Password,
    /// `member` is among them whether it is named here or not.
    pub roles: Vec<RoleName>,
}

/// What is to be changed of a user; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// What the user logs in with.
    pub username: Option<Username>,
    /// An address.
    pub email: Patch<Email>,
    /// What the user is called.
    pub display_name: Patch<String>,
    /// Whether the user is refused everything.
    pub disabled: Option<bool>,
}

impl UserPatch {
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

/// The rules that concern more than one field, and what people are called.
fn check(username: &Username, email: Option<&Email>, display_name: Option<&str>) -> Result<(), Error> {
    let checks = [check_own_address(username, email), check_display_name(display_name)];
    let errors: Vec<_> = checks.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

/// Nobody takes another's address as a name.
pub(crate) fn check_own_address(username: &Username, email: Option<&Email>) -> Result<(), FieldError> {
    let is_own = |email: &Email| email.as_str().eq_ignore_ascii_case(username.as_str());
    if username.is_address() && !email.is_some_and(is_own) {
        return Err(FieldError::new("username", Code::Format, "a name with @ must be the user's own email"));
    }
    Ok(())
}

/// What people call themselves: any Unicode but U+0000, at most 200 characters.
pub(crate) fn check_display_name(name: Option<&str>) -> Result<(), FieldError> {
    let Some(name) = name else { return Ok(()) };
    if name.contains('\0') {
        return Err(FieldError::new("display_name", Code::Format, "must not have U+0000"));
    }
    if (1..=200).contains(&name.chars().count()) {
        Ok(())
    } else {
        Err(FieldError::new("display_name", Code::Length, "must have 1 to 200 characters"))
    }
}

/// Makes a user.
pub async fn create(app: &App, new: &NewUser, by: &Authority, now: DateTime<Utc>) -> Result<User, Error> {
    check(&new.username, new.email.as_ref(), new.display_name.as_deref())?;
    // Before the transaction: nobody should wait for a database lock while a password is hashed.
    let password_hash = app.passwords.hash(&new.password).await?;
    app.store.transact(async |conn| insert(conn, new, &password_hash, by, now).await).await
}

/// The same in a transaction that is under way, with the hash of the password.
pub async fn insert(
    conn: &mut Conn,
    new: &NewUser,
    password_hash: &str,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    check(&new.username, new.email.as_ref(), new.display_name.as_deref())?;
    let roles = with_member(&new.roles);
    let scopes = roles::scopes_of(conn, &roles).await?;
    by.must_have_of_user(conn, &scopes).await?;
    let id = UserId::new(now);
    run::execute!(
        conn,
        sql::INSERT,
        id,
        new.username.as_str(),
        new.email.as_ref().map(Email::as_str),
        new.display_name.as_deref(),
        password_hash,
        false,
        now
    )
    .map_err(taken)?;
    insert_roles(conn, id, &roles).await?;
    let user = read(conn, id).await?.ok_or_else(|| not_found(&id))?;
    let details = json!({"username": user.username, "roles": user.roles});
    audit::record(conn, Event::success("user.created").subject(&id).details(details), &by.origin, now).await?;
    Ok(user)
}

fn taken(error: StoreError) -> Error {
    match error {
        StoreError::Constraint("users_username_key") => Error::Taken { field: "username" },
        StoreError::Constraint("users_email_key") => Error::Taken { field: "email" },
        other => Error::Store(other),
    }
}

/// Sorted, each once, and `member` among them.
fn with_member(roles: &[RoleName]) -> Vec<RoleName> {
    let mut roles = [roles, &[RoleName::member()]].concat();
    roles.sort();
    roles.dedup();
    roles
}

async fn replace_roles(conn: &mut Conn, id: UserId, roles: &[RoleName]) -> Result<(), Error> {
    run::execute!(conn, sql::DELETE_ROLES, id)?;
    insert_roles(conn, id, roles).await
}

async fn insert_roles(conn: &mut Conn, id: UserId, roles: &[RoleName]) -> Result<(), Error> {
    for role in roles {
        run::execute!(conn, sql::INSERT_ROLE, id, role.as_str()).map_err(|error| match error {
            // It was deleted a moment ago.
            StoreError::Constraint("user_roles_role_fkey") => {
                Error::invalid("roles", Code::Unknown, format!("there is no role {role}"))
            }
            other => Error::Store(other),
        })?;
    }
    Ok(())
}

/// The user as it stays until the transaction is over, but for what it does itself: a login that is under way comes before it
/// or after it.
async fn held(conn: &mut Conn, id: UserId) -> Result<User, Error> {
    if run::execute!(conn, sql::HOLD, id)? == 0 {
        return Err(not_found(&id));
    }
    read(conn, id).await?.ok_or_else(|| not_found(&id))
}

/// Notes the time of a change, and what it was.
async fn changed(conn: &mut Conn, id: UserId, event: Event, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    run::execute!(conn, sql::TOUCH, id, now)?;
    Ok(audit::record(conn, event.subject(&id), &by.origin, now).await?)
}

/// Changes what is known of a user. Disabling ends the user's sessions for good.
pub async fn patch(
    app: &App,
    id: UserId,
    patch: &UserPatch,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let change = async |conn: &mut Conn| patch_in(conn, id, patch, by, now).await;
    // Only disabling takes anything from somebody.
    if patch.disabled == Some(true) {
        changes::make(app, change).await
    } else {
        changes::make_alongside(app, change).await
    }
}

/// The same in a transaction that is under way.
pub(crate) async fn patch_in(
    conn: &mut Conn,
    id: UserId,
    patch: &UserPatch,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let before = held(conn, id).await?;
    let after = patch.onto(&before);
    check(&after.username, after.email.as_ref(), after.display_name.as_deref())?;
    by.must_have_of_user(conn, &before.scopes).await?;
    let fields = changed_fields(&before, &after);
    if !fields.is_empty() {
        let (email, display_name) = (after.email.as_ref().map(Email::as_str), after.display_name.as_deref());
        run::execute!(conn, sql::UPDATE, id, after.username.as_str(), email, display_name).map_err(taken)?;
        let details = json!({"changed": fields, "username": after.username});
        changed(conn, id, Event::success("user.changed").details(details), by, now).await?;
    }
    if before.disabled != after.disabled {
        run::execute!(conn, sql::SET_DISABLED, id, after.disabled)?;
        let kind = if after.disabled { "user.disabled" } else { "user.enabled" };
        let details = json!({"username": after.username});
        changed(conn, id, Event::success(kind).details(details), by, now).await?;
        if after.disabled {
            sessions::end_all_of_user(conn, id, now).await?;
        }
    }
    read(conn, id).await?.ok_or_else(|| not_found(&id))
}

fn changed_fields(before: &User, after: &User) -> Vec<&'static str> {
    let same = [
        ("username", before.username == after.username),
        ("email", before.email == after.email),
        ("display_name", before.display_name == after.display_name),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect()
}

/// Gives a user these roles, and `member`, and no others.
pub async fn set_roles(
    app: &App,
    id: UserId,
    roles: &[RoleName],
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    changes::make(app, async |conn| set_roles_in(conn, id, roles, by, now).await).await
}

/// The same in a transaction that is under way.
pub(crate) async fn set_roles_in(
    conn: &mut Conn,
    id: UserId,
    roles: &[RoleName],
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let before = held(conn, id).await?;
    let roles = with_member(roles);
    let scopes = roles::scopes_of(conn, &roles).await?;
    by.must_have_of_user(conn, &before.scopes).await?;
    by.must_have_of_user(conn, &scopes).await?;
    if before.roles == roles {
        return Ok(before);
    }
    replace_roles(conn, id, &roles).await?;
    let details = json!({"username": before.username, "roles": roles});
    changed(conn, id, Event::success("user.roles_changed").details(details), by, now).await?;
    read(conn, id).await?.ok_or_else(|| not_found(&id))
}

/// Gives a user a new password and ends all the user's sessions.
pub async fn set_password(
    app: &App,
    id: UserId,
    password: &Password,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<User, Error> {
    let hash = app.passwords.hash(password).await?;
    let set = async |conn: &mut Conn| {
        let user = held(conn, id).await?;
        by.must_have_of_user(conn, &user.scopes).await?;
        run::execute!(conn, sql::SET_PASSWORD, id, hash.as_str())?;
        let details = json!({"username": user.username});
        changed(conn, id, Event::success("user.password_changed").details(details), by, now).await?;
        sessions::end_all_of_user(conn, id, now).await?;
        read(conn, id).await?.ok_or_else(|| not_found(&id))
    };
    changes::make_alongside(app, set).await
}

/// Gives a user who knows the present password another one, and ends all the user's sessions but one.
pub async fn change_password(
    app: &App,
    user: &User,
    current: &Password,
    new: &Password,
    kept: SessionId,
    by: &Authority,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let wrong = || Error::invalid("current_password", Code::Format, "is not the present password");
    let hash = run::optional!(app.store.read().await?, (String,), sql::PASSWORD_HASH, user.id)?;
    let (hash,) = hash.ok_or_else(|| not_found(&user.id))?;
    if app.passwords.verify(current, Some((user.id, hash.as_str()))).await? == Verdict::Wrong {
        let event = Event::failure("user.password_changed").subject(&user.id);
        let event = event.details(json!({"username": user.username, "reason": "wrong_password"}));
        audit::record(&mut app.store.write().await?, event, &by.origin, now).await?;
        return Err(wrong());
    }
    let new_hash = app.passwords.hash(new).await?;
    let set = async |conn: &mut Conn| {
        held(conn, user.id).await?;
        // Another change may have come first.
        if run::execute!(conn, sql::REPLACE_HASH, user.id, hash.as_str(), new_hash.as_str())? == 0 {
            return Err(wrong());
        }
        let details = json!({"username": user.username});
        changed(conn, user.id, Event::success("user.password_changed").details(details), by, now).await?;
        sessions::end_all_of_user_but(conn, user.id, kept, now).await
    };
    changes::make_alongside(app, set).await
}

/// Deletes a user, and with it all that belongs to it: sessions, tokens, roles.
pub async fn delete(app: &App, id: UserId, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    changes::make(app, async |conn| delete_in(conn, id, by, now).await).await
}

/// The same in a transaction that is under way.
pub(crate) async fn delete_in(conn: &mut Conn, id: UserId, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    let user = held(conn, id).await?;
    by.must_have_of_user(conn, &user.scopes).await?;
    run::execute!(conn, sql::DELETE, id)?;
    let event = Event::success("user.deleted").subject(&id).details(json!({"username": user.username}));
    audit::record(conn, event, &by.origin, now).await?;
    revocations::record(conn, RevocationKind::User, &[id.to_string()], now).await
}

/// Ends all of a user's sessions.
pub async fn end_sessions(app: &App, id: UserId, by: &Authority, now: DateTime<Utc>) -> Result<(), Error> {
    let end = async |conn: &mut Conn| {
        let user = held(conn, id).await?;
        by.must_have_of_user(conn, &user.scopes).await?;
        sessions::end_all(conn, id, &by.origin, now).await
    };
    changes::make_alongside(app, end).await
}
