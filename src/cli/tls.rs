//! `grantd tls`: a certificate for trying out TLS.

use std::{
    fs,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use chrono::{DateTime, Days, SubsecRound as _, Utc};
use clap::{Args, Subcommand};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use serde::Serialize;

use super::{
    Outcome,
    output::{self, Output},
};
use crate::{clock::Clock, error::without_os_codes};

/// How long a certificate is valid. Apple's systems accept no more than 398 days.
const VALID: Days = Days::new(365);

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a self-signed certificate and its key, to try out TLS
    ///
    /// Writes cert.pem and key.pem. Clients do not trust the certificate until they are told to, such as with `curl --cacert
    /// cert.pem`; docs/tls.md describes how to get one that they trust.
    SelfSigned(SelfSigned),
}

#[derive(Args)]
pub(super) struct SelfSigned {
    /// Directory of the two files; created if it does not exist
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// DNS name or IP address of the server; may be repeated
    #[arg(long = "host", value_name = "NAME", value_parser = host, default_values = ["localhost", "127.0.0.1", "::1"])]
    hosts: Vec<String>,
    /// Replace existing files
    #[arg(long)]
    force: bool,
}

/// What was written.
#[derive(Serialize)]
struct Written<'a> {
    certificate: PathBuf,
    key: PathBuf,
    hosts: &'a [String],
    not_after: DateTime<Utc>,
}

pub(super) fn run(command: &Command, output: Output) -> Outcome {
    let Command::SelfSigned(arguments) = command;
    // Certificates have whole seconds.
    self_signed(arguments, Clock::system().now().trunc_subsecs(0), output)
}

fn self_signed(arguments: &SelfSigned, now: DateTime<Utc>, output: Output) -> Outcome {
    let SelfSigned { out, hosts, force } = arguments;
    let hosts = &once(hosts);
    let not_after = now + VALID;
    let (certificate, key) = generate(hosts, now, not_after)?;
    fs::create_dir_all(out).map_err(|error| problem(out, &error))?;
    let written = Written { certificate: out.join("cert.pem"), key: out.join("key.pem"), hosts, not_after };
    for path in [&written.certificate, &written.key] {
        if *force {
            remove(path)?;
        } else if fs::symlink_metadata(path).is_ok() {
            return Err(format!("{} exists already; --force replaces it", path.display()).into());
        }
    }
    create(&written.key, &key, 0o600)?;
    create(&written.certificate, &certificate, 0o644)?;
    output.changed(&written, &sentence(&written))
}

/// Returns the hosts without repeats.
fn once(hosts: &[String]) -> Vec<String> {
    let is_new = |at: usize, host: &String| hosts.iter().take(at).all(|earlier| !earlier.eq_ignore_ascii_case(host));
    hosts.iter().enumerate().filter(|(at, host)| is_new(*at, host)).map(|(_, host)| host.clone()).collect()
}

fn sentence(written: &Written<'_>) -> String {
    let (certificate, key) = (written.certificate.display(), written.key.display());
    format!(
        "Created {certificate} and {key}, for {hosts}, valid until {until}.\n\n\
         To use them:\n\n  GRANTD_TLS_CERT={certificate}\n  GRANTD_TLS_KEY={key}\n\n\
         Clients must be told to trust the certificate, such as with `curl --cacert {certificate}`. It is for trying out \
         only;\ndocs/tls.md describes how to get one that clients trust.",
        hosts = written.hosts.join(", "),
        until = output::time(written.not_after),
    )
}

/// Returns certificate and key, in PEM.
fn generate(hosts: &[String], now: DateTime<Utc>, not_after: DateTime<Utc>) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    if let Some(first) = hosts.first() {
        params.distinguished_name.push(DnType::CommonName, first.as_str());
    }
    // From yesterday on: a client's clock may be behind.
    params.not_before = SystemTime::from(now - Days::new(1)).into();
    params.not_after = SystemTime::from(not_after).into();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn create(path: &Path, text: &str, mode: u32) -> Outcome {
    let file = fs::File::options().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    Ok(written.map_err(|error| problem(path, &error))?)
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(problem(path, &error)),
        _ => Ok(()),
    }
}

fn problem(path: &Path, error: &io::Error) -> String {
    format!("{}: {}", path.display(), without_os_codes(&error.to_string()))
}

/// Parses a DNS name, which may begin with `*.`, or an IP address.
fn host(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    // Digits alone at the end are a mistyped address.
    let is_address = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let is_name = name.len() <= 253 && name.split('.').all(label) && !is_address;
    if is_name || text.parse::<IpAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("allowed is a DNS name such as id.example.com, or an IP address, without a port".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for good in ["localhost", "id.example.com", "*.example.com", "127.0.0.1", "::1", "xn--bcher-kva.example"] {
            assert_eq!(host(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "a b",
            "https://id.example",
            "300.1.1.1",
            "id.example:443",
            "-a",
            "a..b",
            "*",
            "bücher.example",
            "[::1]",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
