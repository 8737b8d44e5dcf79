//! Password hashes of other systems, as users bring them along: parsed with bounds on every parameter, and verified until
//! the first right password replaces them by Argon2id.
//!
//! | hash | written by |
//! |---|---|
//! | bcrypt | many; Django and passlib also over a SHA-256 of the password |
//! | PBKDF2 | Django, Werkzeug, passlib, LDAP, Kratos; Keycloak's are imported in Kratos' form |
//! | scrypt | Django, Werkzeug, passlib, Kratos |
//! | scrypt of Firebase | Firebase; in Kratos' or Supabase's form with the project's keys, which are then stored sealed |
//! | Argon2i, Argon2d, Argon2id | pwdlib, argon2-cffi, passlib, Django, LDAP, Kratos; Keycloak's as PHC strings |
//! | SHA-256-crypt, SHA-512-crypt | `crypt(3)`, passlib, LDAP |

mod argon2;
mod bcrypt;
mod firebase;
mod pbkdf2;
mod refused;
mod scrypt;
mod sha_crypt;
mod text;

pub(super) use self::argon2::nanoseconds as argon2_nanoseconds;
use self::{
    argon2::Argon2Hash, bcrypt::BcryptHash, firebase::FirebaseHash, pbkdf2::Pbkdf2Hash, scrypt::ScryptHash,
    sha_crypt::ShaCryptHash,
};
pub use self::{firebase::FirebaseKey, refused::RefusedHash};
use super::pool::Memory;
use ::argon2::Algorithm;

/// A password hash of another system, with all parameters within their bounds.
#[derive(Debug)]
pub(super) enum Foreign {
    Argon2(Argon2Hash),
    Bcrypt(BcryptHash),
    Firebase(FirebaseHash),
    Pbkdf2(Pbkdf2Hash),
    Scrypt(ScryptHash),
    ShaCrypt(ShaCryptHash),
}

/// A password hash that may be imported.
#[derive(Debug)]
pub struct ImportedHash {
    /// The text to store as the user's hash.
    pub text: String,
    /// The key of a Firebase hash, which must be stored in the same transaction.
    pub firebase_key: Option<FirebaseKey>,
}

/// Checks a hash of another system, without computing any, and returns what to store.
pub fn check_imported(text: &str) -> Result<ImportedHash, RefusedHash> {
    let text = text.trim();
    check_length(text)?;
    if let Some(parsed) = FirebaseHash::parse_with_key(text) {
        let (hash, key) = parsed?;
        return Ok(ImportedHash { text: hash.text(), firebase_key: Some(key) });
    }
    Foreign::parse(text)?;
    Ok(ImportedHash { text: text.to_owned(), firebase_key: None })
}

/// The parsers allocate as much as the text is long.
fn check_length(text: &str) -> Result<(), RefusedHash> {
    if text.len() > text::MAX_TEXT { Err(RefusedHash::Unknown) } else { Ok(()) }
}

/// Removes the scheme of LDAP before a hash that has a form of its own.
fn without_scheme(text: &str) -> &str {
    let inner = text.split_once('}').filter(|(scheme, inner)| {
        (scheme.eq_ignore_ascii_case("{CRYPT") && inner.starts_with('$'))
            || (scheme.eq_ignore_ascii_case("{ARGON2") && inner.starts_with("$argon2"))
    });
    inner.map_or(text, |(_scheme, inner)| inner)
}

/// Splits a hash at the first `$` after its name, or after the scheme of LDAP.
fn split_name(text: &str) -> (&str, &str) {
    if let Some(end) = text.find('}').filter(|_| text.starts_with('{')) {
        return text.split_at(end + 1);
    }
    let start = usize::from(text.starts_with('$'));
    match text[start..].find('$') {
        Some(length) => (&text[..start + length], &text[start + length + 1..]),
        None => (text, ""),
    }
}

