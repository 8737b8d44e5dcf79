//! `grantd token get` and `grantd token logout`: clients of a running server, without a database.

use std::{
    error::Error,
    io::{self, IsTerminal as _, Write as _},
};

use chrono::TimeDelta;
use clap::Args;
use grantd_guard::{Scope, Scopes};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Outcome,
    output::Output,
    password::PasswordArgs,
    token_cache::{CacheEntry, CachedSession},
    token_client::{RequestError, Server, TokenResponse},
    wrong_usage,
};
use crate::clock::Clock;

/// An access token is printed from the cache if it lives this much longer: the caller needs time to use it.
const LEAST_SECONDS: i64 = 30;

/// What names a session, and its entry in the cache.
#[derive(Args)]
pub(super) struct SessionArguments {
    /// URL of the server; default: the issuer that `grantd config` shows
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// User name; asked for on a terminal when absent
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// A public client; default: the server's client `default`
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Scope of the token; may be repeated. Default: all that user and client both have
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ' ')]
    scopes: Vec<Scope>,
}

#[derive(Args)]
pub(super) struct GetArguments {
    #[command(flatten)]
    session: SessionArguments,
    /// Print the whole header, `Authorization: Bearer …`
    #[arg(long)]
    header: bool,
    /// Log in again, even if a session is cached; the cached session is ended
    #[arg(long)]
    login: bool,
    #[command(flatten)]
    password: PasswordArgs,
}

/// A session that the arguments name, and the server that it is at.
struct Request {
    server: Server,
    username: Option<String>,
    client_id: Option<String>,
    scope: String,
}

impl Request {
    fn new(arguments: &SessionArguments, issuer: &str) -> Result<Self, RequestError> {
        Ok(Self {
            server: Server::at(arguments.url.as_deref().unwrap_or(issuer))?,
            username: arguments.username.clone(),
            client_id: arguments.client_id.clone(),
            scope: arguments.scopes.iter().cloned().collect::<Scopes>().to_string(),
        })
    }

    /// Without a user name, the entry is that of the user who was asked for last.
    fn cache_entry(&self) -> Result<CacheEntry, Box<dyn Error>> {
        let [username, client_id] = [&self.username, &self.client_id].map(|text| text.as_deref().unwrap_or_default());
        CacheEntry::lock(&[self.server.url(), username, client_id, &self.scope])
    }

