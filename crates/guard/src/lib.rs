//! Verifies grantd's access tokens offline and its API keys by introspection, and guards routes by scope.
//!
//! An access token is a JWT (RFC 9068). A [`Guard`] has the issuer's keys and verifies whether a token is valid for this
//! service. This needs no request to the issuer and, for a token that was verified before, no check of the signature.
//!
//! # Guarding an actix service
//!
//! ```no_run
//! use actix_web::{App, HttpServer, Responder, web};
//! use grantd_guard::{
//!     Guard,
//!     actix::{Authenticated, Require},
//!     scopes,
//! };
//!
//! scopes! {
//!     /// List and read items.
//!     pub ItemsRead = "items:read";
//! }
//!
//! // Requires a token with the scope `items:read`.
//! async fn list(caller: Require<ItemsRead>) -> impl Responder {
//!     format!("the items, for {}", caller.sub)
//! }
//!
//! // Requires any valid token.
//! async fn hello(caller: Authenticated) -> impl Responder {
//!     format!("Hello, {}!", caller.username.as_ref().unwrap_or(&caller.client_id))
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let guard = Guard::from_issuer("https://id.example").audience("https://items.example").build()?;
//!     let reports = guard.require("reports:read")?;
//!     HttpServer::new(move || {
//!         App::new()
//!             .app_data(guard.clone())
//!             .route("/items", web::get().to(list))
//!             .route("/hello", web::get().to(hello))
//!             // Guards a whole `web::scope` of routes.
//!             .service(web::scope("/reports").wrap(reports.clone()).route("/today", web::get().to(hello)))
//!     })
//!     .bind("127.0.0.1:8081")?
//!     .run()
//!     .await?;
//!     Ok(())
//! }
//! ```
//!
//! [`axum`] has the same names for axum: extractors, and a `tower` layer. Both give the same responses.
//!
//! A refused request gets a response with the challenge of RFC 6750 §3 and a problem body (RFC 9457); [`Refusal`] lists the
//! reasons.
//!
//! # Sources of keys
//!
//! - [`Guard::from_issuer`] fetches the issuer's metadata (RFC 8414) and keys (RFC 7517) for the first token, again in the
//!   background when their `max-age` is over, and when a token has an unknown key; never more often than the
//!   [cool-down](GuardBuilder::cool_down) allows. A request waits for a fetch if its token has an unknown key, and for at
//!   most one second if the keys are very stale. While the issuer is unreachable, the present keys stay in use; without any
//!   keys, the response is 503, not 401.
//! - [`Guard::from_keys`] takes given keys. It works with any web framework, or without one:
//!
//! ```
//! use grantd_guard::{Guard, TokenError};
//! use jsonwebtoken::jwk::JwkSet;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys: JwkSet = serde_json::from_str(
//!     r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
//! )?;
//! let guard = Guard::from_keys("https://id.example", ["https://items.example"], &keys)?;
//! let now = 1_800_000_000;
//! assert_eq!(guard.verify("not a token", now), Err(TokenError::Malformed));
//! # Ok(()) }
//! ```
//!
//! # Revocations
//!
//! By default, a token is valid until it expires. A guard can also follow the issuer's feed of revocations, which revokes
//! single tokens and all tokens of a session, a user or a client:
//!
//! ```no_run
//! # #[cfg(feature = "issuer")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use grantd_guard::Guard;
//!
//! let guard = Guard::from_issuer("https://id.example")
//!     .audience("https://items.example")
//!     // A confidential client of the issuer.
//!     .follow_revocations("items", std::env::var("CLIENT_SECRET")?)
//!     .build()?;
//! println!("{:?}", guard.health());
//! # Ok(()) }
//! # #[cfg(not(feature = "issuer"))]
//! # fn main() {}
//! ```
//!
//! - Revoked tokens are refused, even if they were verified before, as soon as the guard knows the revocation: moments after
//!   the issuer.
//! - No token is accepted before the whole feed was read once. The first requests wait for that, for at most five seconds; if
//!   the issuer cannot be reached, the response is 503.
//! - While the issuer is unreachable, tokens without a known revocation are accepted until the last update is older than
//!   [`GuardBuilder::max_staleness`]. Then the response is 503. [`Guard::health`] returns the age.
//! - If the issuer's keys change, they are fetched at once: tokens of a withdrawn key are refused.
//!
//! Revocations can be passed to a guard with given keys: [`Guard::apply_revocations`].
//!
//! # API keys
//!
//! API keys are the credentials of scripts: `X-API-Key: grk_…`, or `Authorization: Bearer grk_…`. A guard that follows
//! revocations can accept them, too:
//!
//! ```no_run
//! # #[cfg(feature = "issuer")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use grantd_guard::Guard;
//!
//! let guard = Guard::from_issuer("https://id.example")
//!     .audience("https://items.example")
//!     // A confidential client of the issuer, with this audience or the scope `tokens:introspect`.
//!     .follow_revocations("items", std::env::var("CLIENT_SECRET")?)
//!     .accept_api_keys()
//!     .build()?;
//! # Ok(()) }
//! # #[cfg(not(feature = "issuer"))]
//! # fn main() {}
//! ```
//!
//! - The issuer verifies a key (RFC 7662). It must have an audience of the guard. Concurrent requests with the same key share
//!   one introspection.
//! - A key with a wrong checksum is refused without a request to the issuer.
//! - Verdicts are cached for at most 30 seconds, refusals for five. A verdict is dropped as soon as the feed has a revocation
//!   of the key or its owner. A scope that the owner has lost may be used until the verdict is 30 seconds old.
//! - While the issuer is unreachable, cached verdicts count, and the response for other keys is 503.
//! - Handlers get [`Claims`] as for tokens. A key belongs to no client, so `client_id` is the id of the key, like `jti`;
//!   [`Claims::is_api_key`] tells keys from tokens. `sid`, `roles` and `auth_time` are absent.
//!
//! # Testing a service
//!
//! With the feature `testing`, the module [`testing`] has keys, tokens and guards that accept them, so that tests need no
//! issuer.
//!
//! # Checks
//!
//! RFC 9068 §4 and RFC 8725: `typ` is `at+jwt`; there is no `crit`; `alg` is that of the key with this `kid` (`ES256`, `EdDSA`,
//! `RS256`; never `none`, never HMAC); the signature is valid; `iss`, `aud`, `exp`, `iat`, `sub`, `jti` and `client_id` are
//! present, with the right types; `iss` is the issuer, and `aud` has an audience of this service; `exp` is in the future, `nbf`
//! and `iat` are not (with a leeway of [`MAX_LEEWAY`] seconds for clock skew). [`TokenError`] has a variant for each check.
//!
//! # Features
//!
//! - `actix` (default): extractors and middleware for actix-web, in [`actix`].
//! - `axum`: extractors and a `tower` layer for axum, in [`axum`].
//! - `issuer` (default): [`Guard::from_issuer`], following its revocations, and accepting its API keys.
//! - `testing`: keys, tokens and guards for tests of services, in [`testing`].
//! - `utoipa`: schemas of [`Scope`] and [`Scopes`] for `OpenAPI` documents.

mod api_key;
mod builder;
mod claims;
mod clock;
mod error;
mod guard;
mod health;
mod keys;
mod refusal;
mod remembered;
#[cfg(any(feature = "actix", feature = "axum"))]
mod request;
mod revoked;
mod scope;
mod scopes;
mod token;

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "issuer")]
mod issuer;
#[cfg(not(feature = "issuer"))]
#[path = "issuer/none.rs"]
mod issuer;
#[cfg(feature = "utoipa")]
mod openapi;
#[cfg(feature = "testing")]
pub mod testing;

pub use builder::{GuardBuilder, MAX_LEEWAY};
pub use claims::{Actor, Audience, Claims};
pub use error::{ApiKeyError, AuthenticateError, BuildError, KeyError, TokenError};
pub use guard::Guard;
pub use health::{Health, RevocationsHealth};
pub use refusal::{CredentialsError, Refusal};
pub use revoked::{Revocation, RevocationKind};
pub use scope::{InvalidScope, Scope, Scopes};
pub use scopes::RequiredScopes;
pub use token::MAX_TOKEN_BYTES;
