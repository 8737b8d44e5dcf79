//! Limits, lifetimes, rules for passwords, and the log.

use std::time::Duration;

use ipnet::IpNet;

use super::{
    Check::{ApiKeyQuery, Lifetimes, Log, LoginThrottle, PasswordRules, RateLimit},
    Finding, Installation,
    network::is_loopback,
};
use crate::{
    config::{
        CredentialConfig, LogConfig, LogFormat, PasswordConfig, Quota, SigningKeyConfig, ThrottleConfig, TokenConfig,
    },
    passwords,
};

const DAY: Duration = Duration::from_hours(24);
/// The longest lifetimes that are no finding.
const ACCESS_TOKEN: Duration = Duration::from_hours(1);
const REFRESH_TOKEN: Duration = Duration::from_hours(180 * 24);
const SESSION: Duration = Duration::from_hours(366 * 24);
const LEEWAY: Duration = Duration::from_mins(5);
const SIGNING_KEY: Duration = Duration::from_hours(366 * 24);
/// NIST SP 800-63B-4 §3.2.2: no more than 100 consecutive failures.
const FAILURES: u32 = 100;

pub(super) fn check(installation: &Installation) -> Vec<Finding> {
    let settings = &installation.settings;
    let mut findings = Vec::new();
    findings.extend(settings.credentials.map(api_key_query));
    if let Some(throttle) = &settings.throttle {
        findings.push(rate_limit(throttle));
        findings.extend(login_throttle(throttle));
    }
    if let (Some(tokens), Some(keys)) = (&settings.tokens, &settings.signing_keys) {
        findings.extend(lifetimes(tokens, keys));
    }
    findings.extend(settings.passwords.iter().flat_map(password_rules));
    let host = installation.issuer().and_then(|issuer| reqwest::Url::parse(&issuer).ok());
    let is_public = host.is_some_and(|url| !is_loopback(url.host_str().unwrap_or_default()));
    findings.extend(settings.log.as_ref().map(|config| log(config, is_public)));
    findings
}

fn api_key_query(config: CredentialConfig) -> Finding {
    if !config.api_key_query {
        return Finding::ok(ApiKeyQuery, "GRANTD_API_KEY_QUERY", "API keys are accepted in headers only");
    }
    let message =
        "API keys are accepted in the query, which ends up in the logs of proxies and in the history of browsers";
    Finding::warning(
        ApiKeyQuery,
        "GRANTD_API_KEY_QUERY",
        message,
        "Set it to false, and send keys in the header X-API-Key",
    )
}

fn rate_limit(config: &ThrottleConfig) -> Finding {
    let Some(limit) = config.rate_limit else {
        let message = "requests are not limited: one caller can take all of the server";
        return Finding::warning(
            RateLimit,
            "GRANTD_RATE_LIMIT",
            message,
            "Remove the setting, or set a limit such as 500/1s",
        );
    };
    let is_wide = |network: &&IpNet| network.prefix_len() == 0;
    if let Some(network) = config.rate_limit_exempt.iter().find(is_wide) {
        let message = format!("{network} is every address, so that nobody is limited");
        let remedy = "Name the networks that need no limit only";
        return Finding::warning(RateLimit, "GRANTD_RATE_LIMIT_EXEMPT", message, remedy);
    }
    Finding::ok(RateLimit, "GRANTD_RATE_LIMIT", format!("{limit} for a network"))
}

fn login_throttle(config: &ThrottleConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    match config.login_failures {
        None => {
            let message = "failed logins of an account are not limited: its password can be guessed";
            let remedy = "Remove the setting, or set a limit such as 10/1h";
            findings.push(Finding::failure(LoginThrottle, "GRANTD_LOGIN_FAILURES", message, remedy));
        }
        Some(Quota { count, .. }) if count > FAILURES => {
            let message = format!("{count} failed logins of an account are free; NIST SP 800-63B allows 100");
            let remedy = "Set a limit such as 10/1h";
            findings.push(Finding::warning(LoginThrottle, "GRANTD_LOGIN_FAILURES", message, remedy));
        }
        Some(_) => {}
    }
    if config.network_failures.is_none() {
        let message = "failed logins of a network are not limited: it can try a common password on every account";
        let remedy = "Remove the setting, or set a limit such as 100/10m";
        findings.push(Finding::warning(LoginThrottle, "GRANTD_NETWORK_FAILURES", message, remedy));
    }
    if let (Some(account), Some(network), true) = (config.login_failures, config.network_failures, findings.is_empty())
    {
        let message = format!("{account} for an account, {network} for a network");
        findings.push(Finding::ok(LoginThrottle, "failed logins", message));
    }
    findings
}

