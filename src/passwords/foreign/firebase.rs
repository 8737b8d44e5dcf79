//! The scrypt of Firebase Authentication: the key from the password encrypts a signer key, which all users of a project
//! share. It is a secret, and stored once and sealed; the hashes name it.

use aws_lc_rs::{
    cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey},
    constant_time, digest,
    iv::FixedLength,
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret as _, SecretBox};

use super::{
    RefusedHash,
    scrypt::Cost,
    text::{base64, bounded, check_lengths, fields, parameters},
};

const MALFORMED: RefusedHash = RefusedHash::Malformed("Firebase scrypt");
/// What grantd's own form begins with: `$firebase-scrypt$ln=14,r=8,p=1$KEY$SALT$HASH`.
const OWN: &str = "$firebase-scrypt";
const ID_BYTES: usize = 12;

/// The signer key and the salt separator of a Firebase project.
#[derive(Debug)]
pub struct FirebaseKey {
    signer_key: SecretBox<Vec<u8>>,
    salt_separator: Vec<u8>,
}

/// A hash of Firebase.
#[derive(Debug)]
pub(crate) struct FirebaseHash {
    cost: Cost,
    /// The id of the [`FirebaseKey`].
    key: String,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl FirebaseKey {
    fn new(signer_key: Vec<u8>, salt_separator: Vec<u8>) -> Result<Self, RefusedHash> {
        bounded("the length of the Firebase signer key in bytes", signer_key.len() as u64, 16..=128)?;
        bounded("the length of the Firebase salt separator in bytes", salt_separator.len() as u64, 0..=16)?;
        Ok(Self { signer_key: SecretBox::new(Box::new(signer_key)), salt_separator })
    }

    /// Returns the id by which hashes name the key: the start of a SHA-256, so that the same key has the same id in each
    /// import.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = digest::digest(&digest::SHA256, self.to_bytes().expose_secret());
        BASE64_URL_SAFE_NO_PAD.encode(&digest.as_ref()[..ID_BYTES])
    }

    /// Returns the bytes to seal: the length of the separator, the separator, the signer key.
    pub(in crate::passwords) fn to_bytes(&self) -> SecretBox<Vec<u8>> {
        // `new` allows 16 bytes.
        let length = u8::try_from(self.salt_separator.len()).unwrap_or(u8::MAX);
        SecretBox::new(Box::new([&[length], &self.salt_separator[..], self.signer_key.expose_secret()].concat()))
    }

    /// Parses the bytes of [`FirebaseKey::to_bytes`].
    pub(in crate::passwords) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first()?;
        let (separator, signer_key) = rest.split_at_checked((*length).into())?;
        Self::new(signer_key.to_vec(), separator.to_vec()).ok()
    }
}

impl FirebaseHash {
    /// Parses what follows `$firebase-scrypt$`.
    pub(super) fn parse(rest: &str) -> Result<Self, RefusedHash> {
        let [cost, key, salt, hash] = fields(rest).ok_or(MALFORMED)?;
        let [ln, r, p] = parameters(cost, ["ln", "r", "p"]).ok_or(MALFORMED)?;
        if BASE64_URL_SAFE_NO_PAD.decode(key).is_ok_and(|id| id.len() == ID_BYTES) {
            Self::new(Cost::of_logarithm(ln, r, p)?, key.to_owned(), salt, hash)
        } else {
            Err(MALFORMED)
        }
    }

    /// Parses a hash with its keys, in the form of Kratos (`$firescrypt$ln=14,r=8,p=1$SALT$HASH$SEPARATOR$SIGNER_KEY`) or
    /// of Supabase (`$fbscrypt$v=1,n=14,r=8,p=1,ss=SEPARATOR,sk=SIGNER_KEY$SALT$HASH`). `None`: the text has neither.
    pub(super) fn parse_with_key(text: &str) -> Option<Result<(Self, FirebaseKey), RefusedHash>> {
        match (text.strip_prefix("$firescrypt$"), text.strip_prefix("$fbscrypt$")) {
            (Some(rest), _) => Some(Self::kratos(rest)),
            (_, Some(rest)) => Some(Self::supabase(rest)),
            _ => None,
        }
    }

