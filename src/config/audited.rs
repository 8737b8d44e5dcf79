//! The settings as an audit needs them: a wrong one must not hide the others.

use std::path::PathBuf;

use super::{
    AuditConfig, Check, CredentialConfig, DatabaseConfig, HashConfig, HttpConfig, LogConfig, MasterKeySource,
    PasswordConfig, ProxyConfig, Settings, SigningKeyConfig, TelemetryConfig, ThrottleConfig, TlsConfig, TokenConfig,
};

/// The sections of the settings. `None`: a setting of it is wrong.
#[derive(Debug)]
pub struct Audited {
    /// The settings that are wrong, each with the problem.
    pub problems: Vec<(String, String)>,
    /// The database.
    pub database: Option<DatabaseConfig>,
    /// Addresses, public URL and CORS.
    pub http: Option<HttpConfig>,
    /// TLS of the server itself.
    pub tls: Option<TlsConfig>,
    /// Trusted proxies.
    pub proxies: Option<ProxyConfig>,
    /// The source of the master key.
    pub master_key: Option<MasterKeySource>,
    /// The set-up file.
    pub apply: Option<PathBuf>,
    /// Credentials that protected routes accept.
    pub credentials: Option<CredentialConfig>,
    /// Audience and lifetimes of tokens.
    pub tokens: Option<TokenConfig>,
    /// Algorithm and rotation of signing keys.
    pub signing_keys: Option<SigningKeyConfig>,
    /// Rules for new passwords.
    pub passwords: Option<PasswordConfig>,
    /// Cost and queue of password hashes.
    pub hash: Option<HashConfig>,
    /// Quotas of failures and of requests.
    pub throttle: Option<ThrottleConfig>,
    /// Filter and format of the log.
    pub log: Option<LogConfig>,
    /// The audit log.
    pub audit: Option<AuditConfig>,
    /// Where metrics and traces go.
    pub telemetry: Option<TelemetryConfig>,
}

impl Settings {
    /// Checks everything, and returns what is valid. A public address without TLS is no problem here: an audit reports it
    /// whatever `GRANTD_ALLOW_INSECURE` says.
    pub(crate) fn audited(&self) -> Audited {
        // The problems of all sections, also of those that no check reads.
        let (mut all, mut check) = (self.clone(), Check::default());
        all.http.accept_risk();
        all.sections(&mut check);
        let problems = check.problems();
        let check = &mut Check::default();
        let (database, tls, proxies) = (self.database.check(check), self.tls.check(check), self.proxies.check(check));
        Audited {
            problems,
            http: self.http.check(check, tls.as_ref(), proxies.as_ref()),
            master_key: self.master_key.check(check, database.as_ref()),
            apply: self.apply.check(),
            credentials: self.credentials.check(check),
            tokens: self.tokens.check(check),
            signing_keys: self.signing_keys.check(check),
            passwords: self.passwords.check(check),
            hash: self.hash.check(check),
            throttle: self.throttle.check(check),
            log: self.log.check(check),
            audit: self.audit.check(check),
            telemetry: self.telemetry.check(check),
            database,
            tls,
            proxies,
        }
    }
}
