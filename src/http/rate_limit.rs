//! Rate limits: counting requests, and the fields `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-11).

use actix_web::{
    HttpMessage as _, HttpRequest,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    web,
};

use super::problem::Problem;
use crate::{
    app::App,
    client_address::client_address,
    config::Quota,
    limits::{Allowance, Limits},
    throttle::Budget,
};

/// Names of the two fields.
pub(crate) const POLICY: &str = "RateLimit-Policy";
pub(crate) const LIMIT: &str = "RateLimit";
const POLICY_HEADER: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT_HEADER: HeaderName = HeaderName::from_static("ratelimit");

/// Names of the policies.
const REQUESTS: &str = "requests";
const REGISTRATION: &str = "registration";

/// The reason of a refused request, for the log.
pub(super) const REQUESTS_USED_UP: &str = "the budget requests is used up";

/// Routes without a limit: their callers must learn how the server is when it is flooded, too.
const UNLIMITED: [&str; 2] = ["/healthz", "/readyz"];

/// Returns the value of `RateLimit-Policy`, such as `"login";q=10;w=3600`.
pub(crate) fn policy(name: &str, quota: Quota) -> String {
    format!("\"{name}\";q={};w={}", quota.count, quota.window.as_secs())
}

/// Returns the value of `RateLimit`, such as `"login";r=0;t=8`: what is left, and the seconds until there is more.
pub(crate) fn limit(name: &str, remaining: u32, seconds: u64) -> String {
    // Each response has it, and this is a fraction of the work of `format!`.
    let (mut r, mut t) = (itoa::Buffer::new(), itoa::Buffer::new());
    ["\"", name, "\";r=", r.format(remaining), ";t=", t.format(seconds)].concat()
}

/// Returns the reason of a refused attempt to log in, for the log.
pub(crate) fn reason(budget: Budget) -> &'static str {
    match budget {
        Budget::Account => "the budget account is used up",
        Budget::Pair => "the budget pair is used up",
        Budget::Device => "the budget device is used up",
        Budget::Network => "the budget network is used up",
    }
}

/// The value of `RateLimit-Policy` of all responses, made once.
pub(super) struct Policy(Option<HeaderValue>);

impl Policy {
    pub(super) fn of(limits: &Limits) -> Self {
        Self(limits.requests().and_then(|quota| HeaderValue::try_from(policy(REQUESTS, quota)).ok()))
    }
}

/// A request that is over the limit, in its extensions. `refuse.rs` refuses it.
#[derive(Clone, Copy)]
pub(super) struct TooMany {
    pub(super) retry_after: u64,
}

/// Counts a request. Returns what its network has left; `None`: it is not limited.
pub(super) fn count(req: &ServiceRequest) -> Option<Allowance> {
    if UNLIMITED.contains(&req.path()) {
        return None;
    }
    let app = req.app_data::<web::Data<App>>()?;
    let address = client_address(req.request(), &app.config.proxies)?;
    let allowance = app.limits.count_request(address, app.now())?;
    if !allowance.admitted {
        req.extensions_mut().insert(TooMany { retry_after: allowance.seconds });
    }
    Some(allowance)
}

/// Adds the fields of the limit of requests, as further lines where the response has those of another limit.
pub(super) fn add_fields<B>(response: &mut ServiceResponse<B>, allowance: Allowance) {
    let policy = response.request().app_data::<Policy>().and_then(|policy| policy.0.clone());
    let limit = HeaderValue::try_from(limit(REQUESTS, allowance.remaining, allowance.seconds));
    if let (Some(policy), Ok(limit)) = (policy, limit) {
        response.headers_mut().append(POLICY_HEADER, policy);
        response.headers_mut().append(LIMIT_HEADER, limit);
    }
}

/// Counts a registration, and returns the error if its network has made too many.
pub(crate) fn count_registration(req: &HttpRequest, app: &App) -> Result<(), Problem> {
    let Some(address) = client_address(req, &app.config.proxies) else { return Ok(()) };
    let Allowance { admitted, remaining, seconds } = app.limits.count_registration(address, app.now());
    if admitted {
        return Ok(());
    }
    let problem = Problem::too_many_requests(seconds, "too many registrations from this network; retry later");
    Err(problem
        .logged("the budget registration is used up")
        .with_header(POLICY, policy(REGISTRATION, app.limits.registrations()))
        .with_header(LIMIT, limit(REGISTRATION, remaining, seconds)))
}
