//! `grantd token`: explains access tokens.

use std::{
    error::Error,
    io::{self, Read as _},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use grantd_guard::{Claims, Guard, Scope, Scopes, TokenError};
use serde_json::{Value, json};

use super::{
    Outcome,
    output::{self, Output},
    token_get,
};
use crate::{app::App, clock::Clock, ids::UserId, keys, secret::CLIENT_SECRET, sessions::REFRESH_TOKEN};

const GET: &str = "\
Print an access token from a running server; log in if needed

The session is cached in $XDG_CACHE_HOME/grantd or ~/.cache/grantd, readable by this user
alone. The password is needed again when the session has ended. Needs no database.

A token from the cache is not checked with the server. Use --login after the session was
ended, the password or the roles changed, or a scope was created.

Example:

  curl -H \"$(grantd token get --username maria --header)\" http://127.0.0.1:8080/users/me";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print an access token from a running server; log in if needed
    #[command(long_about = GET)]
    Get(token_get::GetArguments),
    /// End the session of `token get` at the server, and remove it from the cache
    ///
    /// Takes the same --url, --username, --client-id and --scope as `token get`.
    Logout(token_get::SessionArguments),
    /// Decode and verify the access token on standard input
    ///
    /// Prints the header and the claims, whether this server accepts the token, and if not, why. The exit code is 0
    /// when the token is accepted and 1 when it is not. With `--issuer URL`, the token is verified with the keys that the
    /// issuer publishes, and no database is needed.
    Explain(ExplainArguments),
}

#[derive(Args)]
pub(super) struct ExplainArguments {
    /// Required scope; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// Required audience [default: the audiences of this server; with `--issuer`, any]
    #[arg(long = "token-audience", value_name = "URI")]
    audience: Option<String>,
}

pub(super) async fn explain(arguments: ExplainArguments, app: &App, output: Output) -> Outcome {
    let scopes: Scopes = arguments.scopes.into_iter().collect();
    Explained::of(app, &read_token()?, &scopes, arguments.audience.as_deref()).await?.print(app.now(), output)
}

/// Verifies the token with the keys that the issuer publishes, as a service does. Needs no database.
pub(super) async fn explain_with_issuer(arguments: ExplainArguments, issuer: &str, output: Output) -> Outcome {
    let guard = Guard::from_issuer(issuer).audience(issuer).build().map_err(|error| format!("--issuer: {error}"))?;
    let token = read_token()?;
    if !guard.fetch_keys().await {
        return Err(format!(
            "--issuer: cannot fetch the signing keys of {issuer}: is the URL right, and is \
             {issuer}/.well-known/oauth-authorization-server reachable?"
        )
        .into());
    }
    let (scopes, now) = (arguments.scopes.into_iter().collect(), Clock::system().now());
    Explained::by_keys_of(&guard, &token, &scopes, arguments.audience.as_deref(), now).print(now, output)
}

/// Reads a token, with or without `Authorization: Bearer` before it.
fn read_token() -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    io::stdin().take(64 * 1024).read_to_string(&mut text)?;
    let token = ["authorization:", "bearer "].into_iter().fold(text.trim(), without_prefix);
    let other = match token {
        "" => return Err("no token on standard input; for example: grantd token get | grantd token explain".into()),
        token if token.starts_with(REFRESH_TOKEN) => "a refresh token",
        token if token.starts_with(CLIENT_SECRET) => "a client secret",
        token => return Ok(token.to_owned()),
    };
    Err(format!("this is {other}; explain takes an access token").into())
}

/// Removes a prefix in any case, and the spaces after it.
fn without_prefix<'t>(text: &'t str, prefix: &str) -> &'t str {
    let is_there = text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if is_there { text[prefix.len()..].trim_start() } else { text }
}

/// Returns why a token is not genuine or not live. `ours`: the expected issuer.
fn reason(error: TokenError, claims: Option<&Value>, ours: &str) -> String {
    match claims.and_then(|claims| claims["iss"].as_str()) {
        Some(issuer) if error == TokenError::WrongIssuer => format!("issued by {issuer}; {ours}"),
        _ => error.to_string(),
    }
}

struct Explained {
    header: Option<Value>,
    claims: Option<Value>,
    key: String,
    /// Why the token is refused; empty if it is accepted. A token that is not genuine has one reason, the first.
    refused: Vec<String>,
    /// What the verdict does not cover.
    unchecked: &'static str,
}

impl Explained {
    async fn of(app: &App, token: &str, scopes: &Scopes, audience: Option<&str>) -> Result<Self, Box<dyn Error>> {
        let (header, claims) = decode(token);
        let kid = kid(header.as_ref());
        let keys = keys::list(&mut app.store.read().await?, app.now()).await?;
        let key = match keys.iter().find(|key| key.kid == kid) {
            Some(key) => format!("{kid} ({}, {})", key.algorithm.as_str(), key.state.as_str()),
            None if kid.is_empty() => "none in the token".to_owned(),
            None => format!("{kid}, which this server does not have"),
        };
        let mut refused = Vec::new();
        match app.guard.verify_for_anybody(token, app.now().timestamp()) {
            Err(error) => {
                let ours = format!("the issuer of this server is {} (GRANTD_ISSUER)", app.issuer);
                refused.push(reason(error, claims.as_ref(), &ours));
            }
            Ok(verified) => refused.extend(objections(app, &verified, scopes, audience).await?),
        }
        Ok(Self { header, claims, key, refused, unchecked: "" })
    }

