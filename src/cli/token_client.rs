//! The HTTP client of `grantd token get`: `POST /token` and `POST /revoke`.

use std::{error::Error as _, net::IpAddr, time::Duration};

use reqwest::{Client, Response, Url, redirect};
use serde::{Deserialize, de::DeserializeOwned};

use super::output::harmless;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A login waits for its turn while many passwords are hashed.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest response body that is read: a response of grantd is far smaller.
const BODY_LIMIT: usize = 64 * 1024;

/// A successful response of `/token` (RFC 6749 §5.1), as far as it is used.
#[derive(Deserialize)]
pub(super) struct TokenResponse {
    pub(super) access_token: String,
    pub(super) expires_in: u32,
    pub(super) refresh_token: Option<String>,
}

/// An error response (RFC 6749 §5.2).
#[derive(Deserialize)]
struct ErrorResponse {
    error: String,
    error_description: Option<String>,
}

/// Why a request failed. The text tells the user what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// Not repeated: it may hold a password.
    #[error(
        "--url: allowed is the http or https URL of a server, such as https://id.example.com, without user and query"
    )]
    Url,
    /// The http or https URL that was probably meant.
    #[error("--url: did you mean {0}?")]
    NoScheme(Url),
    #[error(
        "--url: {url} is not https, and not on this machine: passwords and tokens would be sent unencrypted. Use \
         https"
    )]
    Plain { url: String },
    #[error("cannot reach a server at {url}: {reason}. Start it with `grantd serve`, or name another with --url")]
    Unreachable { url: String, reason: String },
    #[error(
        "the certificate of the server at {url} is not accepted: {reason}. If its authority is your own, name its certificate \
         with SSL_CERT_FILE=FILE; else the server's certificate must be renewed, or be for this host"
    )]
    Untrusted { url: String, reason: String },
    #[error("the server at {url} does not speak TLS; try http://, which is allowed for a server on this machine")]
    NotTls { url: String },
    #[error("the server at {url} does not speak HTTP; try https://")]
    NotHttp { url: String },
    #[error("{error}: {description}{}", hint(error))]
    Refused { error: String, description: String },
    #[error("{url} is not a grantd server ({status}); check --url")]
    NotGrantd { url: String, status: u16 },
}

impl RequestError {
    /// Whether the server refused the request with this error code.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused { error, .. } if error == code)
    }
}

/// What the user can do about an error code.
fn hint(error: &str) -> &'static str {
    match error {
        "invalid_grant" => {
            ". An operator can check the account with `grantd user show NAME` and set a password with `grantd user \
             passwd NAME`"
        }
        "invalid_client" => ". --client-id must name an enabled public client; one with a secret cannot be used here",
        "unauthorized_client" => ". --client-id must name a client with the grant `password`",
        "unsupported_grant_type" => ". The password grant is disabled on this server",
        "invalid_scope" => ". Leave out --scope for all that user and client both have",
        _ => "",
    }
}

/// A server, by its URL.
pub(super) struct Server {
    url: String,
    http: Client,
}

