//! `grantd user`: users, their roles and passwords.

use std::{error::Error, str::FromStr};

use clap::Subcommand;

use super::{
    Outcome,
    confirm::{Confirmation, and_ended, count, ends},
    output::Output,
    password::PasswordArgs,
    user_export, user_import, value, wrong_usage,
};
use crate::{
    app::App,
    authority::Authority,
    ids::UserId,
    names::{DisplayName, Email, RoleName, Username},
    passwords::{Personal, Turn},
    patch::Patch,
    roles, sessions,
    store::{
        Transaction,
        pages::{PAGE, every},
    },
    users::{self, Filter, NewUser, User, UserPatch},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a user
    Create {
        /// Name to log in with
        #[arg(value_parser = value::<Username>)]
        username: Username,
        /// E-mail address; the user may log in with it too
        #[arg(long, value_parser = value::<Email>)]
        email: Option<Email>,
        /// Name to show
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        /// Role of the user; may be repeated. Every user has `member`
        #[arg(long = "role", value_name = "ROLE", value_parser = value::<RoleName>)]
        roles: Vec<RoleName>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List users
    List {
        /// Only users whose name begins with this or, with an @ in it, whose e-mail address does
        #[arg(long)]
        q: Option<String>,
        /// Only users with this role
        #[arg(long, value_parser = value::<RoleName>)]
        role: Option<RoleName>,
        /// Only disabled users; with `=false`, only enabled ones
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        disabled: Option<bool>,
    },
    /// Show a user
    Show {
        /// Name, e-mail address or id
        user: String,
    },
    /// Set a user's password and end all sessions of the user
    Passwd {
        /// Name, e-mail address or id
        user: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Replace the roles of a user
    Roles {
        /// Name, e-mail address or id
        user: String,
        /// New roles, which replace the current ones; `member` is always among them
        #[arg(required = true, value_name = "ROLE", value_parser = value::<RoleName>)]
        roles: Vec<RoleName>,
    },
    /// Disable a user and end all sessions of the user
    Disable {
        /// Name, e-mail address or id
        user: String,
    },
    /// Enable a disabled user
    Enable {
        /// Name, e-mail address or id
        user: String,
    },
    /// Clear the failed logins of a user
    ///
    /// From all networks and devices. Failed logins of a network are not cleared.
    Unlock {
        /// Name, e-mail address or id
        user: String,
    },
    /// Change a user's name or e-mail address
    Change {
        /// Name, e-mail address or id
        user: String,
        /// New name to log in with
        #[arg(long, value_parser = value::<Username>)]
        username: Option<Username>,
        /// New e-mail address; an empty value removes it
        #[arg(long)]
        email: Option<String>,
        /// New name to show; an empty value removes it
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
    },
    /// Delete a user, end all sessions and revoke all tokens of the user
    Delete {
        /// Name, e-mail address or id
        user: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Import users from a file of another system, with their password hashes
    Import(user_import::Arguments),
    /// Export all users with their password hashes, a JSON object a line
    Export(user_export::Arguments),
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    let (by, now) = (Authority::system(), app.now());
    let user = match command {
        Command::List { q, role, disabled } => {
            let role = role.map(|role| role.as_str().to_owned());
            return list(app, &Filter { q, role, disabled }, output).await;
        }
        Command::Create { username, email, display_name, roles, password } => {
            let display_name = display_name.as_deref().map(str::parse::<DisplayName>).transpose()?;
            let of = Personal { username: &username, email: email.as_ref(), display_name: display_name.as_ref() };
            let password_hash = app.passwords.hash_new(&password.read(&app.passwords)?, of, &Turn::known()).await?;
            let new = NewUser { username, email, display_name, password_hash, roles };
            app.write(async |tx| users::create(tx, &new, &by, now).await).await?
        }
        Command::Show { user } => users::find(&mut app.store.read().await?, &user).await?,
        Command::Passwd { user, password } => {
            let user = users::find(&mut app.store.read().await?, &user).await?;
            let (id, password) = (user.id, password.read(&app.passwords)?);
            let hash = app.passwords.hash_new(&password, user.personal(), &Turn::known()).await?;
            let change = async |tx: &mut Transaction| {
                let sessions = sessions::count_of_user(tx, id, now).await?;
                users::set_password(tx, id, &hash, &by, now).await.map(|user| (user, sessions))
            };
            let (user, ended) = app.write(change).await?;
            let done = format!("Changed the password of {}{}.", user.username, and_ended(ended));
            return output.changed(&user, &done);
        }
        Command::Roles { user, roles } => {
            let id = id(app, &user).await?;
            app.write(async |tx| users::set_roles(tx, id, &roles, &by, now).await).await?
        }
        Command::Disable { user } => return disable(app, &user, output).await,
        Command::Enable { user } => {
            let user = change(app, &user, &UserPatch::disabled(false)).await?;
            return output.changed(&user, &format!("Enabled the user {}.", user.username));
        }
        Command::Unlock { user } => {
            let id = id(app, &user).await?;
            let user = app.write(async |tx| users::unlock(tx, id, &app.throttle, &by, now).await).await?;
            return output.changed(&user, &format!("Unlocked the user {}.", user.username));
        }
        Command::Change { user, username, email, display_name } => {
            if username.is_none() && email.is_none() && display_name.is_none() {
                return Err(wrong_usage("nothing to change; give --username, --email or --display-name").into());
            }
            let (email, display_name) = (given(email.as_deref())?, given(display_name.as_deref())?);
            change(app, &user, &UserPatch { username, email, display_name, disabled: None }).await?
        }
        Command::Delete { user, confirmation } => return delete(app, &user, &confirmation, output).await,
        Command::Import(arguments) => return user_import::run(&arguments, app, output).await,
        Command::Export(arguments) => return user_export::run(&arguments, app, output).await,
    };
    output.object(&user)
}

async fn change(app: &App, user: &str, patch: &UserPatch) -> Result<User, Box<dyn Error>> {
    let (id, by, now) = (id(app, user).await?, Authority::system(), app.now());
    Ok(app.write(async |tx| users::patch(tx, id, patch, &by, now).await).await?)
}

async fn disable(app: &App, user: &str, output: Output) -> Outcome {
    let (id, by, now) = (id(app, user).await?, Authority::system(), app.now());
    let change = async |tx: &mut Transaction| {
        let sessions = sessions::count_of_user(tx, id, now).await?;
        users::patch(tx, id, &UserPatch::disabled(true), &by, now).await.map(|user| (user, sessions))
    };
    let (user, ended) = app.write(change).await?;
    output.changed(&user, &format!("Disabled the user {}{}.", user.username, and_ended(ended)))
}

async fn delete(app: &App, user: &str, confirmation: &Confirmation, output: Output) -> Outcome {
    let by = Authority::system();
    let (user, sessions) = {
        let conn = &mut app.store.read().await?;
        let user = users::find(conn, user).await?;
        let sessions = sessions::count_of_user(conn, user.id, app.now()).await?;
        (user, sessions)
    };
    let name = &user.username;
    confirmation.ask(&format!("This deletes the user {name}{} and revokes all tokens of the user.", ends(sessions)))?;
    let delete = async |tx: &mut Transaction| {
        // Counted again: the question may have been on the screen for a while.
        let sessions = sessions::count_of_user(tx, user.id, app.now()).await?;
        users::delete(tx, user.id, &by, app.now()).await.map(|()| sessions)
    };
    let ended = app.write(delete).await?;
    output.done(&format!("Deleted the user {name}; {} ended.", count(ended, "session")))
}

async fn id(app: &App, user: &str) -> Result<UserId, Box<dyn Error>> {
    Ok(users::find(&mut app.store.read().await?, user).await?.id)
}

/// Parses a value; an empty one removes it.
fn given<T: FromStr>(text: Option<&str>) -> Result<Patch<T>, T::Err> {
    match text {
        None => Ok(Patch::Keep),
        Some("") => Ok(Patch::Clear),
        Some(text) => text.parse().map(Patch::Set),
    }
}

async fn list(app: &App, filter: &Filter, output: Output) -> Outcome {
    let conn = &mut app.store.read().await?;
    if let Some(role) = &filter.role
        && !roles::all_roles(conn).await?.contains(role)
    {
        return Err(format!("role {role} does not exist").into());
    }
    let all: Vec<User> =
        every(async |after| users::list(conn, filter, after, PAGE).await, |user| filter.after(user)).await?;
    let rows = all.iter().map(|user| {
        vec![
            user.username.to_string(),
            user.email.as_ref().map(ToString::to_string).unwrap_or_default(),
            user.roles.iter().map(RoleName::as_str).collect::<Vec<_>>().join(" "),
            if user.disabled { "disabled" } else { "" }.to_owned(),
            user.id.to_string(),
        ]
    });
    output.table("users", &all, &["username", "email", "roles", "", "id"], rows)
}
