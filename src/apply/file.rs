//! The format of set-up files: TOML, with the names of the JSON bodies of `/admin`.

use std::{collections::BTreeSet, ops::Range, path::PathBuf, str::FromStr, time::Duration};

use grantd_guard::{Scope, Scopes};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::{
    clients::{ClientKind, GrantType},
    config::parse,
    error::FieldError,
    names::{Audience, ClientId, ClientName, Description, DisplayName, Email, RoleName, Username},
    passwords::Personal,
    roles,
};

/// A set-up file. A missing section differs from an empty one: with `--prune`, an empty section deletes all objects of
/// its kind.
#[derive(Debug, Default, Serialize)]
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) forwards_address: bool,
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

impl UserEntry {
    /// Returns the names of the user, which the password must not be.
    pub(super) fn personal(&self) -> Personal<'_> {
        Personal { username: &self.username, email: self.email.as_ref(), display_name: self.display_name.as_ref() }
    }
}

impl SetupFile {
    /// Parses a file, and reports a problem of each malformed entry. A problem has line and place, but never the text, which
    /// may be a misplaced secret.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut problems = Problems { text, found: Vec::new() };
        let table = DeTable::parse(text).map_err(|error| {
            problems.add(error.span(), "", error.message());
            problems.sorted()
        })?;
        let mut file = Self::default();
        for (name, section) in table.into_inner() {
            match name.get_ref().as_ref() {
                "scopes" => file.scopes = Some(problems.entries("scopes", section)),
                "roles" => file.roles = Some(problems.entries("roles", section)),
                "clients" => file.clients = Some(problems.entries("clients", section)),
                "users" => file.users = Some(problems.entries("users", section)),
                other => {
                    let problem = "unknown section, expected one of scopes, roles, clients, users";
                    problems.add(Some(name.span()), other, problem);
                }
            }
        }
        if problems.found.is_empty() { Ok(file) } else { Err(problems.sorted()) }
    }

    /// Returns the file as TOML.
    pub(super) fn to_text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// The problems of a text, each with its line.
struct Problems<'t> {
    text: &'t str,
    found: Vec<(usize, String)>,
}

impl Problems<'_> {
    fn add(&mut self, span: Option<Range<usize>>, place: &str, problem: &str) {
        let before = span.and_then(|span| self.text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let place = if place.is_empty() { String::new() } else { format!(", {place}") };
        self.found.push((line, format!("line {line}{place}: {problem}")));
    }

    /// Returns the well-formed entries of a section.
    fn entries<T: DeserializeOwned>(&mut self, name: &str, section: Spanned<DeValue<'_>>) -> Vec<T> {
        let span = section.span();
        let DeValue::Array(entries) = section.into_inner() else {
            self.add(Some(span), name, &format!("must be a list of entries, each of which begins with [[{name}]]"));
            return Vec::new();
        };
        let mut parsed = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            match serde_path_to_error::deserialize(ValueDeserializer::from(entry)) {
                Ok(entry) => parsed.push(entry),
                Err(error) => {
                    let field = match error.path().to_string().as_str() {
                        "." => String::new(),
                        field => format!(".{field}"),
                    };
                    self.add(error.inner().span(), &format!("{name}[{index}]{field}"), error.inner().message());
                }
            }
        }
        parsed
    }

    fn sorted(&mut self) -> Vec<String> {
        self.found.sort();
        self.found.drain(..).map(|(_, problem)| problem).collect()
    }
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
