//! Password hashing and verification (Argon2id, RFC 9106), on a thread pool of its own.

mod hash;
mod pool;

pub use self::hash::UnusableHash;
use self::{hash::Recipe, pool::Pool};
use crate::{
    config::HashConfig,
    error::Error,
    ids::UserId,
    secret::{self, NoRandomness, Password},
    store::StoreError,
};

/// The result of verifying a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is wrong, or the user does not exist.
    Wrong,
    /// The password is right.
    Right,
    /// The password is right, and its hash has other parameters than those in force.
    RightButOutdated,
}

/// Hashes and verifies passwords on its own threads.
#[derive(Debug)]
pub struct Passwords {
    recipe: Recipe,
    pool: Pool,
    /// A dummy hash with the parameters in force, for users that do not exist.
    dummy_hash: String,
    concurrency: usize,
}

impl Passwords {
    /// Starts the hash threads.
    pub fn start(config: &HashConfig) -> Result<Self, PasswordsError> {
        let recipe = Recipe::new(config.memory_kib, config.iterations).map_err(|error| error.to_string())?;
        let dummy_hash = recipe.phc(&secret::random::<16>()?, &secret::random::<32>()?);
        let pool = Pool::start(config).map_err(|error| error.to_string())?;
        Ok(Self { recipe, pool, dummy_hash, concurrency: config.threads.min(config.queue) })
    }

    /// Hashes a new password, and returns the PHC string.
    pub async fn hash(&self, password: &Password) -> Result<String, Error> {
        let salt: [u8; 16] = secret::random()?;
        let digest = self.pool.run(password.clone(), salt.to_vec(), self.recipe.clone()).await?;
        Ok(self.recipe.phc(&salt, &digest))
    }

    /// Verifies a password against the PHC string of a user. `None`: the user does not exist; the cost is the same, so
    /// that the response time does not reveal it.
    pub async fn verify(&self, password: &Password, user: Option<(UserId, &str)>) -> Result<Verdict, Error> {
        let phc = user.map(|(_, phc)| phc);
        let stored = hash::Stored::parse(phc.unwrap_or(&self.dummy_hash)).map_err(|UnusableHash| {
            let id = user.map(|(id, _)| id.to_string()).unwrap_or_default();
            StoreError::impossible("users", &id, "the password hash is not usable")
        })?;
        let digest = self.pool.run(password.clone(), stored.salt, stored.recipe.clone()).await?;
        // Compared in constant time, and computed for unknown users too: the response time must not reveal which users
        // exist.
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(&digest, &stored.digest).is_ok();
        Ok(match (same && phc.is_some(), stored.recipe == self.recipe) {
            (false, _) => Verdict::Wrong,
            (true, true) => Verdict::Right,
            (true, false) => Verdict::RightButOutdated,
        })
    }

    /// Returns the number of hashes that were computed so far.
    #[must_use]
    pub fn hashes_run(&self) -> u64 {
        self.pool.hashes_run()
    }

    /// Returns how many passwords can be hashed at the same time without a refusal.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Returns the number of passwords in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }
}

/// The error if password hashing cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("passwords cannot be hashed: {0}")]
pub struct PasswordsError(String);

impl From<String> for PasswordsError {
    fn from(problem: String) -> Self {
        Self(problem)
    }
}

impl From<NoRandomness> for PasswordsError {
    fn from(error: NoRandomness) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn passwords(memory_kib: u32) -> Passwords {
        let wait = Duration::from_secs(5);
        Passwords::start(&HashConfig { memory_kib, iterations: 1, threads: 1, queue: 2, wait }).unwrap()
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
            passwords.verify(&password("correct horse"), Some(([1; 16].into(), &phc))).await.unwrap(),
            Verdict::Right
        );
        assert_eq!(passwords.verify(&password("wrong"), Some(([1; 16].into(), &phc))).await.unwrap(), Verdict::Wrong);
        assert_eq!(passwords.verify(&password("correct horse"), None).await.unwrap(), Verdict::Wrong);
        assert_eq!(passwords.hashes_run(), 4);
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_still_counts() {
        for other in [16, 64] {
            let phc = passwords(other).hash(&password("correct horse")).await.unwrap();
            let verdict = passwords(32).verify(&password("correct horse"), Some(([1; 16].into(), &phc))).await.unwrap();
            assert_eq!(verdict, Verdict::RightButOutdated);
        }
    }

    #[tokio::test]
    async fn passwords_are_compared_in_nfc() {
        let passwords = passwords(8);
        let phc = passwords.hash(&password("cafe\u{301}")).await.unwrap();
        assert_eq!(
            passwords.verify(&password("caf\u{e9}"), Some(([1; 16].into(), &phc))).await.unwrap(),
            Verdict::Right
        );
    }
}
