//! `grantd session …`

use clap::Subcommand;

use super::{
    Outcome,
    output::{self, Output},
};
use crate::{
    app::App,
    audit::{Event, Kind, Origin},
    authority::Authority,
    ids::SessionId,
    sessions,
    store::pages::{PAGE, every},
    users,
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the sessions of a user that live
    List {
        /// Name, e-mail or id
        user: String,
    },
    /// End a session, or all of a user's: none of their tokens is good for anything any more
    End {
        /// Which, as `list` shows it
        #[arg(required_unless_present = "user")]
        id: Option<String>,
        /// End all sessions of this user: name, e-mail or id
        #[arg(long, conflicts_with = "id")]
        user: Option<String>,
    },
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> Outcome {
    match command {
        Command::List { user } => list(app, &user, output).await,
        Command::End { id: Some(id), .. } => end_one(app, &id, output).await,
        Command::End { id: None, user } => end_all(app, &user.unwrap_or_default(), output).await,
    }
}

async fn list(app: &App, user: &str, output: Output) -> Outcome {
    let conn = &mut app.store.read().await?;
    let user = users::find(conn, user).await?.id;
    let read = async |last| sessions::list_of_user(conn, user, last, PAGE, app.now()).await;
    let all = every(read, |session| session.id).await?;
    let rows = all.iter().map(|session| {
        vec![
            session.id.to_string(),
            session.client_id.clone(),
            output::time(session.created_at),
            output::time(session.last_used_at),
            session.address.clone().unwrap_or_default(),
            session.user_agent.clone().unwrap_or_default(),
        ]
    });
    output.table(&all, &["id", "client_id", "logged in", "last used", "address", "user agent"], rows)
}

async fn end_one(app: &App, id: &str, output: Output) -> Outcome {
    let ended = match SessionId::parse(id) {
        Some(session) => {
            let (event, origin, now) = (|| Event::success(Kind::SessionEnded), Origin::system(), app.now());
            app.write(async |tx| sessions::end(tx, session, event(), &origin, now).await).await?
        }
        None => false,
    };
    if !ended {
        return Err(sessions::not_found(id).into());
    }
    output.done("The session has ended, and its tokens are good for nothing.")
}

async fn end_all(app: &App, user: &str, output: Output) -> Outcome {
    let user = users::find(&mut app.store.read().await?, user).await?.id;
    let (by, now) = (Authority::system(), app.now());
    app.write(async |tx| users::end_sessions(tx, user, &by, now).await).await?;
    output.done("All sessions of the user have ended, and their tokens are good for nothing.")
}