impl Server {
    pub(super) fn at(url: &str) -> Result<Self, RequestError> {
        if let Some(meant) = with_scheme(url) {
            return Err(RequestError::NoScheme(meant));
        }
        let parsed = Url::parse(url).map_err(|_| RequestError::Url)?;
        if !is_bare(&parsed) || !["http", "https"].contains(&parsed.scheme()) {
            return Err(RequestError::Url);
        }
        let loopback = is_loopback(&parsed);
        if parsed.scheme() == "http" && !loopback {
            return Err(RequestError::Plain { url: url.to_owned() });
        }
        let url = url.trim_end_matches('/').to_owned();
        let mut http = Client::builder()
            .user_agent(concat!("grantd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // A redirect would send the password to another place.
            .redirect(redirect::Policy::none());
        if loopback {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| unreachable(&url, &error))?;
        Ok(Self { url, http })
    }

    /// Without a slash at its end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn token(&self, form: &[(&str, &str)]) -> Result<TokenResponse, RequestError> {
        let response = self.post("/token", form).await?;
        let not_grantd = || RequestError::NotGrantd { url: self.url.clone(), status: 200 };
        let response: TokenResponse = body(response).await.ok_or_else(not_grantd)?;
        // Tokens go to a terminal and into a header.
        let tokens = [Some(&response.access_token), response.refresh_token.as_ref()];
        if tokens.into_iter().flatten().all(|token| is_b64token(token)) { Ok(response) } else { Err(not_grantd()) }
    }

    pub(super) async fn revoke(&self, form: &[(&str, &str)]) -> Result<(), RequestError> {
        self.post("/revoke", form).await.map(drop)
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Response, RequestError> {
        let request = self.http.post(format!("{}{path}", self.url)).form(form);
        let response = request.send().await.map_err(|error| unreachable(&self.url, &error))?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(response);
        }
        match body::<ErrorResponse>(response).await {
            Some(body) => {
                let description = body.error_description.filter(|text| !text.is_empty());
                let description = description.unwrap_or_else(|| format!("the server answered {status}"));
                Err(RequestError::Refused { error: harmless(&body.error), description: harmless(&description) })
            }
            None => Err(RequestError::NotGrantd { url: self.url.clone(), status }),
        }
    }
}

/// Reads a JSON body of at most [`BODY_LIMIT`].
async fn body<T: DeserializeOwned>(mut response: Response) -> Option<T> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_LIMIT {
            return None;
        }
    }
    serde_json::from_slice(&body).ok()
}

/// The characters of a bearer token (RFC 6750 §2.1).
fn is_b64token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

/// With the innermost cause: reqwest's own text says no more than that it failed.
fn unreachable(url: &str, error: &reqwest::Error) -> RequestError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    // rustls and hyper say what they received, not what that means.
    if reason.contains("InvalidContentType") {
        return RequestError::NotTls { url: url.to_owned() };
    }
    if reason.contains("invalid HTTP version") {
        return RequestError::NotHttp { url: url.to_owned() };
    }
    if reason.contains("certificate") {
        return RequestError::Untrusted { url: url.to_owned(), reason };
    }
    RequestError::Unreachable { url: url.to_owned(), reason: reason.to_lowercase() }
}

/// Returns whether a URL has no user, query and fragment.
fn is_bare(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none()
}

/// Returns the URL that was meant by an address without a scheme.
fn with_scheme(address: &str) -> Option<Url> {
    let plain = Url::parse(&format!("http://{address}")).ok().filter(|url| !address.contains("://") && is_bare(url))?;
    if is_loopback(&plain) { Some(plain) } else { Url::parse(&format!("https://{address}")).ok() }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_no_character_that_a_header_or_a_terminal_interprets() {
        assert!(is_b64token("eyJhbGciOi.eyJ-_.sig~+/=="));
        for bad in ["", "a b", "a\r\nX: y", "a\u{1b}[2J", "ä"] {
            assert!(!is_b64token(bad), "{bad:?}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for good in ["http://127.0.0.1:8080", "http://localhost:8080/", "http://[::1]:1", "https://id.example/auth"] {
            assert!(!Server::at(good).unwrap().url().ends_with('/'));
        }
        for plain in ["http://id.example", "http://192.0.2.1:8080", "http://localhost.example"] {
            assert!(Server::at(plain).err().unwrap().to_string().contains("https"), "{plain}");
        }
        for (bare, meant) in [("localhost:8080", "http://localhost:8080/"), ("id.example", "https://id.example/")] {
            assert!(Server::at(bare).err().unwrap().to_string().contains(meant), "{bare}");
        }
        for malformed in
            ["user:secret@id.example", "ftp://id.example", "https://user:secret@id.example", "https://id.example?a=b"]
        {
            assert!(matches!(Server::at(malformed), Err(RequestError::Url)), "{malformed}");
        }
    }
}
