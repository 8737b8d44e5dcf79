//! HTTP requests to the issuer: metadata, keys, the feed of revocations, and introspection.

use std::{error::Error, net::IpAddr, time::Duration};

use form_urlencoded::Serializer;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use reqwest::{RequestBuilder, Response, Url, header, redirect};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Freshness,
    introspection::Introspection,
    page::{Credentials, Poll},
    trace::traced,
};
use crate::{BuildError, KeyError};

/// The maximum size of a response, more than any metadata or JWK set has.
const MAX_BYTES: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(5);
const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

/// The error of a fetch of keys or revocations, for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}")]
    Http(String),
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("the answer of {0} is too long")]
    TooLong(String),
    #[error("the answer of {url} is not what it should be: {error}")]
    Malformed { url: String, error: serde_json::Error },
    #[error("the metadata is that of the issuer {0:?}")]
    OtherIssuer(String),
    #[error("the metadata names {0:?}, which is no URL that may be asked")]
    Endpoint(String),
    #[error("this issuer has no feed of revocations: its metadata has no revocations_endpoint")]
    NoFeed,
    #[error("this issuer cannot be asked about API keys: its metadata has no introspection_endpoint")]
    NoIntrospection,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the issuer has other keys now, and they could not be fetched")]
    OtherKeys,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl From<reqwest::Error> for FetchError {
    /// Includes the sources of the error: the text of reqwest's error alone does not name the cause.
    fn from(error: reqwest::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        // rustls and hyper say what they received, not what that means.
        if text.contains("InvalidContentType") {
            text.push_str(" (the server does not speak TLS; try http://)");
        } else if text.contains("invalid HTTP version") {
            text.push_str(" (the server does not speak HTTP; try https://)");
        }
        Self::Http(text)
    }
}

/// The used members of the metadata (RFC 8414 §2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
    /// A member that only grantd has.
    revocations_endpoint: Option<String>,
    introspection_endpoint: Option<String>,
}

/// A JWK set whose keys are parsed one by one, so that unknown ones are skipped (RFC 7517 §5).
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

/// An HTTP client for one issuer.
pub(super) struct Client {
    http: reqwest::Client,
    issuer: String,
    metadata: Vec<Url>,
    allow_http: bool,
}

impl Client {
    /// Creates a client. `kept`: the maximum number of idle connections, which end with the runtime that opened them.
    pub(super) fn new(issuer: &str, allow_http: bool, kept: usize) -> Result<Self, BuildError> {
        let url =
            issuer_url(issuer, allow_http).map_err(|reason| BuildError::Issuer { url: issuer.to_owned(), reason })?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("grantd-guard/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // No redirects: one could lead to a host that may not speak for the issuer, or to plain HTTP.
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(kept);
        // A proxy cannot reach this machine's loopback, and must not see the traffic.
        if is_loopback(&url) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| BuildError::Client(error.to_string()))?;
        Ok(Self { http, issuer: issuer.to_owned(), metadata: metadata_urls(&url), allow_http })
    }

    /// Fetches the keys. Returns them with their `max-age` in seconds, if the issuer sets one.
    pub(super) async fn fetch(&self, freshness: Freshness) -> Result<(JwkSet, Option<i64>), FetchError> {
        let jwks_uri = self.endpoint(|metadata| Ok(metadata.jwks_uri)).await?;
        let mut request = self.request(&jwks_uri);
        if freshness == Freshness::Now {
            request = request.header(header::CACHE_CONTROL, "no-cache");
        }
        let response = good(request.send().await?)?;
        let max_age = max_age(response.headers());
        let document: Document = json(response).await?;
        let keys = document.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok()).collect();
        Ok((JwkSet { keys }, max_age))
    }

    /// Returns the URL of the feed of revocations, from the metadata.
    pub(super) async fn revocations_endpoint(&self) -> Result<Url, FetchError> {
        self.endpoint(|metadata| metadata.revocations_endpoint.ok_or(FetchError::NoFeed)).await
    }

    /// Requests a page of the feed. `None`: the issuer does not know the cursor (any more).
    pub(super) async fn poll(&self, endpoint: &Url, poll: &Poll<'_>) -> Result<Option<Response>, FetchError> {
        let (user, password) = poll.credentials.encoded();
        let request = self.request(&poll.url(endpoint)).basic_auth(user, Some(password)).timeout(poll.timeout());
        let response = request.send().await?;
        if response.status().as_u16() == 422 && poll.after.is_some() {
            return Ok(None);
        }
        good(response).map(Some)
    }

    /// Returns the URL for introspection, from the metadata.
    pub(super) async fn introspection_endpoint(&self) -> Result<Url, FetchError> {
        self.endpoint(|metadata| metadata.introspection_endpoint.ok_or(FetchError::NoIntrospection)).await
    }

    /// Introspects a token (RFC 7662) as this client.
    pub(super) async fn introspect(
        &self,
        endpoint: &Url,
        credentials: &Credentials,
        token: &str,
    ) -> Result<Introspection, FetchError> {
        let (user, password) = credentials.encoded();
        let form = Serializer::new(String::new()).append_pair("token", token).finish();
        let request = traced(self.http.post(endpoint.clone()))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .basic_auth(user, Some(password))
            .body(form);
        json(good(request.send().await?)?).await
    }

    /// Reads an endpoint from the metadata, at all places where it may be. If all fail, returns the first error.
    async fn endpoint(&self, member: fn(Metadata) -> Result<String, FetchError>) -> Result<Url, FetchError> {
        let mut first_error = None;
        for url in &self.metadata {
            match self.endpoint_at(url, member).await {
                Ok(endpoint) => return Ok(endpoint),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| FetchError::Endpoint(String::new())))
    }

    async fn endpoint_at(
        &self,
        url: &Url,
        member: fn(Metadata) -> Result<String, FetchError>,
    ) -> Result<Url, FetchError> {
        let metadata: Metadata = json(good(self.request(url).send().await?)?).await?;
        // RFC 8414 §3.3: otherwise one issuer could publish keys in the name of another.
        if metadata.issuer != self.issuer {
            return Err(FetchError::OtherIssuer(metadata.issuer));
        }
        let endpoint = member(metadata)?;
        Url::parse(&endpoint).ok().filter(|url| is_allowed(url, self.allow_http)).ok_or(FetchError::Endpoint(endpoint))
    }

    fn request(&self, url: &Url) -> RequestBuilder {
        traced(self.http.get(url.clone())).header(header::ACCEPT, "application/json")
    }
}

