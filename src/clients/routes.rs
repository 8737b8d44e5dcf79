//! `/admin/clients`.

use std::{collections::BTreeSet, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::LOCATION},
    web,
};
use grantd_guard::Scopes;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    Client, ClientKind, ClientPatch, GrantType, Jwks, NewClient, parse_id,
    rules::{MAX_OVERLAP, check_forwards_address, check_grant_types, check_has_jwks, check_lifetime},
};
use crate::{
    app::App,
    config::parse,
    error::{Code, Error, FieldError},
    http::{
        body::{self, Members},
        no_store,
        page::{self, List, Page, PageRequest, Paging},
        problem::Problem,
    },
    names::{Audience, ClientId, ClientName},
    patch::Patch,
    principal::{ClientsRead, ClientsWrite, Permit},
    roles::{self, routes::scopes_among},
    secret::{self, CLIENT_SECRET},
};

/// List clients
///
/// Sorted by `client_id`.
#[utoipa::path(
    get,
    path = "/admin/clients",
    operation_id = "list_clients",
    tag = "clients",
    security(("oauth2" = ["clients:read"]), ("bearer" = [])),
    params(Paging),
    responses((status = 200, description = "A page of clients", body = Page<Client>)),
)]
pub(crate) async fn list(
    _: Permit<ClientsRead>,
    app: web::Data<App>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let request = PageRequest::from_request(&req, List::Clients, page::text)?;
    let after = request.after.as_deref().unwrap_or_default();
    let conn = &mut app.store.read().await?;
    let clients = super::list(conn, after, request.fetch_limit()).await?;
    Ok(no_store(StatusCode::OK).json(request.page(clients, |client| client.client_id.as_str().to_owned())))
}

/// Get a client
#[utoipa::path(
    get,
    path = "/admin/clients/{id}",
    operation_id = "get_client",
    tag = "clients",
    security(("oauth2" = ["clients:read"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The `client_id`", example = "default")),
    responses(
        (status = 200, description = "The client", body = Client),
        (status = 404, description = "Client not found"),
    ),
)]
pub(crate) async fn get(
    _: Permit<ClientsRead>,
    app: web::Data<App>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let conn = &mut app.store.read().await?;
    Ok(no_store(StatusCode::OK).json(super::find(conn, &parse_id(&id)?).await?))
}

/// A client to create.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = NewClient, example = json!({
    "client_id": "shop", "name": "The shop", "type": "confidential", "grant_types": ["password", "refresh_token"],
    "scopes": ["account"], "audiences": ["https://api.example.com"], "access_token_ttl": "15m"
}))]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBody {
    /// `[a-z][a-z0-9-]{1,62}`. Random if absent.
    #[schema(pattern = "^[a-z][a-z0-9-]{1,62}$")]
    client_id: Option<String>,
    /// Display name.
    #[schema(required = true, nullable = false)]
    name: Option<String>,
    #[serde(rename = "type")]
    #[schema(required = true, value_type = ClientKind)]
    kind: Option<String>,
    #[schema(required = true, value_type = Vec<GrantType>)]
    grant_types: Option<Vec<String>>,
    #[schema(required = true, nullable = false)]
    scopes: Option<Vec<String>>,
    /// Audiences of its tokens. The server's audience if absent or empty.
    audiences: Option<Vec<String>>,
    /// Lifetime of its access tokens. The server's setting if absent.
    #[schema(example = "15m")]
    access_token_ttl: Option<String>,
    /// JWK set of public keys for client authentication with `private_key_jwt`.
    #[schema(value_type = Option<Object>)]
    jwks: Option<serde_json::Value>,
    /// Whether the client, which must be confidential, may report the address of its user in the header
    /// `Grantd-User-Address` of a token request. False if absent.
    forwards_address: Option<bool>,
}

impl NewBody {
    /// `known`: all existing scopes.
    fn check(self, known: &Scopes) -> Result<NewClient, Error> {
        let mut members = Members::default();
        let client_id = match self.client_id {
            Some(id) => members.optional(Some(id.parse::<ClientId>())),
            None => Some(ClientId::random()?),
        };
        let name = members.required("name", self.name.map(ClientName::try_from));
        let kind = members.required("type", self.kind.map(|kind| kind.parse::<ClientKind>()));
        let grant_types = members.required("grant_types", self.grant_types.map(|names| grant_types(&names)));
        let scopes = members.required("scopes", self.scopes.map(|names| scopes_among(known, &names)));
        let audiences = members.optional(self.audiences.map(|list| audiences(&list))).unwrap_or_default();
        let access_token_ttl = members.optional(self.access_token_ttl.map(|ttl| lifetime(&ttl)));
        let jwks = members.optional(self.jwks.map(|jwks| Jwks::parse(&jwks.to_string())));
        members.optional(kind.zip(grant_types.as_ref()).map(|(kind, grants)| check_grant_types(kind, grants)));
        members.optional(kind.map(|kind| check_has_jwks(kind, jwks.is_some())));
        let forwards_address = self.forwards_address.unwrap_or_default();
        members.optional(kind.map(|kind| check_forwards_address(kind, forwards_address)));
        let made = (|| {
            let (client_id, name, kind, grant_types, scopes) = (client_id?, name?, kind?, grant_types?, scopes?);
            Some(NewClient {
                client_id,
                name,
                kind,
                grant_types,
                scopes,
                audiences,
                access_token_ttl,
                jwks,
                forwards_address,
            })
        })();
        members.finish(made)
    }
}

