//! Password hashing and verification (Argon2id, RFC 9106), and the rules for new passwords, on a thread pool of its own.
//! Hashes of other systems are verified too.

mod blocklist;
mod firebase_keys;
mod foreign;
mod hash;
mod measure;
mod policy;
mod pool;
mod remembered;
mod sql;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{
    firebase_keys::FirebaseKeys,
    foreign::Foreign,
    hash::{Recipe, Stored},
    policy::{Policy, Refused},
    pool::{Hash, Memory, Pool},
};
pub(crate) use self::{
    firebase_keys::rewrap as rewrap_firebase_keys,
    measure::{OWN, measure, prefix},
    pool::Times,
    remembered::Outcome,
};
pub use self::{
    foreign::{FirebaseKey, ImportedHash, RefusedHash, check_imported},
    policy::{NewPassword, Personal},
    pool::Turn,
    remembered::{Pair, Remembered},
};
use crate::{
    config::{HashConfig, PasswordConfig},
    error::{Error, FieldError},
    ids::UserId,
    secret::{self, MasterKey, NoRandomness, Password},
    store::{Store, StoreError, Transaction},
    traces::Traces,
};

/// What is stored as the hash of a user without a password. No password matches it.
pub const NO_PASSWORD: &str = "!";

/// The result of verifying a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is wrong, or the user does not exist.
    Wrong,
    /// The password is right.
    Right,
    /// The password is right, and its hash is of another kind, or has other parameters, than those in force.
    RightButOutdated,
}

/// Hashes and verifies passwords on its own threads.
#[derive(Debug)]
pub struct Passwords {
    recipe: Recipe,
    pool: Pool,
    policy: Arc<Policy>,
    /// A dummy hash with the parameters in force, for users that do not exist.
    dummy_hash: Stored,
    concurrency: usize,
    firebase_keys: Option<FirebaseKeys>,
}

impl Passwords {
    /// Reads the blocklist, and starts the hash threads.
    pub fn start(config: &HashConfig, rules: &PasswordConfig, issuer: &str) -> Result<Self, PasswordsError> {
        let recipe = Recipe::new(config.memory_kib, config.iterations).map_err(|error| error.to_string())?;
        let dummy_hash = Stored::dummy(&recipe)?;
        let policy = Arc::new(Policy::new(rules, issuer)?);
        let pool = Pool::start(config).map_err(|error| error.to_string())?;
        let concurrency = config.threads.min(config.queue);
        Ok(Self { recipe, pool, policy, dummy_hash, concurrency, firebase_keys: None })
    }

    /// Adds the keys of imported Firebase hashes, which are in the database.
    #[must_use]
    pub fn with_firebase_keys(self, store: &Store, master_key: &MasterKey) -> Self {
        Self { firebase_keys: Some(FirebaseKeys::new(store, master_key)), ..self }
    }

    /// Adds a span for each hash of a request.
    #[must_use]
    pub fn with_traces(self, traces: &Traces) -> Self {
        Self { pool: self.pool.with_traces(traces), ..self }
    }

    /// Accepts a new password of a body or file if it is long enough. `field` has the password.
    pub fn new_password(&self, field: &'static str, text: &str) -> Result<NewPassword, FieldError> {
        self.policy.new_password(field, text)
    }