fn good(response: Response) -> Result<Response, FetchError> {
    match response.status().as_u16() {
        200 => Ok(response),
        status => Err(FetchError::Status { url: response.url().to_string(), status }),
    }
}

pub(super) async fn json<T: DeserializeOwned>(mut response: Response) -> Result<T, FetchError> {
    let url = response.url().to_string();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        // Counted as it arrives: `Content-Length` may be absent.
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(FetchError::TooLong(url));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| FetchError::Malformed { url, error })
}

/// Parses and checks the URL of an issuer (RFC 8414 §2).
fn issuer_url(issuer: &str, allow_http: bool) -> Result<Url, &'static str> {
    let url = Url::parse(issuer).map_err(|_| "it is not a URL")?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it has a query or a fragment");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user name or a password");
    }
    if is_allowed(&url, allow_http) {
        Ok(url)
    } else {
        Err("it is not https, and neither a loopback address nor allowed")
    }
}

/// Returns the URLs of the metadata: with the well-known path between host and path (RFC 8414 §3.1) and, as some servers
/// have it, after the path.
fn metadata_urls(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    let mut urls = vec![at(format!("{WELL_KNOWN}{path}"))];
    if !path.is_empty() {
        urls.push(at(format!("{path}{WELL_KNOWN}")));
    }
    urls
}

fn is_allowed(url: &Url, allow_http: bool) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && (allow_http || is_loopback(url)))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Returns the freshness lifetime of a response (RFC 9111 §4.2.1), less its `Age`.
fn max_age(headers: &header::HeaderMap) -> Option<i64> {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives: Vec<_> =
        values.flat_map(|value| value.split(',')).map(|one| one.trim().to_ascii_lowercase()).collect();
    if directives.iter().any(|one| one == "no-store" || one == "no-cache") {
        return Some(0);
    }
    let seconds = |one: &String| one.strip_prefix("max-age=")?.trim_matches('"').parse::<u32>().ok();
    let max_age = directives.iter().find_map(seconds)?;
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse::<u32>().ok()).unwrap_or(0);
    Some(max_age.saturating_sub(age).into())
}

#[cfg(test)]
mod tests {
    use super::{super::fake::FakeIssuer, *};

    #[actix_web::test]
    async fn an_issuer_without_tls_is_named() {
        let issuer = FakeIssuer::start();
        let client = Client::new(&issuer.url().replace("http://", "https://"), false, 0).unwrap();
        let error = client.fetch(Freshness::Usual).await.unwrap_err().to_string();
        assert!(error.contains("does not speak TLS; try http://"), "{error}");
    }

    #[test]
    fn max_age_is_read_as_caches_do() {
        let of = |cache_control: &'static str, age: Option<&'static str>| {
            let mut headers = header::HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static(cache_control));
            if let Some(age) = age {
                headers.insert(header::AGE, header::HeaderValue::from_static(age));
            }
            max_age(&headers)
        };
        assert_eq!(of("public, Max-Age=60", None), Some(60));
        assert_eq!(of("max-age=60, public", Some("50")), Some(10));
        assert_eq!(of("max-age=60", Some("500")), Some(0));
        assert_eq!(of("max-age=60, no-cache", None), Some(0));
        assert_eq!(of("max-age=-1", None), None);
        assert_eq!(of("public", None), None);
    }
}