fn audiences(texts: &[String]) -> Result<Vec<Audience>, FieldError> {
    Members::list(texts, str::parse)
}

fn lifetime(text: &str) -> Result<Duration, FieldError> {
    let ttl = duration("access_token_ttl", text)?;
    check_lifetime(ttl).map(|()| ttl)
}

fn grant_types(names: &[String]) -> Result<BTreeSet<GrantType>, FieldError> {
    Members::list(names, str::parse)
}

fn duration(field: &'static str, text: &str) -> Result<Duration, FieldError> {
    parse::duration(text).map_err(|_| FieldError::new(field, Code::Format, "must be a duration such as 15m or 30d"))
}

/// A client and its secret.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ClientWithSecret)]
pub(crate) struct Made {
    #[serde(flatten)]
    client: Client,
    /// The secret of a confidential client. Returned only here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "grs_…")]
    client_secret: Option<String>,
}

/// Create a client
///
/// The caller must have all scopes of the client. The response has the secret of a confidential client: it cannot be read again.
#[utoipa::path(
    post,
    path = "/admin/clients",
    operation_id = "create_client",
    tag = "clients",
    security(("oauth2" = ["clients:write"]), ("bearer" = [])),
    request_body(content = NewBody),
    responses(
        (status = 201, description = "The client", body = Made, headers(("Location" = String))),
        (status = 409, description = "`client_id` already in use"),
    ),
)]
pub(crate) async fn create(
    permit: Permit<ClientsWrite>,
    app: web::Data<App>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: NewBody = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let new = body.check(&known_scopes(&app).await?)?;
    let secret = match new.kind {
        ClientKind::Confidential => Some(secret::generate(CLIENT_SECRET).map_err(Error::from)?),
        ClientKind::Public => None,
    };
    let (by, now) = (&permit.authority, app.now());
    let client = app.write(async |tx| super::create(tx, &new, secret.as_ref(), by, now).await).await?;
    let location = format!("/admin/clients/{}", client.client_id);
    let client_secret = secret.map(|secret| secret.expose_secret().to_owned());
    Ok(no_store(StatusCode::CREATED).insert_header((LOCATION, location)).json(Made { client, client_secret }))
}

async fn known_scopes(app: &App) -> Result<Scopes, Error> {
    Ok(roles::all_scopes(&mut app.store.read().await?).await?)
}

/// Changes to a client. Absent members stay unchanged.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = ClientPatch, example = json!({"name": "Default client", "access_token_ttl": null}))]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchBody {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<GrantType>>)]
    grant_types: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Patch<Vec<String>>,
    /// Null or empty for the server's audience.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    audiences: Patch<Vec<String>>,
    /// Null for the server's setting.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    access_token_ttl: Patch<String>,
    /// Null to remove the keys.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    jwks: Patch<serde_json::Value>,
    /// Whether the client may report the address of its user in the header `Grantd-User-Address`.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    forwards_address: Patch<bool>,
    /// Disabling a client ends its sessions and revokes its tokens. Enabling it does not restore them.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    disabled: Patch<bool>,
}

impl PatchBody {
    /// `known`: all existing scopes.
    fn check(self, known: &Scopes) -> Result<ClientPatch, Error> {
        let mut members = Members::default();
        let patch = ClientPatch {
            name: members.unless_null("name", self.name.map(ClientName::try_from)),
            grant_types: members.unless_null("grant_types", self.grant_types.map(|names| grant_types(&names))),
            scopes: members.unless_null("scopes", self.scopes.map(|names| scopes_among(known, &names))),
            audiences: match members.patch(self.audiences.map(|list| audiences(&list))) {
                Patch::Keep => None,
                Patch::Clear => Some(Vec::new()),
                Patch::Set(audiences) => Some(audiences),
            },
            access_token_ttl: members.patch(self.access_token_ttl.map(|ttl| lifetime(&ttl))),
            jwks: members.patch(self.jwks.map(|jwks| Jwks::parse(&jwks.to_string()))),
            forwards_address: members.unless_null("forwards_address", self.forwards_address.map(Ok)),
            disabled: members.unless_null("disabled", self.disabled.map(Ok)),
        };
        members.finish(Some(patch))
    }
}

