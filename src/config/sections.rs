//! The settings, a struct per section: first as they are written, then as they are used.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::check::{Check, parse};
use crate::secret::MasterKey;

#[derive(Args, Clone)]
#[expect(clippy::struct_field_names, reason = "clap makes the flags of the names")]
pub(super) struct DatabaseSettings {
    /// The database: a SQLite file, whose directory is made when missing, or Postgres for many replicas
    #[arg(long, env = "DATABASE_URL", value_name = "URL", default_value = "sqlite://data/grantd.db")]
    database_url: String,
    /// A file that holds the value of `DATABASE_URL`
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
    /// How many connections to Postgres this server may hold
    #[arg(long, env = "GRANTD_DATABASE_CONNECTIONS", value_name = "NUMBER", default_value = "10")]
    database_connections: String,
    /// How long a request waits for a connection, and a statement for its result
    #[arg(long, env = "GRANTD_DATABASE_TIMEOUT", value_name = "DURATION", default_value = "3s")]
    database_timeout: String,
}

/// Which database, and how patient the server is with it.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Where it is.
    pub url: DatabaseUrl,
    /// The most connections to Postgres.
    pub connections: u32,
    /// For acquiring a connection, and for a statement.
    pub timeout: Duration,
}

/// Where the database is.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// A file.
    Sqlite(PathBuf),
    /// A server. May hold a password.
    Postgres(String),
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres([REDACTED])"),
        }
    }
}

fn database_url(text: &str) -> Result<DatabaseUrl, String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let checked = text.parse::<sqlx::postgres::PgConnectOptions>();
        return checked.map(|_| DatabaseUrl::Postgres(text.to_owned())).map_err(|error| error.to_string());
    }
    let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path.is_empty() || path == ":memory:" {
        return Err("allowed is sqlite://PATH (a file) or postgres://USER:PASSWORD@HOST/NAME".to_owned());
    }
    Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
}

impl DatabaseSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<DatabaseConfig> {
        let url = match &self.database_url_file {
            Some(path) => check.secret("DATABASE_URL", None, Some(path))?.map(|url| url.expose_secret().to_owned())?,
            None => self.database_url.clone(),
        };
        let url = database_url(&url).map_err(|problem| check.problem("DATABASE_URL", problem)).ok();
        let connections =
            check.value("GRANTD_DATABASE_CONNECTIONS", &self.database_connections, |n| parse::number(n, 1, 1000));
        let timeout = check.value("GRANTD_DATABASE_TIMEOUT", &self.database_timeout, parse::duration);
        Some(DatabaseConfig { url: url?, connections: connections?, timeout: timeout? })
    }
}