    fn kratos(rest: &str) -> Result<(Self, FirebaseKey), RefusedHash> {
        let [cost, salt, hash, separator, signer_key] = fields(rest).ok_or(MALFORMED)?;
        let [ln, r, p] = parameters(cost, ["ln", "r", "p"]).ok_or(MALFORMED)?;
        Self::with_key([ln, r, p], salt, hash, separator, signer_key)
    }

    fn supabase(rest: &str) -> Result<(Self, FirebaseKey), RefusedHash> {
        let [parameters_and_keys, salt, hash] = fields(rest).ok_or(MALFORMED)?;
        let (cost, keys) = parameters_and_keys.split_once(",ss=").ok_or(MALFORMED)?;
        let (separator, signer_key) = keys.split_once(",sk=").ok_or(MALFORMED)?;
        let [1, n, r, p] = parameters(cost, ["v", "n", "r", "p"]).ok_or(MALFORMED)? else { return Err(MALFORMED) };
        Self::with_key([n, r, p], salt, hash, separator, signer_key)
    }

    fn with_key(
        [ln, r, p]: [u64; 3],
        salt: &str,
        hash: &str,
        separator: &str,
        signer_key: &str,
    ) -> Result<(Self, FirebaseKey), RefusedHash> {
        let key = FirebaseKey::new(base64(signer_key).ok_or(MALFORMED)?, base64(separator).ok_or(MALFORMED)?)?;
        let hash = Self::new(Cost::of_logarithm(ln, r, p)?, key.id(), salt, hash)?;
        if hash.hash.len() != key.signer_key.expose_secret().len() {
            return Err(MALFORMED);
        }
        Ok((hash, key))
    }

    fn new(cost: Cost, key: String, salt: &str, hash: &str) -> Result<Self, RefusedHash> {
        let (salt, hash) = (base64(salt).ok_or(MALFORMED)?, base64(hash).ok_or(MALFORMED)?);
        check_lengths(&salt, &hash)?;
        Ok(Self { cost, key, salt, hash })
    }

    /// Returns the text to store.
    pub(super) fn text(&self) -> String {
        let (cost, salt, hash) = self.encoded();
        format!("{OWN}${cost}${}${salt}${hash}", self.key)
    }

    /// Returns the text with the keys in it, in the form of Kratos.
    pub(super) fn text_with_key(&self, key: &FirebaseKey) -> String {
        let (cost, salt, hash) = self.encoded();
        let [separator, signer_key] =
            [&key.salt_separator, key.signer_key.expose_secret()].map(|bytes| BASE64_STANDARD.encode(bytes));
        format!("$firescrypt${cost}${salt}${hash}${separator}${signer_key}")
    }

    fn encoded(&self) -> (String, String, String) {
        let cost = format!("ln={},r={},p={}", self.cost.log_n(), self.cost.r(), self.cost.p());
        (cost, BASE64_STANDARD.encode(&self.salt), BASE64_STANDARD.encode(&self.hash))
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn cost(&self) -> &Cost {
        &self.cost
    }

    pub(super) fn verify(&self, password: &[u8], key: &FirebaseKey) -> Result<bool, String> {
        let mut derived = [0; 32];
        self.cost.derive(password, &[&self.salt[..], &key.salt_separator].concat(), &mut derived)?;
        let mut encrypted = key.signer_key.expose_secret().clone();
        // AES-256 in counter mode from zero. Encrypting and decrypting are the same in it, and only the latter takes a
        // counter.
        let cipher = UnboundCipherKey::new(&AES_256, &derived).and_then(DecryptingKey::ctr);
        let from_zero = DecryptionContext::Iv128(FixedLength::from([0; 16]));
        let done = cipher.and_then(|cipher| cipher.decrypt(&mut encrypted, from_zero).map(|_| ()));
        done.map_err(|_| "AES-256-CTR failed".to_owned())?;
        Ok(constant_time::verify_slices_are_equal(&encrypted, &self.hash).is_ok())
    }
}
