//! The types of problems: one list, and a page for each at `GET /problems/{type}`, to which the `type` of a problem links
//! (RFC 9457 §3.1.1).

use std::fmt::Write as _;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::{
    cache::{Document, MAX_AGE},
    problem::Problem,
};

/// The documentation of a type of problem.
struct Entry {
    /// Its `type`.
    path: &'static str,
    title: &'static str,
    /// Usual status.
    status: StatusCode,
    meaning: &'static str,
    remedy: &'static str,
}

/// Defines the list, so that a type without a page does not compile.
macro_rules! kinds {
    ($($kind:ident($name:literal, $title:literal, $status:ident) { $meaning:literal, $remedy:literal })*) => {
        /// The type of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind {
            $($kind),*
        }

        impl Kind {
            pub(super) const ALL: &[Self] = &[$(Self::$kind),*];

            const fn entry(self) -> Entry {
                match self {
                    $(Self::$kind => Entry {
                        path: concat!("/problems/", $name),
                        title: $title,
                        status: StatusCode::$status,
                        meaning: $meaning,
                        remedy: $remedy,
                    }),*
                }
            }
        }
    };
}

kinds! {
    InvalidRequest("invalid-request", "Invalid request", BAD_REQUEST) {
        "The request is malformed: credentials were sent in several places, the Authorization header is \
            malformed, or another part of the request is not valid HTTP.",
        "Send one access token, as Authorization: Bearer TOKEN, and nowhere else. The member detail says what is \
            wrong. Do not retry the request unchanged."
    }
    MalformedBody("malformed-body", "Malformed body", BAD_REQUEST) {
        "The body is not a JSON object, or has an unknown or repeated member.",
        "Compare the body with the description of the route at /docs. The member detail names the member, or the \
            line and column where the JSON is not valid. Do not retry the request unchanged."
    }
    Unauthorized("unauthorized", "Authentication required", UNAUTHORIZED) {
        "The route requires authentication. The request has no access token, or it has the credentials of a \
            client that is unknown, public or disabled, or they are wrong.",
        "Get an access token from POST /token and send it as Authorization: Bearer TOKEN. The header \
            WWW-Authenticate lists the accepted schemes."
    }
    InvalidToken("invalid-token", "Invalid token", UNAUTHORIZED) {
        "The access token is not accepted: it is expired, revoked, malformed, signed by an unknown key, issued \
            for another audience, or its user is disabled or deleted. The member detail says why.",
        "Get a new access token with the refresh token, or log in again. An operator of the server can inspect a \
            token with: grantd token explain."
    }
    InsufficientScope("insufficient-scope", "Insufficient scope", FORBIDDEN) {
        "The access token is valid and lacks a scope that the route requires.",
        "The header WWW-Authenticate names the required scopes. Request them when you get the token. A user needs a \
            role with the scope; tokens have it from the next login or refresh on. A client needs the scope among \
            its own scopes."
    }
    Forbidden("forbidden", "Forbidden", FORBIDDEN) {
        "The access token is valid and has the required scope, and its owner still may not do this. For example, \
            some routes are for users and not for clients.",
        "The member detail says why. Use the account of a user or client that may do it."
    }
    NotFound("not-found", "Not found", NOT_FOUND) {
        "The path does not exist, or there is nothing with the name or id in it. Things that belong to another \
            user may also be reported as not found.",
        "Compare the path with the routes at /docs, and check that the name or id exists and was not deleted."
    }
    MethodNotAllowed("method-not-allowed", "Method not allowed", METHOD_NOT_ALLOWED) {
        "The path exists and does not support this method.",
        "Use one of the methods in the header Allow."
    }
    Timeout("timeout", "Timeout", REQUEST_TIMEOUT) {
        "The request did not arrive completely within the time limit.",
        "Retry the request, and send the body without pauses."
    }
    Conflict("conflict", "Conflict", CONFLICT) {
        "The request is valid and conflicts with the current state: a name or email address is already taken, or \
            the change would break a rule, such as removing the last administrator.",
        "The member detail describes the conflict. Choose another value, or remove the conflict first."
    }
    TooLarge("too-large", "Too large", PAYLOAD_TOO_LARGE) {
        "The body is larger than the limit: 64 KiB for JSON.",
        "Send a smaller body."
    }
    UnsupportedMediaType("unsupported-media-type", "Unsupported media type", UNSUPPORTED_MEDIA_TYPE) {
        "The route does not accept the Content-Type of the body.",
        "Send the Content-Type that the member detail names, usually application/json."
    }
    Validation("validation", "Validation failed", UNPROCESSABLE_ENTITY) {
        "Some members of the body or parameters of the query have invalid values. Nothing was changed.",
        "The member errors lists all invalid fields: `field` is the name, `code` (required, length, format, email or \
            unknown; for new passwords also personal, common or weak) is machine-readable, `message` human-readable. Correct all of them and retry."
    }
    TooManyRequests("too-many-requests", "Too many requests", TOO_MANY_REQUESTS) {
        "The header RateLimit names the quota that is used up, with r=0: requests, registration or login. With login, too \
            many wrong passwords or client secrets were sent, and the right password is refused as well.",
        "Wait for the number of seconds in the header Retry-After and retry. An administrator can clear the failed logins \
            of a user with `grantd user unlock NAME`."
    }
    HeadTooLarge("head-too-large", "Request head too large", REQUEST_HEADER_FIELDS_TOO_LARGE) {
        "The path, query and headers of the request are larger than 16 KiB together, or there are more than 96 headers.",
        "Send fewer or shorter headers. Often the cause is cookies, which this server does not use."
    }
    Internal("internal", "Internal error", INTERNAL_SERVER_ERROR) {
        "The server failed. The request is not at fault.",
        "Report the value of the member instance to an operator of the server. It is the request id, under which \
            the log has the cause."
    }
    Unavailable("unavailable", "Temporarily unavailable", SERVICE_UNAVAILABLE) {
        "The server cannot handle the request now: its database is unavailable, it is overloaded, or it is \
            shutting down.",
        "Wait for the number of seconds in the header Retry-After and retry. If it persists, the server's log has \
            the cause."
    }
}

