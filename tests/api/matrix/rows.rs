//! The routes, and what each requires.

/// The credentials that a route requires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Needs {
    /// No credentials; any are ignored.
    Nothing,
    /// A client, by its id or its secret, or none for `default`. A bearer token does not authenticate a client.
    Client,
    /// Any token.
    Token,
    /// A user's token with the scope `account`.
    Account,
    /// A token with this scope.
    Scope(&'static str),
}
use Needs::{Account, Client, Nothing, Scope, Token};

/// Method, path, required credentials, body, and status of a successful response. `{n}` is another number each time.
pub(super) type Row = (&'static str, &'static str, Needs, &'static str, u16);

const USER: &str = r#"{"username": "new-{n}", "email": "new-{n}@example.com", "password": "a password of theirs"}"#;
const CLIENT: &str = r#"{"client_id": "new-{n}", "name": "New", "type": "confidential", "grant_types": ["password"],
    "scopes": ["account"]}"#;
const KEY: &str = r#"{"name": "A script", "scopes": ["account"]}"#;
const LOGIN: &str = "grant_type=password&username=nobody-{n}&password=wrong";

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // OAuth. The refusal of a wrong password shows that the route itself responded.
    ("POST", "/token", Client, LOGIN, 400),
    ("POST", "/revoke", Client, "token=x", 200),
    ("POST", "/introspect", Scope("tokens:introspect"), "token=x", 200),
    ("GET", "/revocations", Scope("tokens:introspect"), "", 200),
    ("GET", "/verify", Token, "", 204),
    ("GET", "/.well-known/oauth-authorization-server", Nothing, "", 200),
    ("GET", "/.well-known/jwks.json", Nothing, "", 200),
    // Administration.
    ("GET", "/admin/users", Scope("users:read"), "", 200),
    ("POST", "/admin/users", Scope("users:write"), USER, 201),
    ("GET", "/admin/users/{id}", Scope("users:read"), "", 200),
    ("PATCH", "/admin/users/{id}", Scope("users:write"), r#"{"disabled": true}"#, 200),
    ("DELETE", "/admin/users/{id}", Scope("users:write"), "", 204),
    ("PUT", "/admin/users/{id}/password", Scope("users:write"), r#"{"password": "another password"}"#, 204),
    ("PUT", "/admin/users/{id}/roles", Scope("users:write"), r#"{"roles": []}"#, 200),
    ("DELETE", "/admin/users/{id}/sessions", Scope("users:write"), "", 204),
    ("POST", "/admin/users/{id}/unlock", Scope("users:write"), "", 204),
    ("GET", "/admin/users/{id}/api-keys", Scope("users:read"), "", 200),
    ("POST", "/admin/users/{id}/api-keys", Scope("users:write"), KEY, 201),
    ("DELETE", "/admin/users/{id}/api-keys/{key_id}", Scope("users:write"), "", 204),
    ("GET", "/admin/roles", Scope("roles:read"), "", 200),
    ("GET", "/admin/roles/{name}", Scope("roles:read"), "", 200),
    ("PUT", "/admin/roles/{name}", Scope("roles:write"), r#"{"scopes": ["account"]}"#, 200),
    ("DELETE", "/admin/roles/{name}", Scope("roles:write"), "", 204),
    ("GET", "/admin/scopes", Scope("roles:read"), "", 200),
    ("GET", "/admin/scopes/{name}", Scope("roles:read"), "", 200),
    ("PUT", "/admin/scopes/{name}", Scope("roles:write"), r#"{"description": "Another"}"#, 200),
    ("DELETE", "/admin/scopes/{name}", Scope("roles:write"), "", 204),
    ("GET", "/admin/clients", Scope("clients:read"), "", 200),
    ("POST", "/admin/clients", Scope("clients:write"), CLIENT, 201),
    ("GET", "/admin/clients/{id}", Scope("clients:read"), "", 200),
    ("PATCH", "/admin/clients/{id}", Scope("clients:write"), r#"{"disabled": true}"#, 200),
    ("DELETE", "/admin/clients/{id}", Scope("clients:write"), "", 204),
    ("POST", "/admin/clients/{id}/secret", Scope("clients:write"), "{}", 200),
    ("GET", "/admin/signing-keys", Scope("keys:read"), "", 200),
    ("POST", "/admin/signing-keys", Scope("keys:write"), "{}", 201),
    ("DELETE", "/admin/signing-keys/{kid}", Scope("keys:write"), "", 204),
    ("GET", "/admin/audit-events", Scope("audit:read"), "", 200),
    ("GET", "/metrics", Scope("audit:read"), "", 200),
    // The current user.
    ("POST", "/users", Nothing, USER, 201),
    ("GET", "/users/me", Account, "", 200),
    ("PATCH", "/users/me", Account, r#"{"display_name": "Another {n}"}"#, 200),
    ("PUT", "/users/me/password", Account,
        r#"{"current_password": "a password of maria's", "new_password": "another password"}"#, 204),
    ("GET", "/users/me/export", Account, "", 200),
    ("GET", "/users/me/sessions", Account, "", 200),
    ("DELETE", "/users/me/sessions/{id}", Account, "", 204),
    ("GET", "/users/me/api-keys", Account, "", 200),
    ("POST", "/users/me/api-keys", Account, KEY, 201),
    ("DELETE", "/users/me/api-keys/{id}", Account, "", 204),
    // Health checks.
    ("GET", "/healthz", Nothing, "", 200),
    ("GET", "/readyz", Nothing, "", 200),
];