    fn by_keys_of(guard: &Guard, token: &str, scopes: &Scopes, audience: Option<&str>, now: DateTime<Utc>) -> Self {
        let (header, claims) = decode(token);
        let verified = guard.verify_for_anybody(token, now.timestamp());
        let key = match kid(header.as_ref()) {
            "" => "none in the token".to_owned(),
            kid if verified == Err(TokenError::UnknownKey) => {
                format!("{kid}, which {} does not publish", guard.issuer())
            }
            kid => kid.to_owned(),
        };
        let refused = match verified {
            Err(error) => vec![reason(error, claims.as_ref(), &format!("expected is {}", guard.issuer()))],
            Ok(verified) => {
                let accepted: Vec<String> = audience.map(str::to_owned).into_iter().collect();
                let audience = if accepted.is_empty() { None } else { wrong_audience(&verified, &accepted) };
                audience.into_iter().chain(missing_scopes(&verified, scopes)).collect()
            }
        };
        let unchecked = if audience.is_some() { "revocations" } else { "revocations; the audience (--token-audience)" };
        Self { header, claims, key, refused, unchecked }
    }

    fn print(&self, now: DateTime<Utc>, output: Output) -> Outcome {
        if output.json {
            output.object(&self.json())?;
        } else {
            output::print(&self.text(now))?;
        }
        if self.refused.is_empty() { Ok(()) } else { Err("the token is not accepted".into()) }
    }

    fn json(&self) -> Value {
        json!({
            "header": self.header, "claims": self.claims, "key": self.key, "accepted": self.refused.is_empty(),
            "refused_because": self.refused,
        })
    }

    fn text(&self, now: DateTime<Utc>) -> String {
        let mut lines = Vec::new();
        for (title, members) in [("Header", &self.header), ("Claims", &self.claims)] {
            lines.push(format!("{title}:"));
            match members.as_ref().and_then(Value::as_object) {
                Some(members) => lines.extend(members.iter().map(|(name, value)| line(name, value, now))),
                None => lines.push("  cannot be read".to_owned()),
            }
        }
        lines.push(format!("Key: {}", self.key));
        if self.refused.is_empty() {
            lines.push("Accepted.".to_owned());
            if !self.unchecked.is_empty() {
                lines.push(format!("Not checked: {}.", self.unchecked));
            }
        } else {
            lines.push("Refused:".to_owned());
            lines.extend(self.refused.iter().map(|reason| format!("  - {reason}")));
        }
        lines.iter().map(|line| output::harmless(line)).collect::<Vec<_>>().join("\n")
    }
}

/// Returns header and claims, as far as they can be read.
fn decode(token: &str) -> (Option<Value>, Option<Value>) {
    let mut parts = token.split('.').map(part);
    (parts.next().flatten(), parts.next().flatten())
}

fn kid(header: Option<&Value>) -> &str {
    header.and_then(|header| header["kid"].as_str()).unwrap_or_default()
}

/// One part of the compact form: a JSON object in base64url.
fn part(text: &str) -> Option<Value> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&json).ok().filter(Value::is_object)
}

fn line(name: &str, value: &Value, now: DateTime<Utc>) -> String {
    let shown = format!("  {name}: {value}");
    let is_time = ["exp", "iat", "nbf", "auth_time"].contains(&name);
    match value.as_i64().filter(|_| is_time).and_then(|seconds| DateTime::from_timestamp(seconds, 0)) {
        Some(at) => format!("{shown} ({}, {})", output::time(at), ago(at, now)),
        None => shown,
    }
}

fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let between = humantime::format_duration(std::time::Duration::from_secs((at - now).num_seconds().unsigned_abs()));
    if at > now { format!("in {between}") } else { format!("{between} ago") }
}

/// Returns the reasons to refuse a token that is genuine and live.
async fn objections(
    app: &App,
    claims: &Claims,
    scopes: &Scopes,
    audience: Option<&str>,
) -> Result<Vec<String>, Box<dyn Error>> {
    let accepted = audience.map_or_else(|| app.guard.audiences().to_vec(), |audience| vec![audience.to_owned()]);
    let mut objections: Vec<_> =
        wrong_audience(claims, &accepted).into_iter().chain(missing_scopes(claims, scopes)).collect();
    if let Some(user) = UserId::parse(&claims.sub) {
        match app.users.read(user).await? {
            None => objections.push("its user was deleted".to_owned()),
            Some(user) if user.disabled => objections.push("its user is disabled".to_owned()),
            Some(_) => {}
        }
    }
    Ok(objections)
}

fn wrong_audience(claims: &Claims, accepted: &[String]) -> Option<String> {
    let audiences = claims.aud.as_slice();
    let is_accepted = audiences.iter().any(|audience| accepted.contains(audience));
    (!is_accepted).then(|| format!("it is for {}, not for {}", audiences.join(", "), accepted.join(" or ")))
}

fn missing_scopes(claims: &Claims, scopes: &Scopes) -> Option<String> {
    let missing = scopes.difference(&claims.scope);
    (!missing.is_empty()).then(|| format!("it lacks the scope {missing}"))
}
