//! The fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).

use crate::config::Quota;

/// Names of the two fields.
pub(crate) const POLICY: &str = "RateLimit-Policy";
pub(crate) const LIMIT: &str = "RateLimit";

/// Returns the value of `RateLimit-Policy`, such as `"login";q=10;w=3600`.
pub(crate) fn policy(name: &str, quota: Quota) -> String {
    format!("\"{name}\";q={};w={}", quota.count, quota.window.as_secs())
}

/// Returns the value of `RateLimit`, such as `"login";r=0;t=8`: what is left, and the seconds until there is more.
pub(crate) fn limit(name: &str, remaining: u32, seconds: u64) -> String {
    format!("\"{name}\";r={remaining};t={seconds}")
}
