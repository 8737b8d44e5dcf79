//! What errors outside OAuth may be: one list, and a page for each at `GET /problems/{type}`, to where the `type` of a
//! problem leads (RFC 9457 §3.1.1).

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

/// The description of a kind of problem.
struct Entry {
    /// Its `type`.
    path: &'static str,
    title: &'static str,
    /// The usual one.
    status: StatusCode,
    meaning: &'static str,
    remedy: &'static str,
}

/// Makes the list, so that a kind without a page does not compile.
macro_rules! kinds {
    ($($kind:ident($name:literal, $title:literal, $status:ident) { $meaning:literal, $remedy:literal })*) => {
        /// What a problem is.
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
        "The server cannot make sense of the request: credentials in two places at once, a malformed \
            Authorization header, or another part that is not as HTTP has it.",
        "Send one access token, as Authorization: Bearer and the token, and nowhere else. The member detail \
            says what was wrong. The same request would be refused again."
    }
    MalformedBody("malformed-body", "Malformed body", BAD_REQUEST) {
        "The body is not a JSON object, or has a member that is not known here, is repeated, is missing, or \
            is of the wrong type.",
        "Compare the body with the description of the route at /docs; the member detail says which it is. The \
            same body would be refused again."
    }
    Unauthorized("unauthorized", "Authentication required", UNAUTHORIZED) {
        "This is not for everybody, and the request has no credentials, or those of a client that is unknown \
            or could not prove itself.",
        "Get an access token at POST /token and send it as Authorization: Bearer and the token. The header \
            WWW-Authenticate names what else is accepted."
    }
    InvalidToken("invalid-token", "Invalid access token", UNAUTHORIZED) {
        "The access token is not accepted: it has expired, was revoked, is malformed, was signed by a key that \
            is gone, is for another service, or its user is disabled. The member detail says which.",
        "Get another one, with the refresh token where there is one, else by a new login. Whoever runs the \
            server can look into a token with: grantd token explain."
    }
    InsufficientScope("insufficient-scope", "Insufficient scope", FORBIDDEN) {
        "The access token is good, and lacks a scope that is needed here.",
        "The header WWW-Authenticate names what is needed. Ask for it when you get the token. A user who does not \
            have it needs a role with it, and has it in the tokens from the next login or refresh on; a client needs \
            it among its scopes."
    }
    Forbidden("forbidden", "Forbidden", FORBIDDEN) {
        "The access token has the scope for this, and whoever it was given to still may not do it. Some routes \
            are for users and not for clients, and nobody may give to others what they do not have themselves.",
        "The member detail says what stands against it. Ask somebody who may."
    }
    NotFound("not-found", "Not found", NOT_FOUND) {
        "There is nothing at this path, or nothing with the name or id that is in it. What belongs to somebody \
            else may be answered in the same way.",
        "Compare the path with the routes at /docs, and look whether what it names has been deleted."
    }
    MethodNotAllowed("method-not-allowed", "Method not allowed", METHOD_NOT_ALLOWED) {
        "There is something at this path, which does not take this method.",
        "The header Allow names the methods that it takes."
    }
    Timeout("timeout", "Timeout", REQUEST_TIMEOUT) {
        "The request was not there in whole after some seconds.",
        "Send it again, without pauses within the body."
    }
    Conflict("conflict", "Conflict", CONFLICT) {
        "The request is in order, and does not agree with what is there: another one has this name or address \
            already, or the change would break a rule, such as that the last administrator stays.",
        "The member detail says which it is. Choose another value, or change first what stands against it."
    }
    TooLarge("too-large", "Too large", PAYLOAD_TOO_LARGE) {
        "The body is larger than the server takes: 64 KiB for JSON.",
        "Send less at once."
    }
    UnsupportedMediaType("unsupported-media-type", "Unsupported media type", UNSUPPORTED_MEDIA_TYPE) {
        "By its header Content-Type the body is not in a form that this route takes.",
        "The member detail names the Content-Type to send, which is application/json nearly everywhere."
    }
    Validation("validation", "Validation failed", UNPROCESSABLE_ENTITY) {
        "The request could be read, and some of its members or query parameters have values that cannot be. \
            Nothing was changed.",
        "The member errors lists all of them at once: field is the name, code says to programs what is wrong \
            (required, length, format, email or unknown), and message to people. Correct them and send it again."
    }
    HeadTooLarge("head-too-large", "Request head too large", REQUEST_HEADER_FIELDS_TOO_LARGE) {
        "The path, the query and the headers of the request have more than 16 KiB together.",
        "Send fewer or shorter headers. Often it is cookies, which this server does not need."
    }
    Internal("internal", "Internal error", INTERNAL_SERVER_ERROR) {
        "Something went wrong inside the server. It is not the fault of the request.",
        "Tell whoever runs the server the value of the member instance. It is the id of the request, and the \
            log says under it what happened."
    }
    Unavailable("unavailable", "Temporarily unavailable", SERVICE_UNAVAILABLE) {
        "The server cannot answer now: its database is away, or more is asked at once than it can do.",
        "Wait for as many seconds as the header Retry-After says, and send the request again. Where it stays so, \
            whoever runs the server finds the reason in its log."
    }
}

impl Kind {
    /// That of a `type`.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.path() == path)
    }

    /// `type`: a URI relative to the server's, which stays the same.
    pub(super) const fn path(self) -> &'static str {
        self.entry().path
    }

    pub(super) const fn title(self) -> &'static str {
        self.entry().title
    }

    /// The usual one.
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
        let description = "What a problem is, for programs: a URI relative to the server's, at which a page says what it \
            means and what to do. `/problems` lists them. A later version may have more.";
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
        "<p>Errors of this server are problem details (RFC 9457), save those of /token, /introspect and /revoke, \
        which are OAuth's (RFC 6749). The member type of a problem leads to its page.</p>\n<dl>\n"
            .to_owned();
    for kind in Kind::ALL {
        let Entry { path, title, status, meaning, .. } = kind.entry();
        // Relative: a proxy may have put the server below a path.
        let (link, title, meaning) = (escape(path.trim_start_matches('/')), escape(title), escape(meaning));
        let _ = writeln!(body, "<dt><a href=\"{link}\">{title}</a> ({})</dt>\n<dd>{meaning}</dd>", status.as_u16());
    }
    body.push_str("</dl>\n");
    page("Problems", &body).answer(&req)
}

/// `GET /problems/{type}`
pub(super) async fn show(req: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let kind = Kind::of_path(&format!("/problems/{name}"));
    let kind = kind.ok_or_else(|| Problem::not_found("there is no such type of problem"))?;
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

/// A page without styles and scripts: the policy of all answers allows none.
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