impl Kind {
    /// Returns the kind with this `type`.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.path() == path)
    }

    /// Returns its `type`: a relative URI that stays the same in later versions.
    pub(super) const fn path(self) -> &'static str {
        self.entry().path
    }

    pub(super) const fn title(self) -> &'static str {
        self.entry().title
    }

    /// Returns the usual status.
    pub(super) const fn status(self) -> StatusCode {
        self.entry().status
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.path())
    }
}

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        let description = "Type of the problem: a URI relative to the server's, with a page that describes the problem \
            and its solution. `/problems` lists all types. Later versions may add types.";
        let paths = Self::ALL.iter().map(|kind| kind.path());
        ObjectBuilder::new().schema_type(Type::String).description(Some(description)).enum_values(Some(paths)).into()
    }
}

impl ToSchema for Kind {
    fn name() -> std::borrow::Cow<'static, str> {
        "ProblemType".into()
    }
}

/// `GET /problems`
pub(super) async fn list(req: HttpRequest) -> HttpResponse {
    let mut body =
        "<p>Errors of this server are problem details (RFC 9457), except those of /token, /introspect and /revoke, \
        which have the format of OAuth (RFC 6749). The member type of a problem links to its page.</p>\n<dl>\n"
            .to_owned();
    for kind in Kind::ALL {
        let Entry { path, title, status, meaning, .. } = kind.entry();
        // Relative, because a proxy may serve this server below a path.
        let (link, title, meaning) = (escape(path.trim_start_matches('/')), escape(title), escape(meaning));
        let _ = writeln!(body, "<dt><a href=\"{link}\">{title}</a> ({})</dt>\n<dd>{meaning}</dd>", status.as_u16());
    }
    body.push_str("</dl>\n");
    page("Problems", &body).answer(&req)
}

/// `GET /problems/{type}`
pub(super) async fn show(req: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let kind = Kind::of_path(&format!("/problems/{name}"));
    let kind = kind.ok_or_else(|| Problem::not_found("problem type not found; /problems lists all types"))?;
    let Entry { path, title, status, meaning, remedy } = kind.entry();
    let body = format!(
        "<p><code>{}</code>, status {}</p>\n<h2>What it means</h2>\n<p>{}</p>\n<h2>What to do</h2>\n<p>{}</p>\n\
         <p><a href=\"../problems\">All problems</a></p>\n",
        escape(path),
        status.as_u16(),
        escape(meaning),
        escape(remedy)
    );
    Ok(page(title, &body).answer(&req))
}

/// Returns a page without styles and scripts: the content security policy allows none.
fn page(title: &str, body: &str) -> Document {
    let title = escape(title);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · grantd</title>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    );
    Document::html(html, MAX_AGE)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
