//! What a set-up file looks like: TOML, with the names that the bodies of `/admin` have.

use std::{collections::BTreeSet, path::PathBuf, str::FromStr, time::Duration};

use grantd_guard::{Scope, Scopes};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::error::ApplyError;
use crate::{
    clients::{ClientId, ClientKind, GrantType},
    config::parse,
    error::FieldError,
    roles::RoleName,
    users::{Email, Username},
};

/// All of it. A kind that has no section is another thing than one whose section is empty: nothing of it is removed.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetupFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scopes: Option<Vec<ScopeEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) roles: Option<Vec<RoleEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clients: Option<Vec<ClientEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) users: Option<Vec<UserEntry>>,
}

/// A scope.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScopeEntry {
    #[serde(deserialize_with = "parsed")]
    pub(super) name: Scope,
    /// Absent: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
}

/// A role.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleEntry {
    #[serde(deserialize_with = "parsed")]
    pub(super) name: RoleName,
    /// Absent: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(deserialize_with = "scopes", serialize_with = "crate::users::scope_names")]
    pub(super) scopes: Scopes,
}

/// A client.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientEntry {
    #[serde(deserialize_with = "parsed")]
    pub(super) client_id: ClientId,
    pub(super) name: String,
    #[serde(rename = "type", deserialize_with = "parsed")]
    pub(super) kind: ClientKind,
    #[serde(deserialize_with = "grant_types")]
    pub(super) grant_types: BTreeSet<GrantType>,
    #[serde(deserialize_with = "scopes", serialize_with = "crate::users::scope_names")]
    pub(super) scopes: Scopes,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) audiences: Vec<String>,
    #[serde(
        default,
        deserialize_with = "duration",
        serialize_with = "crate::clients::duration_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) access_token_ttl: Option<Duration>,
    /// Absent: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jwks_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jwks: Option<serde_json::Value>,
}

/// A user.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserEntry {
    #[serde(deserialize_with = "parsed")]
    pub(super) username: Username,
    #[serde(default, deserialize_with = "optional", skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<Email>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<String>,
    #[serde(default, deserialize_with = "role_names", skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<RoleName>,
    /// Absent: as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password_file: Option<PathBuf>,
}

impl SetupFile {
    /// Reads it. What is wrong is named by its line and its place, and never repeated: it may be a secret at a wrong place.
    pub(super) fn parse(text: &str) -> Result<Self, ApplyError> {
        let deserializer = toml::Deserializer::parse(text).map_err(|error| wrong(text, "", &error))?;
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let place = error.path().to_string();
            wrong(text, if place == "." { "" } else { &place }, error.inner())
        })
    }

    /// As it is written.
    pub(super) fn to_text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

fn wrong(text: &str, place: &str, error: &toml::de::Error) -> ApplyError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    ApplyError::Form { line, place: place.to_owned(), problem: error.message().to_owned() }
}

fn parse_one<T: FromStr<Err: Into<FieldError>>, E: serde::de::Error>(text: &str) -> Result<T, E> {
    text.parse().map_err(|error: T::Err| E::custom(error.into().message))
}

fn parsed<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Into<FieldError>>,
    D: Deserializer<'de>,
{
    parse_one(&String::deserialize(from)?)
}

fn optional<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Into<FieldError>>,
    D: Deserializer<'de>,
{
    parsed(from).map(Some)
}

fn scopes<'de, D: Deserializer<'de>>(from: D) -> Result<Scopes, D::Error> {
    Vec::<String>::deserialize(from)?.iter().map(|name| parse_one::<Scope, _>(name)).collect()
}

fn grant_types<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<GrantType>, D::Error> {
    Vec::<String>::deserialize(from)?.iter().map(|name| parse_one(name)).collect()
}

fn role_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<RoleName>, D::Error> {
    Vec::<String>::deserialize(from)?.iter().map(|name| parse_one(name)).collect()
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    parse::duration(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}
