//! Routes of API keys: `/users/me/api-keys` and `/admin/users/{id}/api-keys`.

pub(crate) mod admin;
pub(crate) mod me;

use chrono::{DateTime, Utc};
use grantd_guard::Scopes;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{ApiKey, CreatedKey, NewApiKey, audiences, check_expiry};
use crate::{
    app::App,
    authority::Authority,
    error::{Code, Error, FieldError},
    http::{
        body::Members,
        page::{Page, PageRequest},
        problem::Problem,
    },
    ids::{ApiKeyId, UserId},
    names::ApiKeyName,
    roles::{self, routes::scopes_among},
};

/// An API key to create.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = NewApiKey, example = json!({"name": "backup script", "scopes": ["account"]}))]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBody {
    /// 1 to 100 characters.
    #[schema(required = true, nullable = false, min_length = 1, max_length = 100)]
    name: Option<String>,
    /// At least one. Owner and caller must have all of them.
    #[schema(required = true, nullable = false, min_items = 1)]
    scopes: Option<Vec<String>>,
    /// Absolute URIs of services that accept the key, 10 at most. The server's audience if absent or empty.
    #[schema(max_items = 10)]
    audiences: Option<Vec<String>>,
    /// If absent, the key never expires.
    expires_at: Option<DateTime<Utc>>,
}

impl NewBody {
    /// `known`: all existing scopes.
    fn check(self, known: &Scopes, now: DateTime<Utc>) -> Result<NewApiKey, Error> {
        let mut members = Members::default();
        let name = members.required("name", self.name.map(ApiKeyName::try_from));
        let scopes = members.required("scopes", self.scopes.map(|names| scopes(known, &names)));
        let audiences = members.optional(self.audiences.map(|list| audiences(&list))).unwrap_or_default();
        let expires_at = members.optional(self.expires_at.map(|at| check_expiry(at, now)));
        members.finish(name.zip(scopes).map(|(name, scopes)| NewApiKey { name, scopes, audiences, expires_at }))
    }
}

fn scopes(known: &Scopes, names: &[String]) -> Result<Scopes, FieldError> {
    let scopes = scopes_among(known, names)?;
    let none = || FieldError::new("scopes", Code::Required, "must have at least one scope");
    if scopes.is_empty() { Err(none()) } else { Ok(scopes) }
}

/// Returns a page of the keys of a user.
async fn page(app: &App, owner: UserId, request: &PageRequest<ApiKeyId>) -> Result<Page<ApiKey>, Problem> {
    let conn = &mut app.store.read().await?;
    let keys = super::list(conn, owner, request.after, request.fetch_limit()).await?;
    let keys = keys.into_iter().map(|key| key.with_audience(&app.audience)).collect();
    Ok(request.page(keys, |key: &ApiKey| *key.id.as_bytes()))
}

/// Creates a key for a user.
async fn create(app: &App, owner: UserId, body: NewBody, by: &Authority) -> Result<CreatedKey, Problem> {
    let now = app.now();
    let new = body.check(&roles::all_scopes(&mut app.store.read().await?).await?, now)?;
    let created = app.write(async |tx| super::create(tx, owner, &new, by, now).await).await?;
    let (api_key, key) = created;
    Ok(CreatedKey { api_key: api_key.with_audience(&app.audience), key: key.expose_secret().to_owned() })
}

/// Deletes a key of a user. `id`: as in the path.
async fn delete(app: &App, owner: UserId, id: &str, by: &Authority) -> Result<(), Problem> {
    let (id, now) = (ApiKeyId::parse(id).ok_or_else(|| super::not_found(id))?, app.now());
    Ok(app.write(async |tx| super::delete(tx, owner, id, by, now).await).await?)
}
