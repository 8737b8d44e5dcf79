//! TLS: a certificate and its key, read again when their files change.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use chrono::DateTime;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{clock::Clock, config::only_ours, error::without_os_codes};

/// The certificate that is shown to callers now.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    clock: Clock,
    current: ArcSwap<CertifiedKey>,
    not_after: Arc<AtomicI64>,
    is_usable: AtomicBool,
    /// The files as they were when they were last read.
    read: Mutex<Read>,
}

/// A reading of the files.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    files: [Option<Version>; 2],
    /// Why the files could not be used.
    problem: Option<String>,
}

/// What changes when a file is written or replaced: its device, inode, size and the time of the write. A symbolic link is followed:
/// Kubernetes replaces a link to the directory of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version(u64, u64, u64, (i64, i64));

impl Version {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self(file.dev(), file.ino(), file.size(), (file.mtime(), file.mtime_nsec())))
    }
}

impl Certificate {
    /// Reads both files. An error says what is wrong with which.
    pub(crate) fn read(chain: &Path, key: &Path, clock: Clock) -> Result<Arc<Self>, String> {
        let (chain, key) = (chain.to_owned(), key.to_owned());
        let files = versions(&chain, &key);
        let (current, not_after) = certified(&chain, &key)?;
        if not_after <= clock.now().timestamp() {
            tracing::warn!("{}: expired on {}; clients refuse it: renew it", chain.display(), time(not_after));
        }
        Ok(Arc::new(Self {
            chain,
            key,
            clock,
            current: ArcSwap::from_pointee(current),
            not_after: Arc::new(not_after.into()),
            is_usable: true.into(),
            read: Mutex::new(Read { files, problem: None }),
        }))
    }

    /// What a listener needs.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, String> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::<Self>::clone(self));
        // The best cipher that both sides have, instead of the first one in the caller's list.
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Returns when the certificate that is shown now expires, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after.load(Ordering::Relaxed)
    }

    /// Returns the same, as it changes, for metrics.
    pub(crate) fn expiry(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.not_after)
    }

    /// Returns whether the files could be used when they were last read. If not, the certificate of before is shown.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.is_usable.load(Ordering::Relaxed)
    }

    /// Reads the files if they have changed, or if they could not be used: of two files, one is written first, and a wrong mode is
    /// corrected without another change. Logs each problem once.
    pub(crate) fn refresh(&self) {
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the files are read: if they change meanwhile, the next look sees it.
        let files = versions(&self.chain, &self.key);
        if files == last.files && last.problem.is_none() {
            return;
        }
        let read = Read { files, problem: self.replace() };
        if let Some(problem) = &read.problem
            && read != *last
        {
            tracing::error!(problem, "the new certificate is not usable; the one before stays in use");
        }
        *last = read;
    }

    /// Reads the files, whether they have changed or not.
    pub fn reload(&self) {
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let files = versions(&self.chain, &self.key);
        *last = Read { files, problem: self.replace() };
        if let Some(problem) = &last.problem {
            tracing::error!(problem, "the certificate is not usable; the one before stays in use");
        }
    }

    /// Shows the certificate of the files from the next connection on. Returns a problem, after which the one before is shown.
    fn replace(&self) -> Option<String> {
        let read = certified(&self.chain, &self.key).and_then(|(new, not_after)| {
            // It must not replace one that clients still accept.
            let now = self.clock.now().timestamp();
            if not_after <= now && self.not_after() > now {
                return Err(format!("{}: expired on {}", self.chain.display(), time(not_after)));
            }
            Ok((new, not_after))
        });
        self.is_usable.store(read.is_ok(), Ordering::Relaxed);
        let (new, not_after) = match read {
            Ok(new) => new,
            Err(problem) => return Some(problem),
        };
        self.not_after.store(not_after, Ordering::Relaxed);
        self.current.store(Arc::new(new));
        let not_after = time(not_after);
        tracing::info!(certificate = %self.chain.display(), not_after, "a new certificate is in use");
        None
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn versions(chain: &Path, key: &Path) -> [Option<Version>; 2] {
    [Version::of(chain), Version::of(key)]
}

/// Returns the certificate with its key, and when it expires. Fails if they do not belong together.
fn certified(chain: &Path, key: &Path) -> Result<(CertifiedKey, i64), String> {
    let named =
        |path: &Path, problem: &dyn ToString| format!("{}: {}", path.display(), without_os_codes(&problem.to_string()));
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(chain).and_then(Iterator::collect).map_err(|error| named(chain, &error))?;
    let first = certificates.first().ok_or_else(|| named(chain, &"there is no certificate in PEM in it"))?;
    let not_after = not_after(first).map_err(|problem| named(chain, &problem))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => named(
            key,
            &"there is no private key in it, or it has a passphrase; `openssl pkey -in FILE -out NEW` removes one",
        ),
        error => named(key, &error),
    })?;
    only_ours(key).map_err(|problem| named(key, &problem))?;
    match CertifiedKey::from_der(certificates, private, &aws_lc_rs::default_provider()) {
        Ok(certified) => Ok((certified, not_after)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(format!("{} does not belong to {}", chain.display(), key.display()))
        }
        Err(error) => Err(format!("{} with {}: {error}", chain.display(), key.display())),
    }
}

fn time(timestamp: i64) -> String {
    DateTime::from_timestamp(timestamp, 0).map(|at| at.to_rfc3339()).unwrap_or_default()
}

fn not_after(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    Ok(parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, time::SystemTime};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::{Certificate, Clock};

    #[test]
    fn the_state_is_that_of_the_certificate_in_use_and_of_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
        let write = |year| {
            let pair = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 2);
            fs::write(&cert, params.self_signed(&pair).unwrap().pem()).unwrap();
            fs::write(&key, pair.serialize_pem()).unwrap();
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
            let since_1970 = SystemTime::from(params.not_after).duration_since(SystemTime::UNIX_EPOCH).unwrap();
            i64::try_from(since_1970.as_secs()).unwrap()
        };
        let first = write(2030);
        let certificate = Certificate::read(&cert, &key, Clock::system()).unwrap();
        let state = || (certificate.not_after(), certificate.is_usable());
        assert_eq!(state(), (first, true));
        let good = fs::read(&cert).unwrap();
        fs::write(&cert, "no certificate").unwrap();
        certificate.refresh();
        assert_eq!(state(), (first, false));
        fs::remove_file(&cert).unwrap();
        certificate.refresh();
        assert_eq!(state(), (first, false));
        fs::write(&cert, good).unwrap();
        certificate.refresh();
        assert_eq!(state(), (first, true));
        let second = write(2031);
        certificate.refresh();
        assert_eq!(state(), (second, true));
        // An expired one does not replace one that is valid.
        write(2020);
        certificate.refresh();
        assert_eq!(state(), (second, false));
        // The key alone is not enough.
        let other = KeyPair::generate().unwrap();
        fs::write(&key, other.serialize_pem()).unwrap();
        certificate.reload();
        assert_eq!(state(), (second, false));
    }
}
