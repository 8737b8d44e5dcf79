//! The format of set-up files: TOML, with the names of the JSON bodies of `/admin`.

use std::{collections::BTreeSet, path::PathBuf, str::FromStr, time::Duration};

use grantd_guard::{Scope, Scopes};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::error::ApplyError;
use crate::{
    clients::{ClientKind, GrantType},
    config::parse,
    error::FieldError,
    names::{Audience, ClientId, ClientName, Description, DisplayName, Email, RoleName, Username},
    roles,
};

/// A set-up file. A missing section differs from an empty one: with `--prune`, an empty section deletes all objects of
/// its kind.
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
    #[serde(deserialize_with = "scope_name")]
    pub(super) name: Scope,
    /// Absent: not changed.
    #[serde(default, deserialize_with = "optional", skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<Description>,
}

/// A role.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleEntry {
    #[serde(deserialize_with = "parsed")]
    pub(super) name: RoleName,
    /// Absent: not changed.
    #[serde(default, deserialize_with = "optional", skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<Description>,
    #[serde(deserialize_with = "list::<_, Scope, _>", serialize_with = "crate::roles::scope_names")]
    pub(super) scopes: Scopes,
}

/// A client.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientEntry {
    #[serde(deserialize_with = "parsed")]
    pub(super) client_id: ClientId,
    #[serde(deserialize_with = "parsed")]
    pub(super) name: ClientName,
    #[serde(rename = "type", deserialize_with = "parsed")]
    pub(super) kind: ClientKind,
    #[serde(deserialize_with = "list::<_, _, _>")]
    pub(super) grant_types: BTreeSet<GrantType>,
    #[serde(deserialize_with = "list::<_, Scope, _>", serialize_with = "crate::roles::scope_names")]
    pub(super) scopes: Scopes,
    #[serde(default, deserialize_with = "list::<_, _, _>", skip_serializing_if = "Vec::is_empty")]
    pub(super) audiences: Vec<Audience>,
    #[serde(
        default,
        deserialize_with = "duration",
        serialize_with = "crate::clients::duration_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) access_token_ttl: Option<Duration>,
    /// Absent: not changed.
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
    #[serde(default, deserialize_with = "optional", skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<DisplayName>,
    #[serde(default, deserialize_with = "list::<_, _, _>", skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<RoleName>,
    /// Absent: not changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password_file: Option<PathBuf>,
}

impl SetupFile {
    /// Parses a file. An error has the line and place of the problem, but never the text, which may be a misplaced
    /// secret.
    pub(super) fn parse(text: &str) -> Result<Self, ApplyError> {
        let deserializer = toml::Deserializer::parse(text).map_err(|error| wrong(text, "", &error))?;
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let place = error.path().to_string();
            wrong(text, if place == "." { "" } else { &place }, error.inner())
        })
    }

    /// Returns the file as TOML.
    pub(super) fn to_text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// Returns the error for a position in the file, with its line.
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

fn list<'de, C, T, D>(from: D) -> Result<C, D::Error>
where
    C: FromIterator<T>,
    T: FromStr<Err: Into<FieldError>>,
    D: Deserializer<'de>,
{
    Vec::<String>::deserialize(from)?.iter().map(|text| parse_one(text)).collect()
}

fn scope_name<'de, D: Deserializer<'de>>(from: D) -> Result<Scope, D::Error> {
    roles::parse_scope_name(&String::deserialize(from)?).map_err(|error| D::Error::custom(error.message))
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    parse::duration(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}
