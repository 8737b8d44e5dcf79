//! `grantd user …`

use std::{error::Error, str::FromStr};

use clap::Subcommand;

use super::{Outcome, output::Output, password::PasswordArgs};
use crate::{
    app::App,
    authority::Authority,
    ids::UserId,
    names::{DisplayName, Email, RoleName, Username},
    patch::Patch,
    store::pages::{PAGE, every},
    users::{self, Filter, NewUser, User, UserPatch},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a user
    Create {
        /// What the user logs in with
        username: Username,
        /// An address, with which the user may log in too
        #[arg(long)]
        email: Option<Email>,
        /// What the user is called
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        /// A role of the user; may be repeated. Everybody has `member`
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<RoleName>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List users, all or some
    List {
        /// How the name begins or, with an @ in it, the e-mail
        #[arg(long)]
        q: Option<String>,
        /// A role that they have
        #[arg(long)]
        role: Option<RoleName>,
        /// Whether they are disabled
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        disabled: Option<bool>,
    },
    /// Show one user
    Show {
        /// Name, e-mail or id
        user: String,
    },
    /// Give a user a new password, which ends all sessions
    Passwd {
        /// Name, e-mail or id
        user: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Replace the roles of a user
    Roles {
        /// Name, e-mail or id
        user: String,
        /// All that the user is to have from now on; `member` alone takes the others away
        #[arg(required = true, value_name = "ROLE")]
        roles: Vec<RoleName>,
    },
    /// Refuse a user everything from now on, and end all sessions
    Disable {
        /// Name, e-mail or id
        user: String,
    },
    /// Let a disabled user log in again
    Enable {
        /// Name, e-mail or id
        user: String,
    },
    /// Change what is known of a user
    Change {
        /// Name, e-mail or id
        user: String,
        /// What the user logs in with from now on
        #[arg(long)]
        username: Option<Username>,
        /// An address; the empty text takes it away
        #[arg(long)]
        email: Option<String>,
        /// What the user is called; the empty text takes it away
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
    },
    /// Delete a user, and with it sessions and tokens
    Delete {
        /// Name, e-mail or id
        user: String,
    },
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    let (by, now) = (Authority::system(), app.now());
    let user = match command {
        Command::List { q, role, disabled } => {
            let role = role.map(|role| role.as_str().to_owned());
            return list(app, &Filter { q, role, disabled }, output).await;
        }
        Command::Create { username, email, display_name, roles, password } => {
            let password_hash = app.passwords.hash(&password.read()?).await?;
            let display_name = display_name.as_deref().map(str::parse::<DisplayName>).transpose()?;
            let new = NewUser { username, email, display_name, password_hash, roles };
            app.write(async |tx| users::create(tx, &new, &by, now).await).await?
        }
        Command::Show { user } => users::find(&mut app.store.read().await?, &user).await?,
        Command::Passwd { user, password } => {
            let id = id(app, &user).await?;
            let hash = app.passwords.hash(&password.read()?).await?;
            app.write(async |tx| users::set_password(tx, id, &hash, &by, now).await).await?
        }
        Command::Roles { user, roles } => {
            let id = id(app, &user).await?;
            app.write(async |tx| users::set_roles(tx, id, &roles, &by, now).await).await?
        }
        Command::Disable { user } => change(app, &user, &UserPatch::disabled(true)).await?,
        Command::Enable { user } => change(app, &user, &UserPatch::disabled(false)).await?,
        Command::Change { user, username, email, display_name } => {
            let (email, display_name) = (given(email.as_deref())?, given(display_name.as_deref())?);
            change(app, &user, &UserPatch { username, email, display_name, disabled: None }).await?
        }
        Command::Delete { user } => {
            let id = id(app, &user).await?;
            app.write(async |tx| users::delete(tx, id, &by, now).await).await?;
            return output.done("The user is gone, and sessions and tokens are good for nothing.");
        }
    };
    output.object(&user)
}

async fn change(app: &App, user: &str, patch: &UserPatch) -> Result<User, Box<dyn Error>> {
    let (id, by, now) = (id(app, user).await?, Authority::system(), app.now());
    Ok(app.write(async |tx| users::patch(tx, id, patch, &by, now).await).await?)
}

async fn id(app: &App, user: &str) -> Result<UserId, Box<dyn Error>> {
    Ok(users::find(&mut app.store.read().await?, user).await?.id)
}

/// Parses a value that the empty text removes.
fn given<T: FromStr>(text: Option<&str>) -> Result<Patch<T>, T::Err> {
    match text {
        None => Ok(Patch::Keep),
        Some("") => Ok(Patch::Clear),
        Some(text) => text.parse().map(Patch::Set),
    }
}

async fn list(app: &App, filter: &Filter, output: Output) -> Outcome {
    let conn = &mut app.store.read().await?;
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
    output.table(&all, &["username", "email", "roles", "", "id"], rows)
}
