//! Which client asks, and whether it is (RFC 6749 §2.3): `client_secret_basic`, `client_secret_post`, `private_key_jwt`, `none`.

use std::{net::IpAddr, sync::Arc};

use actix_web::{HttpRequest, http::header::AUTHORIZATION, rt};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use super::{
    OAuthError, client_assertion,
    form::{self, Form},
};
use crate::{
    app::App,
    audit::{self, Event, Kind, Origin},
    client_address::{client_address, reported_address},
    clients::{Client, ClientKind, Credentials},
    names::ClientId,
    principal, secret,
};

/// The methods that [`authenticate`] takes, by their names in the metadata.
pub(super) const METHODS: [&str; 4] = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];

/// Those of them that prove a client, and a token with the scope for it (RFC 8414 §2 has its type among them).
pub(super) const INTROSPECTION_METHODS: [&str; 4] =
    ["client_secret_basic", "client_secret_post", "private_key_jwt", "Bearer"];

/// Who a request says it is.
struct Claimed {
    client_id: ClientId,
    proof: Proof,
    /// Whether a failure carries the challenge of HTTP Basic: it was used, or nothing was where it could be.
    basic: bool,
    /// Whether the client was to authenticate and did not try to.
    lacks_authentication: bool,
}

enum Proof {
    /// A public client's word is enough.
    Word,
    Secret(SecretString),
    Assertion(String),
}

/// Returns the client of a request that issues or ends tokens. One that names no client is the client `default`.
pub(super) async fn authenticate(
    app: &App,
    req: &HttpRequest,
    form: &Form,
    now: DateTime<Utc>,
) -> Result<Arc<Client>, OAuthError> {
    let claimed = claimed(req, form)?;
    let found = app.clients.read(&claimed.client_id).await?;
    proven(app, req, found, &claimed, now).await
}

/// Returns the client of a request that only looks at tokens: it is not read from the database each time.
pub(super) async fn authenticate_reader(
    app: &App,
    req: &HttpRequest,
    form: &Form,
    now: DateTime<Utc>,
) -> Result<Arc<Client>, OAuthError> {
    let mut claimed = claimed(req, form)?;
    // Whether it names a client or not: otherwise the response would tell a public client from an unknown one.
    claimed.lacks_authentication = matches!(claimed.proof, Proof::Word);
    claimed.basic |= claimed.lacks_authentication;
    let found = app.clients.cached(&claimed.client_id).await?;
    let client = proven(app, req, found, &claimed, now).await?;
    match client.kind {
        ClientKind::Confidential => Ok(client),
        ClientKind::Public => Err(OAuthError::lacks_client_authentication(claimed.basic).logged("public client")),
    }
}

/// The confidential client of a request without a form, which proves itself by HTTP Basic.
pub(crate) async fn confidential_client(app: &App, req: &HttpRequest) -> Result<Arc<Client>, OAuthError> {
    authenticate_reader(app, req, &Form::default(), app.now()).await
}

/// Returns the address of the user for whom an authenticated client sends a request: the one that the client reports, if it
/// may, else the one that the request comes from.
// `client` is the result of `authenticate` for this request: anybody else could choose an address, and so bypass the limits on
// failed logins and falsify the audit log.
pub(super) fn user_address(app: &App, req: &HttpRequest, client: &Client) -> Result<Option<IpAddr>, OAuthError> {
    let reported = if client.forwards_address { reported_address(req) } else { Ok(None) };
    // Not ignored: the users of a client that reports nonsense would share the client's address without notice.
    let reported = reported.map_err(|_| {
        OAuthError::invalid_request("Grantd-User-Address must be one IPv4 or IPv6 address, without a port")
    })?;
    Ok(reported.or_else(|| client_address(req, &app.config.proxies)))
}

/// Returns the origin of a request of an authenticated client, with the address of its user.
pub(super) fn origin(app: &App, req: &HttpRequest, client: &Client) -> Result<Origin, OAuthError> {
    let address = user_address(app, req, client)?.map(|address| address.to_string());
    Ok(Origin { client_id: Some(client.client_id.to_string()), address, ..principal::origin(req, app) })
}

async fn proven(
    app: &App,
    req: &HttpRequest,
    found: Option<Arc<Credentials>>,
    claimed: &Claimed,
    now: DateTime<Utc>,
) -> Result<Arc<Client>, OAuthError> {
    // The caller gets the same response for an unknown client and wrong credentials.
    let refused = |reason| {
        let error = if claimed.lacks_authentication {
            OAuthError::lacks_client_authentication(claimed.basic)
        } else {
            OAuthError::invalid_client(claimed.basic)
        };
        error.logged(reason)
    };
    let Some(found) = found else {
        charge(app, req, claimed, now).await?;
        return Err(refused("unknown client"));
    };
    let proven = match &claimed.proof {
        Proof::Word => found.secret_hash.is_none(),
        Proof::Secret(secret) => is_secret(&found, secret, now),
        Proof::Assertion(assertion) => client_assertion::proves(app, &found, assertion, now).await?,
    };
    let (reason, logged) = match (proven, found.client.disabled) {
        (true, false) => return Ok(Arc::clone(&found.client)),
        (true, true) => ("client_disabled", "client disabled"),
        (false, _) => ("wrong_credentials", "wrong client credentials"),
    };
    record_failure(app, req, &claimed.client_id, reason, now);
    if !proven {
        charge(app, req, claimed, now).await?;
    }
    Err(refused(logged))
}

