//! TLS: a certificate and its key, read again when their files change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{config::only_ours, error::without_os_codes};

/// The certificate that is shown to clients now.
#[derive(Debug)]
pub(crate) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    /// When the files were last changed, as far as is known.
    seen: ArcSwap<[Option<SystemTime>; 2]>,
}

impl Certificate {
    /// Reads both files. An error says what is wrong with which.
    pub(crate) fn read(chain: &Path, key: &Path) -> Result<Arc<Self>, String> {
        let (chain, key) = (chain.to_owned(), key.to_owned());
        let seen = changed_at(&chain, &key);
        let current = certified(&chain, &key)?;
        Ok(Arc::new(Self { chain, key, current: ArcSwap::from_pointee(current), seen: ArcSwap::from_pointee(seen) }))
    }

    /// What a listener needs.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, String> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth();
        Ok(config.with_cert_resolver(Arc::<Self>::clone(self)))
    }

    /// Reads the files again where they changed. What cannot be used changes nothing but the log.
    pub(crate) fn refresh(&self) {
        let now = changed_at(&self.chain, &self.key);
        if now == **self.seen.load() {
            return;
        }
        match certified(&self.chain, &self.key) {
            Ok(new) => {
                self.current.store(Arc::new(new));
                tracing::info!(certificate = %self.chain.display(), "a new certificate is in use");
            }
            Err(problem) => tracing::error!(problem, "the new certificate is not usable; the one before stays in use"),
        }
        self.seen.store(Arc::new(now));
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn changed_at(chain: &Path, key: &Path) -> [Option<SystemTime>; 2] {
    [chain, key].map(|path| path.metadata().and_then(|meta| meta.modified()).ok())
}

fn certified(chain: &Path, key: &Path) -> Result<CertifiedKey, String> {
    only_ours(key)?;
    let named =
        |path: &Path, problem: &dyn ToString| format!("{}: {}", path.display(), without_os_codes(&problem.to_string()));
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(chain).and_then(Iterator::collect).map_err(|error| named(chain, &error))?;
    if certificates.is_empty() {
        return Err(named(chain, &"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, &error))?;
    CertifiedKey::from_der(certificates, private, &aws_lc_rs::default_provider()).map_err(|error| named(chain, &error))
}
