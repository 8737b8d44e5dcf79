//! Which client asks, and whether it is (RFC 6749 §2.3): `client_secret_basic`, `client_secret_post`, `none`.

use actix_web::{HttpRequest, http::header::AUTHORIZATION};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};

use super::{
    OAuthError,
    form::{self, Form},
};
use crate::{
    app::App,
    clients::{self, Client, ClientId, Credentials},
    secret,
};

/// The methods that [`authenticate`] takes, by their names in the metadata.
pub(super) const METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "none"];

/// Who a request says it is.
struct Claimed {
    client_id: String,
    /// None: a public client's word is enough.
    secret: Option<SecretString>,
    /// Whether it came by HTTP Basic, whose challenge a failure then carries.
    basic: bool,
}

/// The client of a request. One that names none is the client `default`.
pub(super) async fn authenticate(app: &App, req: &HttpRequest, form: &Form) -> Result<Client, OAuthError> {
    let claimed = claimed(req, form)?;
    let found = clients::credentials(app, &claimed.client_id).await?;
    match found {
        Some(found) if proven(&found, claimed.secret.as_ref()) && !found.client.disabled => Ok(found.client),
        _ => Err(OAuthError::invalid_client(claimed.basic)),
    }
}

fn claimed(req: &HttpRequest, form: &Form) -> Result<Claimed, OAuthError> {
    let in_form = form.optional("client_id")?;
    let secret = form.optional("client_secret")?;
    let Some((client_id, basic_secret)) = basic(req)? else {
        let default = ClientId::default_client();
        let client_id = in_form.unwrap_or(default.as_str()).to_owned();
        return Ok(Claimed { client_id, secret: secret.map(SecretString::from), basic: false });
    };
    if secret.is_some() {
        return Err(OAuthError::invalid_request("the client authenticates in two ways at once"));
    }
    if in_form.is_some_and(|named| named != client_id) {
        return Err(OAuthError::invalid_request("client_id is not the client of the Authorization header"));
    }
    Ok(Claimed { client_id, secret: basic_secret, basic: true })
}

/// Id and secret of an `Authorization: Basic` header. An empty secret is none: so say libraries that know a public client.
fn basic(req: &HttpRequest) -> Result<Option<(String, Option<SecretString>)>, OAuthError> {
    let mut values = req.headers().get_all(AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(OAuthError::invalid_request("there are two Authorization headers"));
    }
    let refused = || OAuthError::invalid_client(true);
    let (scheme, encoded) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refused());
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

fn proven(found: &Credentials, secret: Option<&SecretString>) -> bool {
    match (&found.secret_hash, secret) {
        (Some(hash), Some(secret)) => {
            verify_slices_are_equal(hash, &secret::fingerprint(secret.expose_secret())).is_ok()
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