fn lifetimes(tokens: &TokenConfig, keys: &SigningKeyConfig) -> Vec<Finding> {
    let long = [
        (
            "GRANTD_ACCESS_TOKEN_TTL",
            tokens.access_token_ttl,
            ACCESS_TOKEN,
            "a stolen access token stays valid for services \
          that do not follow the feed of revocations",
        ),
        ("GRANTD_REFRESH_TOKEN_TTL", tokens.refresh_token_ttl, REFRESH_TOKEN, "a stolen device stays logged in"),
        ("GRANTD_SESSION_TTL", tokens.session_ttl, SESSION, "users are never asked for their password again"),
        (
            "GRANTD_REFRESH_LEEWAY",
            tokens.refresh_leeway,
            LEEWAY,
            "a thief may use a retired refresh token for as long, \
          and is not noticed",
        ),
        ("GRANTD_SIGNING_KEY_TTL", keys.ttl, SIGNING_KEY, "a leaked signing key is of use until it is rotated"),
    ];
    let long = long.into_iter().filter(|(_, found, most, _)| found > most).map(|(setting, found, most, why)| {
        let [found, most] = [found, most].map(humantime::format_duration);
        Finding::warning(Lifetimes, setting, format!("{found}: {why}"), format!("Set at most {most}"))
    });
    let findings: Vec<_> = long.collect();
    if !findings.is_empty() {
        return findings;
    }
    let access = humantime::format_duration(tokens.access_token_ttl);
    let (refresh, session) = (tokens.refresh_token_ttl, tokens.session_ttl);
    let days = |duration: Duration| duration.as_secs() / DAY.as_secs();
    let message =
        format!("access tokens {access}, refresh tokens {} days, sessions {} days", days(refresh), days(session));
    vec![Finding::ok(Lifetimes, "tokens and keys", message)]
}

fn password_rules(config: &PasswordConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.min_length < 8 {
        let message = format!(
            "{} characters suffice for a new password; NIST SP 800-63B-4 requires 8, and 15 where it is the only factor",
            config.min_length
        );
        findings.push(Finding::warning(PasswordRules, "GRANTD_PASSWORD_MIN_LENGTH", message, "Set at least 8"));
    }
    if config.min_strength == 0 {
        let message = "passwords that are easy to guess are accepted, except the most common ones";
        findings.push(Finding::warning(
            PasswordRules,
            "GRANTD_PASSWORD_MIN_STRENGTH",
            message,
            "Set at least 1; the default is 2",
        ));
    }
    if let Some(file) = &config.blocklist
        && let Err(error) = passwords::check_blocklist(file)
    {
        let message = format!("{} cannot be used: {error}. The server does not start", file.display());
        findings.push(Finding::failure(
            PasswordRules,
            "GRANTD_PASSWORD_BLOCKLIST",
            message,
            "Correct the path, the mode or the file (docs/administration.md)",
        ));
    }
    if findings.is_empty() {
        let message = format!("{} characters, strength {} of 4", config.min_length, config.min_strength);
        let ok = Finding::ok(PasswordRules, "new passwords", message);
        findings.push(ok.with_advice(advice(config)));
    }
    findings
}

/// Returns what would be better than the default.
fn advice(config: &PasswordConfig) -> String {
    let length = "NIST SP 800-63B-4 asks for GRANTD_PASSWORD_MIN_LENGTH=15 where the password is the only factor";
    let blocklist = "GRANTD_PASSWORD_BLOCKLIST can refuse all passwords of Have I Been Pwned";
    let better = [(config.min_length < 15, length), (config.blocklist.is_none(), blocklist)];
    better.iter().filter(|(applies, _)| *applies).map(|(_, text)| *text).collect::<Vec<_>>().join("; ")
}

fn log(config: &LogConfig, is_public: bool) -> Finding {
    let is_verbose = |level: &str| level.eq_ignore_ascii_case("debug") || level.eq_ignore_ascii_case("trace");
    if config.filter.split(',').any(|part| is_verbose(part.trim())) {
        let message = format!(
            "{}: each statement of the database may be logged, which fills disks and slows requests",
            config.filter
        );
        return Finding::warning(Log, "GRANTD_LOG", message, "Set info, or a level for single targets");
    }
    if config.format == Some(LogFormat::Pretty) && is_public {
        let message = "pretty: for people; programs that collect logs cannot read fields from it";
        return Finding::warning(
            Log,
            "GRANTD_LOG_FORMAT",
            message,
            "Remove the setting: without a terminal, the log is JSON",
        );
    }
    let format = config.format.map_or("json, or pretty on a terminal", LogFormat::as_str);
    Finding::ok(Log, "standard error", format!("{}, {format}", config.filter))
}
