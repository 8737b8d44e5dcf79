//! The certificate with which the server speaks TLS.

use std::path::PathBuf;

use clap::Args;

use super::check::{Check, parse};

#[derive(Args, Clone)]
#[command(next_help_heading = "Network")]
pub(super) struct TlsSettings {
    /// Certificate chain in PEM; enables TLS
    #[arg(long, env = "GRANTD_TLS_CERT", value_name = "FILE", value_parser = parse::path)]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    ///
    /// The file must not be readable by other users.
    #[arg(long, env = "GRANTD_TLS_KEY", value_name = "FILE", value_parser = parse::path)]
    tls_key: Option<PathBuf>,
}

/// TLS of the server itself.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Certificate chain and private key; `None`: plain HTTP.
    pub files: Option<(PathBuf, PathBuf)>,
}

impl TlsSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<TlsConfig> {
        let given = |file: &Option<PathBuf>| file.clone().filter(|path| !path.as_os_str().is_empty());
        match (given(&self.tls_cert), given(&self.tls_key)) {
            (Some(chain), Some(key)) => Some(TlsConfig { files: Some((chain, key)) }),
            (None, None) => Some(TlsConfig { files: None }),
            _ => {
                check.problem("GRANTD_TLS_CERT", "GRANTD_TLS_CERT and GRANTD_TLS_KEY must be set together");
                None
            }
        }
    }
}