impl Foreign {
    /// Parses a hash.
    pub(super) fn parse(text: &str) -> Result<Self, RefusedHash> {
        check_length(text)?;
        // Django marks accounts without a password with `!`, and `/etc/shadow` locked ones with `!` or `*`.
        if text.is_empty() || text.starts_with(['!', '*']) {
            return Err(RefusedHash::Unusable);
        }
        let text = without_scheme(text);
        let (name, rest) = split_name(text);
        match name {
            "$argon2i" => Argon2Hash::parse(Algorithm::Argon2i, rest).map(Self::Argon2),
            "$argon2d" => Argon2Hash::parse(Algorithm::Argon2d, rest).map(Self::Argon2),
            "$argon2id" => Argon2Hash::parse(Algorithm::Argon2id, rest).map(Self::Argon2),
            // Django, before a PHC string without its first `$`.
            "argon2" if rest.starts_with("argon2i") || rest.starts_with("argon2d") => Self::parse(&format!("${rest}")),
            "$2a" | "$2b" | "$2y" => BcryptHash::parse(text).map(Self::Bcrypt),
            "bcrypt" => BcryptHash::parse(rest).map(Self::Bcrypt),
            "bcrypt_sha256" => BcryptHash::django_sha256(rest).map(Self::Bcrypt),
            "$bcrypt-sha256" => BcryptHash::passlib_sha256(rest).map(Self::Bcrypt),
            "$scrypt" => ScryptHash::encoded(rest).map(Self::Scrypt),
            "scrypt" => ScryptHash::django(rest).map(Self::Scrypt),
            "$firebase-scrypt" => FirebaseHash::parse(rest).map(Self::Firebase),
            "$5" | "$6" => ShaCryptHash::parse(text).map(Self::ShaCrypt),
            _ => match (pbkdf2(name, text, rest), text.strip_prefix("scrypt:")) {
                (Some(hash), _) => hash.map(Self::Pbkdf2),
                (None, Some(rest)) => ScryptHash::werkzeug(rest).map(Self::Scrypt),
                (None, None) => Err(refused::refuse(text)),
            },
        }
    }

    /// Returns the memory of one check, in KiB.
    pub(super) fn memory_kib(&self) -> u64 {
        match self {
            Self::Argon2(hash) => hash.memory_kib(),
            Self::Scrypt(hash) => hash.cost().memory_kib(),
            Self::Firebase(hash) => hash.cost().memory_kib(),
            Self::Bcrypt(_) | Self::Pbkdf2(_) | Self::ShaCrypt(_) => 0,
        }
    }

    /// Returns about how long one check takes on one core of 2020. Only the proportions matter.
    pub(super) fn nanoseconds(&self) -> u64 {
        match self {
            Self::Argon2(hash) => hash.nanoseconds(),
            Self::Bcrypt(hash) => hash.nanoseconds(),
            Self::Firebase(hash) => hash.cost().nanoseconds(),
            Self::Pbkdf2(hash) => hash.nanoseconds(),
            Self::Scrypt(hash) => hash.cost().nanoseconds(),
            Self::ShaCrypt(hash) => hash.nanoseconds(),
        }
    }

    /// Returns the id of the key that a Firebase hash needs.
    pub(super) fn firebase_key(&self) -> Option<&str> {
        match self {
            Self::Firebase(hash) => Some(hash.key()),
            _ => None,
        }
    }

    /// Returns the text of a Firebase hash with its key in it, as [`check_imported`] takes it.
    pub(super) fn text_with_key(&self, key: &FirebaseKey) -> Option<String> {
        match self {
            Self::Firebase(hash) => Some(hash.text_with_key(key)),
            _ => None,
        }
    }

    /// Returns whether a password is right. Comparisons take constant time. An error says why a hash that was parsed could
    /// not be computed. For `least_blocks` see [`Argon2Hash::verify`].
    pub(super) fn verify(
        &self,
        password: &[u8],
        key: Option<&FirebaseKey>,
        memory: &mut Memory,
        least_blocks: usize,
    ) -> Result<bool, String> {
        match self {
            Self::Argon2(hash) => hash.verify(password, memory, least_blocks),
            Self::Bcrypt(hash) => Ok(hash.verify(password)),
            Self::Firebase(hash) => hash.verify(password, key.ok_or("the Firebase key is missing")?),
            Self::Pbkdf2(hash) => Ok(hash.verify(password)),
            Self::Scrypt(hash) => hash.verify(password),
            Self::ShaCrypt(hash) => hash.verify(password),
        }
    }
}

/// Parses a PBKDF2 hash. `None`: the name is not one of those.
fn pbkdf2(name: &str, text: &str, rest: &str) -> Option<Result<Pbkdf2Hash, RefusedHash>> {
    if let Some(rest) = text.strip_prefix("pbkdf2:") {
        return Some(Pbkdf2Hash::werkzeug(rest));
    }
    if let Some(digest) = name.strip_prefix("pbkdf2_") {
        return Some(Pbkdf2Hash::django(digest, rest));
    }
    let ldap = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).map(str::to_ascii_lowercase);
    let name = ldap.as_deref().or_else(|| name.strip_prefix('$'))?;
    let digest = match name.strip_prefix("pbkdf2")? {
        "" => "sha1",
        digest => digest.strip_prefix('-')?,
    };
    Some(Pbkdf2Hash::encoded(digest, rest))
}

#[cfg(test)]
mod tests;
