//! `grantd session`: where users are logged in.

use clap::{ArgGroup, Subcommand};

use super::{
    Outcome,
    confirm::count,
    output::{self, Output},
};
use crate::{
    app::App,
    audit::{Event, Kind, Origin},
    authority::Authority,
    ids::SessionId,
    sessions,
    store::{
        Transaction,
        pages::{PAGE, every},
    },
    users,
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the live sessions of a user
    List {
        /// Name, e-mail address or id
        user: String,
    },
    /// End a session, or all sessions of a user, and revoke their tokens
    #[command(group = ArgGroup::new("sessions").required(true).args(["id", "user"]))]
    End {
        /// Id of the session, from `grantd session list`
        id: Option<String>,
        /// End all sessions of this user: name, e-mail address or id
        #[arg(long)]
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
    output.table("sessions", &all, &["id", "client_id", "logged in", "last used", "address", "user agent"], rows)
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
    output.done(&format!("Ended the session {id} and revoked its tokens."))
}

async fn end_all(app: &App, user: &str, output: Output) -> Outcome {
    let user = users::find(&mut app.store.read().await?, user).await?;
    let (by, now) = (Authority::system(), app.now());
    let end = async |tx: &mut Transaction| {
        let sessions = sessions::count_of_user(tx, user.id, now).await?;
        users::end_sessions(tx, user.id, &by, now).await.map(|()| sessions)
    };
    let ended = app.write(end).await?;
    output.done(&format!("Ended {} of the user {} and revoked their tokens.", count(ended, "session"), user.username))
}
