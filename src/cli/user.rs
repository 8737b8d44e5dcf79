//! `grantd user …`

use clap::Subcommand;

use super::{Outcome, output::Output, password::PasswordArgs};
use crate::{
    app::App,
    audit::Origin,
    roles::RoleName,
    users::{self, Email, NewUser, User, Username},
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
    /// List all users
    List,
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
}

/// How many users one statement reads.
const PAGE: i64 = 500;

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    let (origin, now) = (Origin::system(), app.now());
    let user = match command {
        Command::List => return list(app, output).await,
        Command::Create { username, email, display_name, roles, password } => {
            let new = NewUser { username, email, display_name, password: password.read()?, roles };
            users::create(app, &new, &origin, now).await?
        }
        Command::Show { user } => users::find(app, &user).await?,
        Command::Passwd { user, password } => {
            let id = users::find(app, &user).await?.id;
            users::set_password(app, id, &password.read()?, &origin, now).await?
        }
        Command::Roles { user, roles } => {
            let id = users::find(app, &user).await?.id;
            users::set_roles(app, id, &roles, &origin, now).await?
        }
        Command::Disable { user } => {
            let id = users::find(app, &user).await?.id;
            users::set_disabled(app, id, true, &origin, now).await?
        }
        Command::Enable { user } => {
            let id = users::find(app, &user).await?.id;
            users::set_disabled(app, id, false, &origin, now).await?
        }
    };
    output.object(&user)
}

async fn list(app: &App, output: Output) -> Outcome {
    let mut all: Vec<User> = Vec::new();
    loop {
        let page = users::list(app, all.last().map(|user| user.id), PAGE).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
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
