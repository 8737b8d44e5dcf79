//! Verifies grantd's access tokens offline and guards routes by scope.
//!
//! An access token is a JWT of RFC 9068. A [`Guard`] knows the issuer's keys and says of each token whether it is good for
//! this service, and if not, why: no request to the issuer, and for a token that it saw before no signature check either.
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
//!     /// See the items.
//!     pub ItemsRead = "items:read";
//! }
//!
//! // Only with a token that has the scope `items:read`: the signature says so.
//! async fn list(caller: Require<ItemsRead>) -> impl Responder {
//!     format!("the items, for {}", caller.sub)
//! }
//!
//! // With any valid token.
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
//!             // A whole scope of routes.
//!             .service(web::scope("/reports").wrap(reports.clone()).route("/today", web::get().to(hello)))
//!     })
//!     .bind("127.0.0.1:8081")?
//!     .run()
//!     .await?;
//!     Ok(())
//! }
//! ```
//!
//! What is refused gets the challenge of RFC 6750 §3 and a problem body of RFC 9457; [`Refusal`] has the list.
//!
//! # Where keys come from
//!
//! - [`Guard::from_issuer`] reads the issuer's metadata (RFC 8414) and keys (RFC 7517) when the first token comes, again
//!   in the background when they are as old as the issuer lets them be, and when a token names a key that is new; never
//!   more often than the [cool-down](GuardBuilder::cool_down) allows. A request waits for a fetch if its token
//!   names a key that is not known, and for a second at most if the keys are long out of date. While the issuer is away,
//!   the keys that are there stay good; where there never were any, the answer is 503 and not 401.
//! - [`Guard::from_keys`] takes keys that are at hand. In any web framework, or none:
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
//! A token is good until it expires, unless the guard hears that it was revoked: it, its session, its user or its client.
//! It hears that by choice, from the issuer's feed of revocations:
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
//! - Tokens that were verified before are refused too, as soon as the guard has heard: an instant after the issuer knows.
//! - No token is accepted before all that is revoked was heard once. The first requests wait for that, at most five seconds;
//!   once it is known that the issuer cannot be asked, the answer is 503.
//! - While the issuer is away, what is known stays, and other tokens are accepted until the last news are older than
//!   [`GuardBuilder::max_staleness`]: then the answer is 503. [`Guard::health`] tells how old they are.
//! - When the issuer says that its keys changed, they are fetched at once: a key that was withdrawn goes with all its tokens.
//!
//! A guard with keys at hand can be told what was revoked: [`Guard::hear_revocations`].
//!
//! # What is checked
//!
//! RFC 9068 §4 and RFC 8725, with nothing left to the token's own word: `typ` is `at+jwt`; there is no `crit`; `alg` is the
//! one of the key that `kid` names (`ES256`, `EdDSA`, `RS256`; never `none`, never HMAC); the signature; `iss`, `aud`, `exp`,
//! `iat`, `sub`, `jti` and `client_id` are there and of their type; `iss` is the issuer and `aud` has an audience of this
//! service; `exp` is in the future, `nbf` and `iat` are not (for these two clocks may differ by [`MAX_LEEWAY`] seconds).
//! [`TokenError`] has a variant for each.
//!
//! # Features
//!
//! - `actix` (default): extractors and middleware, in [`actix`].
//! - `issuer` (default): [`Guard::from_issuer`], and following its revocations.
//! - `utoipa`: schemas of [`Scope`] and [`Scopes`] for `OpenAPI` documents.

mod builder;
mod claims;
mod clock;
mod error;
mod guard;
mod health;
mod keys;
mod refusal;
mod remembered;
mod revoked;
mod scope;
mod token;

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "issuer")]
mod issuer;
#[cfg(not(feature = "issuer"))]
#[path = "issuer/none.rs"]
mod issuer;
#[cfg(feature = "utoipa")]
mod openapi;
#[cfg(test)]
mod testing;

pub use builder::{GuardBuilder, MAX_LEEWAY};
pub use claims::{Audience, Claims};
pub use error::{AuthenticateError, BuildError, KeyError, TokenError};
pub use guard::Guard;
pub use health::{Health, RevocationsHealth};
pub use refusal::{CredentialsError, Refusal};
pub use revoked::{Revocation, RevocationKind};
pub use scope::{InvalidScope, Scope, Scopes};
pub use token::MAX_TOKEN_BYTES;
