//! Authorization: the status of each route for each kind of caller.
//!
//! A route without a row fails the test, and so does a row without a route.

mod rows;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
};

use serde_json::{Value, json};

use self::rows::{
    Needs::{self, Account, Client, Nothing, Scope, Token},
    ROWS, Row,
};
use crate::{
    harness::{ADMIN_PASSWORD, Answer, Database, NewClient, PASSWORD, Request, TestServer, on_both_engines},
    token::claims,
};

on_both_engines!(each_caller_gets_the_expected_status, authorization_is_checked_before_the_body_is_read);

const SCOPES: [&str; 11] = [
    "account",
    "audit:read",
    "clients:read",
    "clients:write",
    "keys:read",
    "keys:write",
    "roles:read",
    "roles:write",
    "tokens:introspect",
    "users:read",
    "users:write",
];

/// A kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Anonymous,
    Member,
    /// A token of an administrator, narrowed to this scope.
    Narrowed(&'static str),
    Administrator,
    /// An administrator who was disabled after the login.
    Disabled,
    /// A client with a token of its own that has the required scope.
    MachineWith(&'static str),
    /// A client with a token of its own that has all scopes but the required one.
    MachineWithout(&'static str),
    /// An API key of an administrator, with this scope.
    Key(&'static str),
    /// The name and password of a user.
    BasicMember,
    BasicAdministrator,
}

/// What an API key cannot do, whatever its scopes.
const NOT_BY_KEY: [(&str, &str); 7] = [
    ("POST", "/admin/users"),
    ("POST", "/admin/users/{id}/api-keys"),
    ("DELETE", "/admin/users/{id}/api-keys/{key_id}"),
    ("PUT", "/admin/users/{id}/password"),
    ("POST", "/users/me/api-keys"),
    ("DELETE", "/users/me/api-keys/{id}"),
    ("PUT", "/users/me/password"),
];

/// Where Basic has the id and secret of a client.
const BASIC_OF_CLIENTS: [&str; 4] = ["/token", "/revoke", "/introspect", "/revocations"];

/// Returns the expected status.
fn expected(caller: Caller, (method, path, needs, _, good): Row) -> u16 {
    let status = |may: bool, refused: u16| if may { good } else { refused };
    let is_basic = matches!(caller, Caller::BasicMember | Caller::BasicAdministrator);
    if is_basic && BASIC_OF_CLIENTS.contains(&path) {
        return 401;
    }
    if matches!(caller, Caller::Key(_)) && NOT_BY_KEY.contains(&(method, path)) {
        return 403;
    }
    match (needs, caller) {
        // The header of keys means nothing there.
        (Client, Caller::Key(_)) => good,
        (Client, _) => status(caller == Caller::Anonymous, 401),
        (Token | Account | Scope(_), Caller::Anonymous | Caller::Disabled) => 401,
        (Nothing | Token, _) | (_, Caller::Administrator | Caller::BasicAdministrator) => good,
        // A client has no account, whatever its scope.
        (Account, _) => status(
            matches!(
                caller,
                Caller::Member | Caller::BasicMember | Caller::Narrowed("account") | Caller::Key("account")
            ),
            403,
        ),
        (Scope(scope), Caller::Narrowed(own) | Caller::Key(own)) => status(own == scope, 403),
        (Scope(_), _) => status(matches!(caller, Caller::MachineWith(_)), 403),
    }
}

fn callers(needs: Needs) -> Vec<Caller> {
    let scope = match needs {
        Scope(scope) => scope,
        Nothing | Client | Token | Account => "account",
    };
    let some = [
        Caller::Anonymous,
        Caller::Member,
        Caller::Administrator,
        Caller::Disabled,
        Caller::MachineWith(scope),
        Caller::MachineWithout(scope),
        Caller::BasicMember,
        Caller::BasicAdministrator,
    ];
    some.into_iter().chain(SCOPES.map(Caller::Narrowed)).chain(SCOPES.map(Caller::Key)).collect()
}

/// A server, and the credentials that create callers and objects on it.
struct Cells {
    server: TestServer,
    admin: String,
    /// The secret of the client `machine`, which has every scope.
    secret: String,
    number: Cell<u32>,
}

impl Cells {
    async fn start(database: Database) -> Self {
        let server = TestServer::with(database, &["--registration", "--trusted-proxies", "127.0.0.1"]).await;
        let scopes = "account audit:read clients:read clients:write keys:read keys:write roles:read roles:write \
                      tokens:introspect users:read users:write";
        let machine = NewClient { id: "machine", grants: &["client_credentials"], scopes, ..NewClient::default() };
        let secret = server.create_client(machine).await;
        let admin = server.login("admin", ADMIN_PASSWORD).await;
        Self { server, admin, secret, number: Cell::new(0) }
    }

    fn next(&self) -> u32 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// Creates an object as the administrator.
    async fn create(&self, method: &str, path: &str, body: Value) -> Value {
        self.server.request(method, path).bearer(&self.admin).json(&body).send().await.json_with(201)
    }

    /// Returns the username of a new caller, and its token, API key or username for Basic. The username is empty unless the caller
    /// can log in again.
    async fn token(&self, caller: Caller) -> Option<(String, String)> {
        let role = match caller {
            Caller::Anonymous => return None,
            Caller::MachineWith(scope) => return Some((String::new(), self.machine(scope).await)),
            Caller::MachineWithout(scope) => {
                let others: Vec<_> = SCOPES.into_iter().filter(|other| *other != scope).collect();
                return Some((String::new(), self.machine(&others.join(" ")).await));
            }
            Caller::Member | Caller::BasicMember => "member",
            Caller::Narrowed(_)
            | Caller::Administrator
            | Caller::Disabled
            | Caller::Key(_)
            | Caller::BasicAdministrator => "admin",
        };
        let name = format!("caller-{}", self.next());
        let user = self.server.create_user(&name, &[role]).await;
        let token = match caller {
            Caller::Narrowed(scope) => self.server.login_for(&name, PASSWORD, scope).await,
            Caller::Key(scope) => self.key(&name, scope).await["key"].as_str().unwrap().to_owned(),
            Caller::BasicMember | Caller::BasicAdministrator => name.clone(),
            _ => self.server.login(&name, PASSWORD).await,
        };
        if caller == Caller::Disabled {
            self.server.set_disabled(&user, true).await;
            // A disabled user cannot log in again.
            return Some((String::new(), token));
        }
        Some((name, token))
    }

    /// An API key of a user.
    async fn key(&self, owner: &str, scope: &str) -> Value {
        let request = self.server.request("POST", "/users/me/api-keys").basic_user(owner, PASSWORD);
        request.json(&json!({"name": "A script", "scopes": [scope]})).send().await.json_with(201)
    }

    async fn machine(&self, scope: &str) -> String {
        self.server.machine("machine", &self.secret, scope).await
    }

    /// Fills in the parameter of a path, with a new object. `caller`: the user of a new session.
    async fn fresh(&self, path: &str, caller: &str) -> String {
        let name = format!("fresh-{}", self.next());
        if path == "/admin/users/{id}/api-keys/{key_id}" {
            let (owner, key) = (self.server.create_user(&name, &[]).await, self.key(&name, "account").await);
            return format!("/admin/users/{}/api-keys/{}", owner.id, key["id"].as_str().unwrap());
        }
        let (begin, end) = (path.find('{').unwrap_or(path.len()), path.find('}').map_or(path.len(), |at| at + 1));
        let collection = &path[..begin];
        let id = match collection {
            "/admin/users/" => self.server.create_user(&name, &[]).await.id.to_string(),
            "/admin/roles/" | "/admin/scopes/" => {
                let body = if collection == "/admin/roles/" { json!({"scopes": []}) } else { json!({}) };
                self.create("PUT", &format!("{collection}{name}"), body).await;
                name
            }
            "/admin/clients/" => {
                let body = json!({
                    "client_id": name, "name": "Fresh", "type": "confidential", "grant_types": ["password"],
                    "scopes": ["account"],
                });
                self.create("POST", "/admin/clients", body).await;
                name
            }
            "/admin/signing-keys/" => {
                self.create("POST", "/admin/signing-keys", json!({})).await["kid"].as_str().unwrap().to_owned()
            }
            "/users/me/api-keys/" if !caller.is_empty() => {
                self.key(caller, "account").await["id"].as_str().unwrap().to_owned()
            }
            "/users/me/sessions/" | "/users/me/api-keys/" if caller.is_empty() => {
                self.server.create_user(&name, &[]).await.id.to_string()
            }
            "/users/me/sessions/" => {
                claims(&self.server.login(caller, PASSWORD).await)["sid"].as_str().unwrap().to_owned()
            }
            whole if whole == path => String::new(),
            other => panic!("add the creation of an object in {other}"),
        };
        format!("{collection}{id}{}", &path[end..])
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Request {
        let (request, number) = (self.server.request(method, path), self.next());
        // Registrations of a network are limited.
        let request = if path == "/users" {
            request.header("X-Forwarded-For", format!("203.0.{}.{}", number >> 8, number & 255))
        } else {
            request
        };
        let body = body.replace("{n}", &number.to_string());
        match body.chars().next() {
            None => request,
            Some('{') => request.body("application/json", body),
            Some(_) => request.body("application/x-www-form-urlencoded", body),
        }
    }
}

/// Checks that the challenge of a refusal has the reason.
#[track_caller]
fn refusal_is_well_formed(answer: &Answer, caller: Caller, needs: Needs, cell: &str) {
    let challenges = answer.headers_named("www-authenticate");
    let first = challenges.first().copied().unwrap_or_default();
    match (answer.status, caller, needs) {
        // An OAuth endpoint, which asks for client credentials first.
        (401, Caller::Anonymous, _) if cell.starts_with("POST /introspect") => {
            assert_eq!(first, "Basic realm=\"grantd\"", "{cell}");
        }
        // A client that does not exist.
        (401, Caller::BasicMember | Caller::BasicAdministrator, _) => {
            assert!(challenges.contains(&"Basic realm=\"grantd\""), "{cell}: {challenges:?}");
        }
        // Forbidden for all keys.
        (403, Caller::Key(_), _) if challenges.is_empty() => {
            assert!(NOT_BY_KEY.iter().any(|(method, path)| cell.starts_with(&format!("{method} {path} "))), "{cell}");
        }
        (401, Caller::Anonymous, _) => assert_eq!(first, "Bearer realm=\"grantd\"", "{cell}"),
        (401, _, Client) => assert_eq!(challenges, ["Basic realm=\"grantd\""], "{cell}"),
        (401, ..) => assert!(first.starts_with("Bearer realm=\"grantd\", error=\"invalid_token\""), "{cell}: {first}"),
        // The token has the scope, but it is not a user's.
        (403, Caller::MachineWith(_), Account) => {}
        (403, _, Scope(scope)) => {
            assert!(first.contains(&format!("error=\"insufficient_scope\", scope=\"{scope}\"")), "{cell}: {first}");
        }
        (403, ..) => assert!(first.contains("scope=\"account\""), "{cell}: {first}"),
        _ => assert!(challenges.is_empty(), "{cell}: {challenges:?}"),
    }
}

async fn each_caller_gets_the_expected_status(database: Database) {
    let cells = Cells::start(database).await;
    let document = cells.server.get("/openapi.json").send().await.json_with(200);
    let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    let rows = ROWS.iter().map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned()));
    assert_eq!(described.collect::<BTreeSet<_>>(), rows.collect(), "each route has a row");

    let mut shared = BTreeMap::<Caller, Option<(String, String)>>::new();
    let mut wrong = Vec::new();
    for (method, path, needs, body, good) in ROWS {
        let changes_the_caller = path.starts_with("/users/me") && *method != "GET";
        for caller in callers(*needs) {
            let token = if changes_the_caller {
                cells.token(caller).await
            } else {
                match shared.entry(caller) {
                    Entry::Occupied(known) => known.get().clone(),
                    Entry::Vacant(unknown) => unknown.insert(cells.token(caller).await).clone(),
                }
            };
            let (name, token) = token.unwrap_or_default();
            let request = cells.request(method, &cells.fresh(path, &name).await, body);
            let request = match caller {
                Caller::Key(_) => request.api_key(&token),
                Caller::BasicMember | Caller::BasicAdministrator => request.basic_user(&token, PASSWORD),
                _ if token.is_empty() => request,
                _ => request.bearer(&token),
            };
            let (answer, cell) = (request.send().await, format!("{method} {path} by {caller:?}"));
            let must_be = expected(caller, (method, path, *needs, body, *good));
            if answer.status == must_be {
                refusal_is_well_formed(&answer, caller, *needs, &cell);
            } else {
                wrong.push(format!("{cell}: {} instead of {must_be}: {}", answer.status, answer.text()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An unauthorized caller gets the same refusal for any body.
async fn authorization_is_checked_before_the_body_is_read(database: Database) {
    let cells = Cells::start(database).await;
    let million = "x".repeat(1_000_000);
    let bodies = [("application/json", "{broken"), ("text/plain", "{}"), ("application/json", &million)];
    let auditor = cells.server.login_for("admin", ADMIN_PASSWORD, "audit:read").await;
    let reader = cells.server.login_for("admin", ADMIN_PASSWORD, "keys:read").await;
    let before = cells.server.database().row_counts().await;
    for (method, path, needs, ..) in ROWS.iter().filter(|(_, _, needs, ..)| !matches!(needs, Nothing | Client | Token))
    {
        // A refusal does not reveal whether the object exists.
        let path =
            path.replace("{id}", "none").replace("{key_id}", "none").replace("{name}", "none").replace("{kid}", "none");
        if *path == *"/introspect" {
            // The form may have client credentials, so it is read first.
            continue;
        }
        let lacks = if *needs == Scope("audit:read") { &reader } else { &auditor };
        for (content_type, body) in bodies {
            let ask = || cells.server.request(method, &path).body(content_type, body);
            let cell = format!("{method} {path} ({needs:?}) with {} bytes of {content_type}", body.len());
            let (anonymous, without) = (ask().send().await, ask().bearer(lacks).send().await);
            assert_eq!((anonymous.status, without.status), (401, 403), "{cell}: {}", anonymous.text());
            anonymous.problem(401, "unauthorized");
            without.problem(403, "insufficient-scope");
        }
    }
    assert_eq!(cells.server.database().row_counts().await, before);
}