/// Update a client
///
/// JSON Merge Patch (RFC 7396). The caller must have the new scopes and, if the client is confidential, all of its scopes.
#[utoipa::path(
    patch,
    path = "/admin/clients/{id}",
    operation_id = "change_client",
    tag = "clients",
    security(("oauth2" = ["clients:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The `client_id`", example = "default")),
    request_body(content(
        (PatchBody = "application/merge-patch+json"),
        (PatchBody = "application/json"),
    )),
    responses(
        (status = 200, description = "The client", body = Client),
        (status = 404, description = "Client not found"),
    ),
)]
pub(crate) async fn change(
    permit: Permit<ClientsWrite>,
    app: web::Data<App>,
    id: web::Path<String>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: PatchBody = body::merge_patch(&req, body).await?;
    let permit = permit.again(&req).await?;
    let patch = body.check(&known_scopes(&app).await?)?;
    let (id, by, now) = (parse_id(&id)?, &permit.authority, app.now());
    let client = app.write(async |tx| super::patch(tx, &id, &patch, by, now).await).await?;
    Ok(no_store(StatusCode::OK).json(client))
}

/// Delete a client
///
/// Ends all sessions of the client and revokes its tokens.
#[utoipa::path(
    delete,
    path = "/admin/clients/{id}",
    operation_id = "delete_client",
    tag = "clients",
    security(("oauth2" = ["clients:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The `client_id`", example = "shop")),
    responses(
        (status = 204, description = "Client deleted"),
        (status = 404, description = "Client not found"),
        (status = 409, description = "The client `default` cannot be deleted"),
    ),
)]
pub(crate) async fn delete(
    permit: Permit<ClientsWrite>,
    app: web::Data<App>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (id, by, now) = (parse_id(&id)?, &permit.authority, app.now());
    app.write(async |tx| super::delete(tx, &id, by, now).await).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}

/// Options for rotating a client secret.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = RotateSecret, example = json!({"old_valid_for": "24h"}))]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretBody {
    /// How long the previous secret stays valid. If absent, it is revoked at once.
    old_valid_for: Option<String>,
}

/// A client secret.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ClientSecret)]
struct SecretAnswer {
    #[schema(example = "grs_…")]
    client_secret: String,
}

impl From<SecretString> for SecretAnswer {
    fn from(secret: SecretString) -> Self {
        Self { client_secret: secret.expose_secret().to_owned() }
    }
}

/// Rotate a client secret
///
/// The response has the new secret: it cannot be read again. The previous secret stays valid for `old_valid_for`.
#[utoipa::path(
    post,
    path = "/admin/clients/{id}/secret",
    operation_id = "rotate_client_secret",
    tag = "clients",
    security(("oauth2" = ["clients:write"]), ("bearer" = [])),
    params(("id" = String, Path, description = "The `client_id`", example = "shop")),
    request_body(content = SecretBody),
    responses(
        (status = 200, description = "The new secret", body = SecretAnswer),
        (status = 404, description = "Client not found"),
        (status = 409, description = "A public client has no secret"),
    ),
)]
pub(crate) async fn rotate_secret(
    permit: Permit<ClientsWrite>,
    app: web::Data<App>,
    id: web::Path<String>,
    req: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let SecretBody { old_valid_for } = body::json(&req, body).await?;
    let permit = permit.again(&req).await?;
    let old_valid_for = old_valid_for.map(|text| old_for(&text)).transpose();
    let old_valid_for = old_valid_for.map_err(Error::from)?.unwrap_or_default();
    let secret = secret::generate(CLIENT_SECRET).map_err(Error::from)?;
    let (id, by, now) = (parse_id(&id)?, &permit.authority, app.now());
    app.write(async |tx| super::set_secret(tx, &id, &secret, old_valid_for, by, now).await).await?;
    Ok(no_store(StatusCode::OK).json(SecretAnswer::from(secret)))
}

/// Parses `old_valid_for`, which may be `0s`.
fn old_for(text: &str) -> Result<Duration, FieldError> {
    let valid_for = if text == "0s" { Duration::ZERO } else { duration("old_valid_for", text)? };
    if valid_for <= MAX_OVERLAP {
        Ok(valid_for)
    } else {
        Err(FieldError::new("old_valid_for", Code::Length, "must be at most 1 year"))
    }
}