    /// Adds the parameters that the arguments name to a form.
    fn form<'f>(&'f self, parameters: &[(&'f str, &'f str)], with_scope: bool) -> Vec<(&'f str, &'f str)> {
        let mut form = parameters.to_vec();
        form.extend(self.client_id.as_deref().map(|id| ("client_id", id)));
        if with_scope && !self.scope.is_empty() {
            form.push(("scope", &self.scope));
        }
        form
    }

    /// Refreshes a session. `None`: the session has ended.
    async fn refresh(&self, before: &CachedSession) -> Result<Option<CachedSession>, RequestError> {
        let Some(token) = &before.refresh_token else { return Ok(None) };
        let form = self.form(&[("grant_type", "refresh_token"), ("refresh_token", token)], false);
        let now = Clock::system().now();
        match self.server.token(&form).await {
            Ok(response) => Ok(Some(session(&before.username, response, now))),
            Err(error) if error.is("invalid_grant") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends a session at the server.
    async fn revoke(&self, session: &CachedSession) -> Result<(), RequestError> {
        let token = session.refresh_token.as_ref().unwrap_or(&session.access_token);
        self.server.revoke(&self.form(&[("token", token)], false)).await
    }

    /// Asks for what the arguments do not say.
    fn ask(&self, password: &PasswordArgs) -> Result<Login, Box<dyn Error>> {
        let username = match &self.username {
            Some(username) => username.clone(),
            None => ask_for_username()?,
        };
        let password = password.read_current(&format!("{username} at {}", self.server.url()))?;
        Ok(Login { username, password })
    }

    async fn log_in(&self, Login { username, password }: &Login) -> Result<CachedSession, RequestError> {
        let parameters =
            [("grant_type", "password"), ("username", username.as_str()), ("password", password.expose_secret())];
        let now = Clock::system().now();
        let response = self.server.token(&self.form(&parameters, true)).await?;
        Ok(session(username, response, now))
    }
}

/// A user name and its password.
struct Login {
    username: String,
    password: SecretString,
}

/// `now` is taken before the request, so that the token is never taken to live longer than it does.
fn session(username: &str, response: TokenResponse, now: chrono::DateTime<chrono::Utc>) -> CachedSession {
    CachedSession {
        username: username.to_owned(),
        access_token: response.access_token,
        expires_at: now + TimeDelta::seconds(response.expires_in.into()),
        refresh_token: response.refresh_token,
    }
}

fn ask_for_username() -> Result<String, Box<dyn Error>> {
    if !io::stdin().is_terminal() {
        return Err(wrong_usage("there is no terminal to ask for the user name: use --username").into());
    }
    let (mut prompt, mut line) = (io::stderr(), String::new());
    write!(prompt, "User name: ")?;
    prompt.flush()?;
    io::stdin().read_line(&mut line)?;
    match line.trim() {
        "" => Err("a user name is needed".into()),
        name => Ok(name.to_owned()),
    }
}

/// Prints an access token: from the cache, by a refresh, or by a login.
pub(super) async fn get(arguments: &GetArguments, issuer: &str, output: Output) -> Outcome {
    let request = Request::new(&arguments.session, issuer)?;
    // Unlocked at the end of the statement: other processes do not wait for a person.
    let cached = if arguments.login { None } else { current(&request, &request.cache_entry()?).await? };
    let session = match cached {
        Some(session) => session,
        None => log_in(&request, &request.ask(&arguments.password)?, arguments.login).await?,
    };
    let token = session.access_token;
    if arguments.header {
        output.value("header", &format!("Authorization: Bearer {token}"))
    } else {
        output.value("access_token", &token)
    }
}

/// Logs in, and caches the session. Without `again`, uses the session of another process that was faster.
async fn log_in(request: &Request, login: &Login, again: bool) -> Result<CachedSession, Box<dyn Error>> {
    let entry = request.cache_entry()?;
    let before = if again { entry.read() } else { None };
    let cached = if again { None } else { current(request, &entry).await? };
    if let Some(session) = cached.filter(|session| session.username == login.username) {
        return Ok(session);
    }
    let session = request.log_in(login).await?;
    entry.write(&session)?;
    // After the login: a wrong password must not end the session. It may be one of an earlier server at this URL: a failure to
    // end it is no failure of the command.
    if let Some(before) = before {
        let _ = request.revoke(&before).await;
    }
    Ok(session)
}

/// Returns the cached session with an access token that still lives. `None`: a login is needed.
async fn current(request: &Request, entry: &CacheEntry) -> Result<Option<CachedSession>, Box<dyn Error>> {
    let Some(cached) = entry.read() else { return Ok(None) };
    if cached.expires_at - Clock::system().now() >= TimeDelta::seconds(LEAST_SECONDS) {
        return Ok(Some(cached));
    }
    let refreshed = request.refresh(&cached).await?;
    match &refreshed {
        Some(session) => entry.write(session)?,
        None => entry.remove()?,
    }
    Ok(refreshed)
}

/// Ends the cached session at the server, and removes it from the cache.
pub(super) async fn log_out(arguments: &SessionArguments, issuer: &str, output: Output) -> Outcome {
    let request = Request::new(arguments, issuer)?;
    let entry = request.cache_entry()?;
    let Some(session) = entry.read() else {
        return output.done(&format!("No session at {} is cached for these arguments.", request.server.url()));
    };
    // The server first: after a failure, the command can be repeated.
    request.revoke(&session).await?;
    entry.remove()?;
    output.done(&format!("Ended the session of {} at {}.", session.username, request.server.url()))
}
