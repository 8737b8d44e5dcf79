//! `private_key_jwt` (RFC 7523 §2.2 and §3): a client proves itself by a JWT that it signed.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use super::OAuthError;
use crate::{
    app::App,
    clients::{self, Credentials},
};

/// The one type of assertion that there is.
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The longest that an assertion may be good for: it is made for one request.
const LONGEST: TimeDelta = TimeDelta::minutes(5);
/// How far the clocks of client and server may differ.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);
/// As much as a `jti` may have, in bytes.
const LONGEST_ID: usize = 512;

/// What an assertion says.
#[derive(Deserialize)]
struct Assertion {
    iss: String,
    sub: String,
    aud: Audience,
    jti: String,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
}

/// One: an assertion that is good for several servers could be carried from one to the other.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Array([String; 1]),
}

/// The client that an assertion says it is of, to be believed once [`proves`] says so.
pub(super) fn client_id(assertion: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Subject {
        sub: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Subject>(assertion).ok().map(|claims| claims.sub)
}

/// Whether the client signed this for this server a moment ago, and did not use it before.
pub(super) async fn proves(
    app: &App,
    found: &Credentials,
    assertion: &str,
    now: DateTime<Utc>,
) -> Result<bool, OAuthError> {
    let client_id = found.client.client_id.as_str();
    let Some(claims) = found.client.jwks.as_ref().and_then(|jwks| jwks.verify::<Assertion>(assertion)) else {
        return Ok(false);
    };
    let Some(expires_at) = DateTime::from_timestamp(claims.exp, 0) else { return Ok(false) };
    if let Some(claim) = wrong_claim(&claims, client_id, &app.issuer, expires_at, now) {
        // The client signed it, so the reason helps its operator and reveals nothing to others.
        tracing::info!(client = client_id, claim, "an assertion of a client was refused for this claim");
        return Ok(false);
    }
    let mut conn = app.store.write().await?;
    Ok(clients::use_assertion(&mut conn, &found.client.client_id, &claims.jti, expires_at).await?)
}

/// The first claim that is not as it must be (RFC 7523 §3).
fn wrong_claim(
    claims: &Assertion,
    client_id: &str,
    issuer: &str,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<&'static str> {
    let (Audience::One(aud) | Audience::Array([aud])) = &claims.aud;
    let latest = (now + LEEWAY).timestamp();
    let checks = [
        ("iss", claims.iss == client_id),
        ("sub", claims.sub == client_id),
        ("aud", aud == issuer),
        ("exp", expires_at > now && expires_at <= now + LONGEST + LEEWAY),
        ("nbf", claims.nbf.is_none_or(|at| at <= latest)),
        ("iat", claims.iat.is_none_or(|at| at <= latest)),
        ("jti", (1..=LONGEST_ID).contains(&claims.jti.len())),
    ];
    checks.into_iter().find(|(_, is_right)| !is_right).map(|(claim, _)| claim)
}