#[derive(Args, Clone)]
pub(super) struct HttpSettings {
    /// Where to listen; may be given several times (in a variable: with commas). Port 0 takes a free one
    #[arg(
        long,
        env = "GRANTD_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:8080"
    )]
    listen: Vec<String>,
    /// The public URL: `iss` of all tokens, and the base of the URLs in the metadata. Needed where the address is not
    /// loopback; else `http://` and the address
    #[arg(long, env = "GRANTD_ISSUER", value_name = "URL")]
    issuer: Option<String>,
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` is believed
    #[arg(long, env = "GRANTD_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
    /// Origins of single-page applications that may call from a browser
    #[arg(long, env = "GRANTD_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origins: Vec<String>,
    /// The certificate chain, in PEM; with it the server speaks TLS
    #[arg(long, env = "GRANTD_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM. Nobody else may be able to read the file
    #[arg(long, env = "GRANTD_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Starts although it is insecure: on a public address without TLS and without a trusted proxy
    #[arg(long, env = "GRANTD_ALLOW_INSECURE", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_insecure: String,
}

/// Where the server listens, and what it tells browsers.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// All addresses.
    pub listen: Vec<SocketAddr>,
    /// The public URL, without a slash at its end. `None`: that of the first address, known once it is bound.
    pub issuer: Option<String>,
    /// Whose `Forwarded` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may call from a browser.
    pub cors_origins: Vec<String>,
    /// Certificate chain and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Threads that answer requests: one per core.
    pub workers: usize,
}

fn issuer(text: &str) -> Result<String, String> {
    let allowed = "allowed is an http or https URL without query and fragment";
    let url = text.trim_end_matches('/');
    let uri: actix_web::http::Uri = url.parse().map_err(|_| allowed.to_owned())?;
    let web = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    let plain = uri.query().is_none() && !text.contains(['#', '@']);
    if web && plain { Ok(url.to_owned()) } else { Err(allowed.to_owned()) }
}

fn origin(text: &str) -> Result<String, String> {
    let allowed = "allowed is an origin such as https://app.example.com, without a path";
    let uri: actix_web::http::Uri = text.parse().map_err(|_| allowed.to_owned())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) if text == format!("{scheme}://{authority}") => {
            Ok(text.to_owned())
        }
        _ => Err(allowed.to_owned()),
    }
}

impl HttpSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<HttpConfig> {
        let mut each = |setting: &str, texts: &[String], parse: &dyn Fn(&str) -> Result<(), String>| {
            texts.iter().filter(|text| !text.is_empty()).for_each(|text| {
                check.value(setting, text.trim(), parse);
            });
        };
        let mut listen: Vec<SocketAddr> = Vec::new();
        let mut proxies: Vec<IpNet> = Vec::new();
        let mut origins: Vec<String> = Vec::new();
        each("GRANTD_LISTEN", &self.listen, &|text| {
            text.parse::<SocketAddr>()
                .map(drop)
                .map_err(|_| "allowed is ADDRESS:PORT, such as 127.0.0.1:8080".to_owned())
        });
        each("GRANTD_TRUSTED_PROXIES", &self.trusted_proxies, &|text| network(text).map(drop));
        each("GRANTD_CORS_ORIGINS", &self.cors_origins, &|text| origin(text).map(drop));
        listen.extend(self.listen.iter().filter_map(|text| text.trim().parse::<SocketAddr>().ok()));
        proxies.extend(self.trusted_proxies.iter().filter_map(|text| network(text.trim()).ok()));
        origins.extend(self.cors_origins.iter().filter_map(|text| origin(text.trim()).ok()));

        let issuer = match self.issuer.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => Some(check.value("GRANTD_ISSUER", text, issuer)?),
            None => None,
        };
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            _ => {
                check.problem("GRANTD_TLS_CERT", "needs GRANTD_TLS_KEY beside it, and the reverse");
                None
            }
        };
        let insecure = check.value("GRANTD_ALLOW_INSECURE", &self.allow_insecure, parse::boolean)?;
        let public = listen.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = public {
            if issuer.is_none() {
                check.problem("GRANTD_ISSUER", format!("needed, since {address} is not a loopback address"));
            }
            if tls.is_none() && proxies.is_empty() && !insecure {
                check.problem(
                    "GRANTD_LISTEN",
                    format!(
                        "{address} is public, and passwords would travel in the clear: set GRANTD_TLS_CERT and \
                         GRANTD_TLS_KEY, or GRANTD_TRUSTED_PROXIES where a proxy ends TLS; \
                         GRANTD_ALLOW_INSECURE=true accepts the risk"
                    ),
                );
            }
        }
        if listen.is_empty() {
            check.problem("GRANTD_LISTEN", "at least one address is needed");
        }
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Some(HttpConfig { listen, issuer, trusted_proxies: proxies, cors_origins: origins, tls, workers })
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "allowed is a network such as 10.0.0.0/8 or an address".to_owned())
}

#[derive(Args, Clone)]
pub(super) struct KeySettings {
    /// 32 bytes in base64url that seal all secrets in the database; `grantd keygen` prints one. SQLite: made beside a
    /// new database as `master.key`; Postgres: required
    #[arg(long, env = "GRANTD_MASTER_KEY", value_name = "KEY")]
    master_key: Option<String>,
    /// A file that holds the value of `GRANTD_MASTER_KEY`
    #[arg(long, env = "GRANTD_MASTER_KEY_FILE", value_name = "FILE")]
    master_key_file: Option<PathBuf>,
}

/// Where the master key comes from.
#[derive(Debug)]
pub enum MasterKeySource {
    /// A setting.
    Given(MasterKey),
    /// A file beside the SQLite database, made with it.
    Beside(PathBuf),
}

impl KeySettings {
    pub(super) fn check(&self, check: &mut Check, database: Option<&DatabaseConfig>) -> Option<MasterKeySource> {
        if let (None, Some(path)) = (&self.master_key, &self.master_key_file)
            && let Err(problem) = only_ours(path)
        {
            check.problem("GRANTD_MASTER_KEY_FILE", problem);
            return None;
        }
        match check.secret("GRANTD_MASTER_KEY", self.master_key.as_ref(), self.master_key_file.as_deref())? {
            Some(text) => {
                let key = MasterKey::parse(text.expose_secret());
                if key.is_none() {
                    check.problem("GRANTD_MASTER_KEY", "not 32 bytes in base64url; `grantd keygen` prints a new one");
                }
                key.map(MasterKeySource::Given)
            }
            None => match &database?.url {
                DatabaseUrl::Sqlite(path) => Some(MasterKeySource::Beside(path.with_file_name("master.key"))),
                DatabaseUrl::Postgres(_) => {
                    check.problem(
                        "GRANTD_MASTER_KEY",
                        "needed with Postgres; `grantd keygen` prints one. Keep it: without it the database is useless",
                    );
                    None
                }
            },
        }
    }
}

/// Whether others may read a file that holds a secret.
pub(crate) fn only_ours(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & 0o004 != 0 => {
            Err(format!("everybody can read {0}: run `chmod 600 {0}`", path.display()))
        }
        _ => Ok(()),
    }
}

#[derive(Args, Clone)]
#[expect(clippy::struct_field_names, reason = "clap makes the flags of the names")]
pub(super) struct SetupSettings {
    /// The administrator that the first start of an empty database makes
    #[arg(long, env = "GRANTD_ADMIN_USERNAME", value_name = "NAME", default_value = "admin")]
    admin_username: String,
    /// The administrator's password. Without it: SQLite: generated and printed once; Postgres: nobody is made
    #[arg(long, env = "GRANTD_ADMIN_PASSWORD", value_name = "PASSWORD")]
    admin_password: Option<String>,
    /// A file that holds the value of `GRANTD_ADMIN_PASSWORD`
    #[arg(long, env = "GRANTD_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
}

/// What the first start of an empty database makes.
#[derive(Clone, Debug)]
pub struct SetupConfig {
    /// The administrator's name.
    pub admin_username: crate::users::Username,
    /// The administrator's password.
    pub admin_password: Option<SecretString>,
    /// Whether one is generated when none was given.
    pub generate_password: bool,
}

impl SetupSettings {
    pub(super) fn check(&self, check: &mut Check, postgres: bool) -> Option<SetupConfig> {
        let admin_username = check.value("GRANTD_ADMIN_USERNAME", &self.admin_username, |text| {
            let name = text.parse::<crate::users::Username>().map_err(|error| error.to_string())?;
            if text.contains('@') { Err("an address is not allowed here".to_owned()) } else { Ok(name) }
        });
        let admin_password =
            check.secret("GRANTD_ADMIN_PASSWORD", self.admin_password.as_ref(), self.admin_password_file.as_deref())?;
        if let Some(password) = &admin_password
            && let Err(error) = crate::passwords::Password::chosen("password", password.expose_secret())
        {
            check.problem("GRANTD_ADMIN_PASSWORD", error.message);
            return None;
        }
        Some(SetupConfig { admin_username: admin_username?, admin_password, generate_password: !postgres })
    }
}

#[derive(Args, Clone)]
pub(super) struct TokenSettings {
    /// `aud` of tokens of clients that have no audiences of their own; when absent, the issuer
    #[arg(long, env = "GRANTD_AUDIENCE", value_name = "URI")]
    audience: Option<String>,
    /// How long an access token lives
    #[arg(long, env = "GRANTD_ACCESS_TOKEN_TTL", value_name = "DURATION", default_value = "15m")]
    access_token_ttl: String,
    /// How long a refresh token lives when it is not used
    #[arg(long, env = "GRANTD_REFRESH_TOKEN_TTL", value_name = "DURATION", default_value = "30d")]
    refresh_token_ttl: String,
    /// How long a session lives at most, however often it is refreshed
    #[arg(long, env = "GRANTD_SESSION_TTL", value_name = "DURATION", default_value = "90d")]
    session_ttl: String,
    #[arg(
        long,
        help = "What signs tokens: ES256, RS256 or EdDSA",
        env = "GRANTD_SIGNING_ALGORITHM",
        value_name = "ALGORITHM",
        default_value = "ES256"
    )]
    signing_algorithm: String,
    /// Whether anybody may use the password grant (`false`: the OAuth 2.1 profile)
    #[arg(long, env = "GRANTD_PASSWORD_GRANT", value_name = "BOOL", default_value = "true")]
    password_grant: String,
}

/// What tokens say and how long they live.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The default `aud`; `None`: the issuer.
    pub audience: Option<String>,
    /// Of an access token.
    pub access_token_ttl: Duration,
    /// Of a refresh token that is not used.
    pub refresh_token_ttl: Duration,
    /// Of a session, whatever happens.
    pub session_ttl: Duration,
    /// What signs.
    pub algorithm: Algorithm,
    /// Whether the password grant is on.
    pub password_grant: bool,
}

/// What signs access tokens (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    RS256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// Its name in a JOSE header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::EdDSA => "EdDSA",
        }
    }

    /// By its name in a JOSE header.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::ES256, Self::RS256, Self::EdDSA].into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl TokenSettings {
    pub(super) fn check(&self, check: &mut Check, _http: Option<&HttpConfig>) -> Option<TokenConfig> {
        let audience = match self.audience.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => Some(check.value("GRANTD_AUDIENCE", text, |text| {
                let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
                if plain { Ok(text.to_owned()) } else { Err("allowed is a URI or name without spaces".to_owned()) }
            })?),
            None => None,
        };
        let access = check.value("GRANTD_ACCESS_TOKEN_TTL", &self.access_token_ttl, parse::duration);
        let refresh = check.value("GRANTD_REFRESH_TOKEN_TTL", &self.refresh_token_ttl, parse::duration);
        let session = check.value("GRANTD_SESSION_TTL", &self.session_ttl, parse::duration);
        let algorithm = check.value("GRANTD_SIGNING_ALGORITHM", &self.signing_algorithm, |text| {
            Algorithm::parse(text).ok_or_else(|| "allowed is ES256, RS256 or EdDSA".to_owned())
        });
        let password_grant = check.value("GRANTD_PASSWORD_GRANT", &self.password_grant, parse::boolean);
        Some(TokenConfig {
            audience,
            access_token_ttl: access?,
            refresh_token_ttl: refresh?,
            session_ttl: session?,
            algorithm: algorithm?,
            password_grant: password_grant?,
        })
    }
}

#[derive(Args, Clone)]
#[expect(clippy::struct_field_names, reason = "clap makes the flags of the names")]
pub(super) struct HashSettings {
    /// Memory of one password hash (Argon2id)
    #[arg(long, env = "GRANTD_HASH_MEMORY", value_name = "SIZE", default_value = "19MiB")]
    hash_memory: String,
    /// Passes over that memory
    #[arg(long, env = "GRANTD_HASH_ITERATIONS", value_name = "NUMBER", default_value = "2")]
    hash_iterations: String,
    /// Threads that hash, each with its memory; when absent, one per core
    #[arg(long, env = "GRANTD_HASH_THREADS", value_name = "NUMBER")]
    hash_threads: Option<String>,
    /// How many passwords may wait to be hashed; more are answered 503
    #[arg(long, env = "GRANTD_HASH_QUEUE", value_name = "NUMBER", default_value = "64")]
    hash_queue: String,
    /// How long one may wait before it is answered 503
    #[arg(long, env = "GRANTD_HASH_WAIT", value_name = "DURATION", default_value = "5s")]
    hash_wait: String,
}

/// What a password hash costs, and how many may be asked for at once.
#[derive(Clone, Debug)]
pub struct HashConfig {
    /// KiB for one hash.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Threads.
    pub threads: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// How long one may wait.
    pub wait: Duration,
}

impl HashSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<HashConfig> {
        let memory = check.value("GRANTD_HASH_MEMORY", &self.hash_memory, |text| {
            let kib = u32::try_from(parse::size(text)? / 1024).ok().filter(|kib| (8..=4 << 20).contains(kib));
            kib.ok_or_else(|| "allowed is 8KiB to 4GiB; 19MiB is what OWASP asks for".to_owned())
        });
        let iterations = check.value("GRANTD_HASH_ITERATIONS", &self.hash_iterations, |n| parse::number(n, 1, 1000));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = match &self.hash_threads {
            Some(text) => check.value("GRANTD_HASH_THREADS", text, |n| parse::number(n, 1, 1024)).map(|n| n as usize),
            None => Some(cores),
        };
        let queue = check.value("GRANTD_HASH_QUEUE", &self.hash_queue, |n| parse::number(n, 1, 1_000_000));
        let wait = check.value("GRANTD_HASH_WAIT", &self.hash_wait, parse::duration);
        Some(HashConfig {
            memory_kib: memory?,
            iterations: iterations?,
            threads: threads?,
            queue: queue? as usize,
            wait: wait?,
        })
    }
}

#[derive(Args, Clone)]
pub(super) struct LogSettings {
    /// What is logged: a level (error, warn, info, debug, trace), or a filter such as `info,grantd::http=debug`
    #[arg(long, env = "GRANTD_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// How: `pretty` or `json`; when absent, pretty on a terminal, else json
    #[arg(long, env = "GRANTD_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A filter in `tracing`'s syntax.
    pub filter: String,
    /// How; `None`: as standard error is a terminal or not.
    pub format: Option<LogFormat>,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines, an object per line.
    Json,
}

impl LogSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<LogConfig> {
        let filter = check.value("GRANTD_LOG", &self.log, |text| {
            text.parse::<tracing_subscriber::filter::Targets>().map(|_| text.to_owned()).map_err(|_| {
                "allowed is a level (error, warn, info, debug, trace) or target=level, with commas".to_owned()
            })
        });
        let format = match self.log_format.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => Some(check.value("GRANTD_LOG_FORMAT", text, |text| match text {
                "pretty" => Ok(LogFormat::Pretty),
                "json" => Ok(LogFormat::Json),
                _ => Err("allowed is pretty or json".to_owned()),
            })?),
            None => None,
        };
        Some(LogConfig { filter: filter?, format })
    }
}
