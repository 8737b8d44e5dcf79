//! `grantd user …`

use clap::Subcommand;

use super::{Outcome, output::Output, password::PasswordArgs};
use crate::{
    app::App,
    authority::Authority,
    patch::Patch,
    roles::RoleName,
    store::pages::{PAGE, every},
    users::{self, Email, Filter, NewUser, User, UserPatch, Username},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a user
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
            let new = NewUser { username, email, display_name, password: password.read()?, roles };
            users::create(app, &new, &by, now).await?
        }
        Command::Show { user } => users::find(app, &user).await?,
        Command::Passwd { user, password } => {
            let id = users::find(app, &user).await?.id;
            users::set_password(app, id, &password.read()?, &by, now).await?
        }
        Command::Roles { user, roles } => {
            let id = users::find(app, &user).await?.id;
            users::set_roles(app, id, &roles, &by, now).await?
        }
        Command::Disable { user } => {
            let id = users::find(app, &user).await?.id;
            let patch = UserPatch { disabled: Some(true), ..UserPatch::default() };
            users::patch(app, id, &patch, &by, now).await?
        }
        Command::Enable { user } => {
            let id = users::find(app, &user).await?.id;
            let patch = UserPatch { disabled: Some(false), ..UserPatch::default() };
            users::patch(app, id, &patch, &by, now).await?
        }
        Command::Change { user, username, email, display_name } => {
            let id = users::find(app, &user).await?.id;
            let email = match given(email) {
                Patch::Set(text) => Patch::Set(text.parse::<Email>()?),
                Patch::Clear => Patch::Clear,
                Patch::Keep => Patch::Keep,
            };
            let patch = UserPatch { username, email, display_name: given(display_name), disabled: None };
            users::patch(app, id, &patch, &by, now).await?
        }
        Command::Delete { user } => {
            let id = users::find(app, &user).await?.id;
            users::delete(app, id, &by, now).await?;
            return output.done("The user is gone, and sessions and tokens are good for nothing.");
        }
    };
    output.object(&user)
}

/// The empty text takes away what there is.
fn given(text: Option<String>) -> Patch<String> {
    text.map_or(Patch::Keep, |text| if text.is_empty() { Patch::Clear } else { Patch::Set(text) })
}

async fn list(app: &App, filter: &Filter, output: Output) -> Outcome {
    let all: Vec<User> =
        every(async |after| users::list(app, filter, after, PAGE).await, |user| filter.after(user)).await?;
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
