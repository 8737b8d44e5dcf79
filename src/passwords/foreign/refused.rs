//! Hashes that are not accepted, by name. The texts never repeat the hash.

/// Why a hash cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedHash {
    /// The kind of hash is known and not accepted.
    #[error("{0} is not supported as a password hash")]
    Unsupported(&'static str),
    /// The text does not have the format that it begins like.
    #[error("not a well-formed {0} hash")]
    Malformed(&'static str),
    /// A parameter is out of bounds: checking a password would be too expensive, or too cheap.
    #[error("{what} must be between {least} and {most}")]
    OutOfBounds {
        /// The parameter.
        what: &'static str,
        /// The smallest value.
        least: u64,
        /// The largest value.
        most: u64,
    },
    /// The account has no password in the other system, or one that is locked.
    #[error("the account has no usable password")]
    Unusable,
    /// Nothing that is known, perhaps a password in plain text.
    #[error("not a known password hash; plain text is not accepted")]
    Unknown,
}

/// Beginnings of hashes that are not accepted.
const BY_PREFIX: [(&str, &str); 30] = [
    ("$1$", "MD5-crypt"),
    ("$apr1$", "MD5-crypt"),
    ("$md5", "MD5"),
    ("$2$", "bcrypt of version 2"),
    ("$2x$", "bcrypt of version 2x"),
    ("$3$", "the NT hash"),
    ("$7$", "scrypt in the form $7$"),
    ("$y$", "yescrypt"),
    ("$gy$", "yescrypt"),
    ("$H$", "MD5 (phpass)"),
    ("$P$", "MD5 (phpass)"),
    ("$S$", "salted SHA-512 (Drupal)"),
    ("$sha1$", "SHA-1"),
    ("$sha$", "salted SHA"),
    ("$sha256$", "salted SHA-256"),
    ("$sha512$", "salted SHA-512"),
    ("$ssha", "salted SHA"),
    ("$hmac-", "HMAC"),
    ("$fbscrypt$", "Firebase scrypt without a stored signer key"),
    ("$firescrypt$", "Firebase scrypt without a stored signer key"),
    ("crypt$", "DES crypt"),
    ("hmac-", "HMAC"),
    ("md5$", "MD5"),
    ("md5:", "MD5"),
    ("plain$", "plain text"),
    ("sha1$", "SHA-1"),
    ("sha256$", "salted SHA-256"),
    ("sha512$", "salted SHA-512"),
    ("unsalted_md5$", "MD5"),
    ("unsalted_sha1$", "SHA-1"),
];

/// LDAP schemes, in lower case.
const BY_SCHEME: [(&str, &str); 14] = [
    ("{cleartext}", "plain text"),
    ("{plain}", "plain text"),
    ("{md5}", "MD5"),
    ("{smd5}", "salted MD5"),
    ("{sha}", "SHA-1"),
    ("{ssha}", "salted SHA-1"),
    ("{sha256}", "SHA-256"),
    ("{ssha256}", "salted SHA-256"),
    ("{sha384}", "SHA-384"),
    ("{ssha384}", "salted SHA-384"),
    ("{sha512}", "SHA-512"),
    ("{ssha512}", "salted SHA-512"),
    ("{nthash}", "the NT hash"),
    ("{crypt}", "DES crypt"),
];

/// Returns why a text is refused that is in none of the accepted formats.
pub(super) fn refuse(text: &str) -> RefusedHash {
    let by_prefix = BY_PREFIX.iter().find(|(prefix, _)| text.starts_with(prefix));
    let by_scheme = || {
        let scheme = text.split_inclusive('}').next().unwrap_or_default().to_ascii_lowercase();
        BY_SCHEME.iter().find(|(known, _)| *known == scheme)
    };
    match by_prefix.or_else(by_scheme) {
        Some((_, name)) => RefusedHash::Unsupported(name),
        None => by_shape(text),
    }
}

/// Hashes without a prefix.
fn by_shape(text: &str) -> RefusedHash {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_crypt = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
    RefusedHash::Unsupported(match text.len() {
        32 if is_hex => "MD5",
        40 if is_hex => "SHA-1",
        64 if is_hex => "SHA-256",
        128 if is_hex => "SHA-512",
        13 if is_crypt(text) => "DES crypt",
        20 if text.strip_prefix('_').is_some_and(is_crypt) => "DES crypt",
        _ => return RefusedHash::Unknown,
    })
}