    /// Checks a new password of a user against the rules, hashes it, and returns the PHC string. A refused one costs no
    /// hash.
    pub async fn hash_new(&self, new: &NewPassword, of: Personal<'_>, turn: &Turn) -> Result<String, Error> {
        let salt: [u8; 16] = secret::random()?;
        let (recipe, needed) = (self.recipe.clone(), self.recipe.blocks());
        let hash = move |password: &Password, memory: &mut Memory, hash: &mut Hash<'_>| {
            hash.begin();
            let digest = recipe.compute(password.as_bytes(), &salt, memory.blocks(needed));
            digest.map(|digest| recipe.phc(&salt, &digest)).map_err(|error| not_computed(&error))
        };
        self.checked(new, of, turn, hash).await
    }

    /// Checks a new password of a user as [`Passwords::hash_new`] does, without a hash.
    pub async fn check_new(&self, new: &NewPassword, of: Personal<'_>, turn: &Turn) -> Result<(), Error> {
        self.checked(new, of, turn, |_, _, _| Ok(())).await
    }

    /// Checks a new password on a hash thread, and runs work with it there if it passes.
    async fn checked<T: Send + 'static>(
        &self,
        new: &NewPassword,
        of: Personal<'_>,
        turn: &Turn,
        work: impl FnOnce(&Password, &mut Memory, &mut Hash<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (NewPassword { password, field }, policy) = (new.clone(), Arc::clone(&self.policy));
        let personal = policy.personal(of);
        let job = move |memory: &mut Memory, hash: &mut Hash<'_>| {
            policy.check(password.as_str(), &personal).map_err(|refused| match refused {
                Refused::Rule(code, message) => Error::invalid(field, code, message),
                Refused::Unchecked(error) => Error::Blocklist(error),
            })?;
            work(&password, memory, hash)
        };
        self.pool.run_counting(turn, job).await?
    }

    /// Hashes a password, and returns the PHC string. No rules are checked: for a password that was verified and whose hash
    /// has other parameters than those in force.
    pub async fn hash(&self, password: &Password) -> Result<String, Error> {
        let salt: [u8; 16] = secret::random()?;
        let (password, recipe) = (password.clone(), self.recipe.clone());
        let work = move |memory: &mut Memory| {
            let digest = recipe.compute(password.as_bytes(), &salt, memory.blocks(recipe.blocks()))?;
            Ok::<_, argon2::Error>(recipe.phc(&salt, &digest))
        };
        self.pool.run(&Turn::known(), work).await?.map_err(|error| not_computed(&error))
    }

    /// Verifies a password against the stored hash of a user. `None`: the user does not exist; the cost is the same, so
    /// that the response time does not reveal it. A user without a password ([`NO_PASSWORD`]) is like one that does not
    /// exist.
    pub async fn verify(
        &self,
        password: &Password,
        user: Option<(UserId, &str)>,
        turn: &Turn,
    ) -> Result<Verdict, Error> {
        let Some((id, text)) = user.filter(|(_, text)| *text != NO_PASSWORD) else {
            self.verify_own(password, self.dummy_hash.clone(), turn).await?;
            return Ok(Verdict::Wrong);
        };
        if let Some(stored) = Stored::parse(text) {
            let is_outdated = stored.recipe != self.recipe;
            return Ok(match (self.verify_own(password, stored, turn).await?, is_outdated) {
                (false, _) => Verdict::Wrong,
                (true, false) => Verdict::Right,
                (true, true) => Verdict::RightButOutdated,
            });
        }
        // The bounds of an import again: what is in the database may have come another way.
        let foreign = Foreign::parse(text).map_err(|refused| {
            StoreError::impossible("users", &id.to_string(), &format!("the password hash is not usable: {refused}"))
        })?;
        let is_right = self.verify_foreign(password, foreign, turn).await?;
        Ok(if is_right { Verdict::RightButOutdated } else { Verdict::Wrong })
    }

    async fn verify_own(&self, password: &Password, stored: Stored, turn: &Turn) -> Result<bool, Error> {
        let (password, own) = (password.clone(), self.recipe.blocks());
        let needed = stored.recipe.blocks().max(own);
        let work = move |memory: &mut Memory| stored.verify(&password, memory.blocks(needed));
        let is_right =
            if needed > own { self.pool.run_large(turn, work).await } else { self.pool.run(turn, work).await };
        is_right?.map_err(|error| not_computed(&error))
    }

    /// Verifies a password as it was sent, and then in NFC: the other system compared bytes.
    ///
    /// If it is wrong and the hash is cheaper than Argon2id, the dummy hash is computed too. Otherwise a quick answer would
    /// tell an imported account from a user that does not exist. What remains: a wrong password of an imported account
    /// takes up to twice as long as others, or as long as its own hash where that is more expensive.
    async fn verify_foreign(&self, password: &Password, foreign: Foreign, turn: &Turn) -> Result<bool, Error> {
        let key = match foreign.firebase_key() {
            Some(id) => Some(self.firebase_keys()?.find(id).await?),
            None => None,
        };
        let (password, own) = (password.clone(), self.recipe.blocks());
        let dummy = (foreign.nanoseconds() < self.recipe.nanoseconds()).then(|| self.dummy_hash.clone());
        let is_large = foreign.memory_kib() > own as u64;
        let work = move |memory: &mut Memory| {
            for bytes in [password.as_sent(), Some(password.as_bytes())].into_iter().flatten() {
                if foreign.verify(bytes, key.as_deref(), memory, own)? {
                    return Ok(true);
                }
            }
            if let Some(dummy) = dummy {
                dummy.verify(&password, memory.blocks(own)).map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(false)
        };
        let is_right = if is_large { self.pool.run_large(turn, work).await } else { self.pool.run(turn, work).await };
        is_right?.map_err(|error| not_computed(&error))
    }

    /// Stores the key of imported Firebase hashes, unless it is stored already.
    pub async fn add_firebase_key(&self, tx: &mut Transaction, key: &FirebaseKey) -> Result<(), Error> {
        self.firebase_keys()?.add(tx, key).await
    }

    /// Returns a stored hash as another system, or [`check_imported`], can read it: a Firebase hash with its key in it, and
    /// any other unchanged. `None`: the user has no password.
    pub async fn exported(&self, stored: &str) -> Result<Option<String>, Error> {
        if stored == NO_PASSWORD {
            return Ok(None);
        }
        if let Ok(foreign) = Foreign::parse(stored)
            && let Some(id) = foreign.firebase_key()
        {
            let key = self.firebase_keys()?.find(id).await?;
            return Ok(foreign.text_with_key(&key));
        }
        Ok(Some(stored.to_owned()))
    }

    fn firebase_keys(&self) -> Result<&FirebaseKeys, Error> {
        self.firebase_keys.as_ref().ok_or_else(|| Error::Internal("there is no store of Firebase keys".to_owned()))
    }

    /// Returns the number of hashes that were computed so far.
    #[must_use]
    pub fn hashes_run(&self) -> u64 {
        self.pool.hashes_run()
    }

    /// Returns the times of the hash threads, for metrics.
    pub(crate) fn times(&self) -> &Times {
        self.pool.times()
    }

    /// Returns how many passwords can be hashed at the same time without a refusal.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Returns whether the hash queue has a place for strangers.
    #[must_use]
    pub fn has_place_for_strangers(&self) -> bool {
        self.pool.has_place_for_strangers()
    }

    /// Returns the number of passwords in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }
}