/// Charges wrong credentials to the network. A right secret passes without: it has too many bits to be guessed, and costs
/// no hash.
async fn charge(app: &App, req: &HttpRequest, claimed: &Claimed, now: DateTime<Utc>) -> Result<(), OAuthError> {
    if matches!(claimed.proof, Proof::Word) {
        return Ok(());
    }
    let address = client_address(req, &app.config.proxies);
    match app.throttle.charge_network(address, now).await? {
        Some(throttled) => Err(OAuthError::throttled(&throttled)),
        None => Ok(()),
    }
}

/// Records the first failure of a series, in a task of its own: a caller who leaves does not suppress it.
fn record_failure(app: &App, req: &HttpRequest, client: &ClientId, reason: &'static str, now: DateTime<Utc>) {
    if !app.client_failures.is_first(client, now) {
        return;
    }
    let origin = Origin { client_id: Some(client.to_string()), ..principal::origin(req, app) };
    let (store, failures, client) = (app.store.clone(), app.client_failures.clone(), client.clone());
    rt::spawn(async move {
        let event = Event::failure(Kind::ClientFailed).subject(&client).details(serde_json::json!({"reason": reason}));
        let recorded = async { audit::record(&mut store.write().await?, event, &origin, now).await }.await;
        if let Err(error) = recorded {
            failures.forget(&client);
            tracing::warn!(%error, %client, "a failure of a client could not be recorded");
        }
    });
}

fn claimed(req: &HttpRequest, form: &Form) -> Result<Claimed, OAuthError> {
    let in_form = form.optional("client_id")?;
    let secret = form.optional("client_secret")?;
    let assertion = assertion(form)?;
    let basic = basic(req)?;
    let lacks_authentication = in_form.is_none() && secret.is_none() && assertion.is_none() && basic.is_none();
    if usize::from(secret.is_some()) + usize::from(assertion.is_some()) + usize::from(basic.is_some()) > 1 {
        return Err(OAuthError::invalid_request("use one method of client authentication, not several"));
    }
    let (client_id, proof, basic) = if let Some((client_id, secret)) = basic {
        (client_id, secret.map_or(Proof::Word, Proof::Secret), true)
    } else if let Some(assertion) = assertion {
        let client_id = client_assertion::client_id(assertion)
            .ok_or_else(|| OAuthError::invalid_client(false).logged("malformed client_assertion"))?;
        (client_id, Proof::Assertion(assertion.to_owned()), false)
    } else {
        let client_id = in_form.map_or_else(|| ClientId::default_client().to_string(), str::to_owned);
        (client_id, secret.map_or(Proof::Word, |secret| Proof::Secret(secret.into())), false)
    };
    if in_form.is_some_and(|named| named != client_id) {
        return Err(OAuthError::invalid_request("client_id differs from the client that authenticates"));
    }
    // Before the database is asked: no client has a malformed id.
    let client_id = client_id.parse().map_err(|_| OAuthError::invalid_client(basic).logged("unknown client"))?;
    Ok(Claimed { client_id, proof, basic, lacks_authentication })
}

fn assertion(form: &Form) -> Result<Option<&str>, OAuthError> {
    let kind = form.optional("client_assertion_type")?;
    let assertion = form.optional("client_assertion")?;
    match (kind, assertion) {
        (None, None) => Ok(None),
        (Some(client_assertion::JWT_BEARER), Some(assertion)) => Ok(Some(assertion)),
        (Some(_), Some(_)) => Err(OAuthError::invalid_request("unsupported client_assertion_type")),
        _ => Err(OAuthError::invalid_request("client_assertion and client_assertion_type must be sent together")),
    }
}

/// Id and secret of an `Authorization: Basic` header. An empty secret is none: so say libraries that know a public client.
fn basic(req: &HttpRequest) -> Result<Option<(String, Option<SecretString>)>, OAuthError> {
    let mut values = req.headers().get_all(AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(OAuthError::invalid_request("the request has several Authorization headers; send one"));
    }
    let refused = || OAuthError::invalid_client(true).logged("malformed Authorization header");
    let (scheme, encoded) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(OAuthError::wrong_scheme(principal::known_scheme(value)));
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_matches(' ')).map_err(|_| refused())?;
    let decoded = String::from_utf8(decoded).map_err(|_| refused())?;
    let (id, secret) = decoded.split_once(':').ok_or_else(refused)?;
    // Form-encoded before base64 (RFC 6749 §2.3.1).
    let id = form::decode(id).map_err(|_| refused())?;
    let secret = form::decode(secret).map_err(|_| refused())?;
    // Swagger UI sends an empty id where none was typed in.
    let id = if id.is_empty() && secret.is_empty() { ClientId::default_client().as_str().to_owned() } else { id };
    Ok(Some((id, (!secret.is_empty()).then(|| secret.into()))))
}

fn is_secret(found: &Credentials, secret: &SecretString, now: DateTime<Utc>) -> bool {
    let presented = secret::fingerprint(secret.expose_secret());
    let old = found.old_secret.as_ref().filter(|(_, until)| *until > now).map(|(hash, _)| hash);
    // Both, whichever it is: the time says nothing.
    let hashes = [found.secret_hash.as_ref(), old].into_iter().flatten();
    hashes.fold(false, |known, hash| known | verify_slices_are_equal(hash, &presented).is_ok())
}