fn not_computed(error: &impl std::fmt::Display) -> Error {
    Error::Internal(format!("a password could not be hashed: {error}"))
}

/// Reads the blocklist as the start does.
pub(crate) fn check_blocklist(path: &Path) -> io::Result<()> {
    blocklist::Blocklist::open(path).map(drop)
}

/// The error if password hashing cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum PasswordsError {
    /// The hash threads cannot be started.
    #[error("passwords cannot be hashed: {0}")]
    Hash(String),
    /// The file of refused passwords cannot be used.
    #[error("GRANTD_PASSWORD_BLOCKLIST: {} cannot be used: {error}", path.display())]
    Blocklist {
        /// The path.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

impl From<String> for PasswordsError {
    fn from(problem: String) -> Self {
        Self::Hash(problem)
    }
}

impl From<NoRandomness> for PasswordsError {
    fn from(error: NoRandomness) -> Self {
        Self::Hash(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Code;

    fn passwords(memory_kib: u32) -> Passwords {
        let wait = Duration::from_secs(5);
        let hash = HashConfig { memory_kib, iterations: 1, threads: 1, queue: 2, wait };
        let rules = PasswordConfig { min_length: 8, min_strength: 2, blocklist: None };
        Passwords::start(&hash, &rules, "http://127.0.0.1:8080").unwrap()
    }

    fn password(text: &str) -> Password {
        Password::presented("password", text).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_checked_against_its_hash() {
        let passwords = passwords(8);
        let phc = passwords.hash(&password("correct horse")).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{phc}");
        assert_eq!(
            passwords.verify(&password("correct horse"), Some(([1; 16].into(), &phc)), &Turn::known()).await.unwrap(),
            Verdict::Right
        );
        assert_eq!(
            passwords.verify(&password("wrong"), Some(([1; 16].into(), &phc)), &Turn::known()).await.unwrap(),
            Verdict::Wrong
        );
        assert_eq!(passwords.verify(&password("correct horse"), None, &Turn::known()).await.unwrap(), Verdict::Wrong);
        assert_eq!(passwords.hashes_run(), 4);
    }

    #[tokio::test]
    async fn a_refused_password_costs_no_hash() {
        let (passwords, maria) = (passwords(8), "maria".parse().unwrap());
        let of = Personal { username: &maria, email: None, display_name: None };
        let refused =
            passwords.hash_new(&passwords.new_password("new_password", "trustno1").unwrap(), of, &Turn::known()).await;
        let Err(Error::Invalid(fields)) = refused else { panic!("{refused:?}") };
        assert_eq!((fields[0].field.as_str(), fields[0].code), ("new_password", Code::Common));
        assert_eq!(
            passwords.new_password("new_password", "\u{e4}\u{f6}\u{fc}\u{e4}\u{f6}\u{fc}\u{e4}").unwrap_err().code,
            Code::Length
        );
        let new = passwords.new_password("password", "correct horse").unwrap();
        passwords.check_new(&new, of, &Turn::known()).await.unwrap();
        assert_eq!(passwords.hashes_run(), 0);
        let phc = passwords.hash_new(&new, of, &Turn::known()).await.unwrap();
        assert_eq!(passwords.hashes_run(), 1);
        let verdict =
            passwords.verify(&password("correct horse"), Some(([1; 16].into(), &phc)), &Turn::known()).await.unwrap();
        assert_eq!(verdict, Verdict::Right);
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_still_counts() {
        for other in [16, 64] {
            let phc = passwords(other).hash(&password("correct horse")).await.unwrap();
            let verdict = passwords(32)
                .verify(&password("correct horse"), Some(([1; 16].into(), &phc)), &Turn::known())
                .await
                .unwrap();
            assert_eq!(verdict, Verdict::RightButOutdated);
        }
    }

    #[tokio::test]
    async fn passwords_are_compared_in_nfc() {
        let passwords = passwords(8);
        let phc = passwords.hash(&password("cafe\u{301}")).await.unwrap();
        assert_eq!(
            passwords.verify(&password("caf\u{e9}"), Some(([1; 16].into(), &phc)), &Turn::known()).await.unwrap(),
            Verdict::Right
        );
    }
}
