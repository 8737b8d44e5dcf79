//! scrypt (RFC 7914).

use aws_lc_rs::constant_time;
use scrypt::Params;

use super::{
    RefusedHash,
    text::{base64, bounded, check_lengths, fields, hex, number, parameters},
};

const MALFORMED: RefusedHash = RefusedHash::Malformed("scrypt");
const MOST_LOG_N: u64 = 17;
const MOST_N: u64 = 1 << MOST_LOG_N;
const MOST_R: u64 = 8;
const MOST_P: u64 = 10;

/// The parameters N, r and p, within their bounds.
#[derive(Debug)]
pub(super) struct Cost {
    log_n: u8,
    r: u32,
    p: u32,
    params: Params,
}

/// A scrypt hash.
#[derive(Debug)]
pub(crate) struct ScryptHash {
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Cost {
    /// `n`: a power of two.
    fn new(n: u64, r: u64, p: u64) -> Result<Self, RefusedHash> {
        let n = bounded("the cost N of scrypt", n, 2..=MOST_N)?;
        if !n.is_power_of_two() {
            return Err(MALFORMED);
        }
        let r = bounded("the block size r of scrypt", r, 1..=MOST_R)?;
        let p = bounded("the parallelism p of scrypt", p, 1..=MOST_P)?;
        let log_n = u8::try_from(n.ilog2()).map_err(|_| MALFORMED)?;
        let params = Params::new(log_n, r, p).map_err(|_| MALFORMED)?;
        Ok(Self { log_n, r, p, params })
    }

    /// `log_n`: the logarithm of N to base 2.
    pub(super) fn of_logarithm(log_n: u64, r: u64, p: u64) -> Result<Self, RefusedHash> {
        let log_n = bounded("the logarithm of the cost N of scrypt", log_n, 1..=MOST_LOG_N)?;
        Self::new(1 << log_n, r, p)
    }

    pub(super) fn log_n(&self) -> u8 {
        self.log_n
    }

    pub(super) fn r(&self) -> u32 {
        self.r
    }

    pub(super) fn p(&self) -> u32 {
        self.p
    }

    /// The crate computes the `p` parts one after the other, in the same memory.
    pub(super) fn memory_kib(&self) -> u64 {
        (128 * u64::from(self.r) * ((1 << self.log_n) + u64::from(self.p) + 1)).div_ceil(1024)
    }

    pub(super) fn nanoseconds(&self) -> u64 {
        300 * (1 << self.log_n) * u64::from(self.r) * u64::from(self.p)
    }

    pub(super) fn derive(&self, password: &[u8], salt: &[u8], key: &mut [u8]) -> Result<(), String> {
        scrypt::scrypt(password, salt, &self.params, key).map_err(|error| error.to_string())
    }
}

impl ScryptHash {
    /// Parses what Django writes after `scrypt$`: `N$SALT$r$p$HASH`, the salt as it stands.
    pub(super) fn django(rest: &str) -> Result<Self, RefusedHash> {
        let [n, salt, r, p, hash] = fields(rest).ok_or(MALFORMED)?;
        let (Some(n), Some(r), Some(p)) = (number(n), number(r), number(p)) else { return Err(MALFORMED) };
        Self::checked(Cost::new(n, r, p)?, Some(salt.as_bytes().to_vec()), base64(hash))
    }

    /// Parses what Werkzeug writes after `scrypt:`: `N:r:p$SALT$HASH`, the salt as it stands, the hash in hexadecimal
    /// digits.
    pub(super) fn werkzeug(rest: &str) -> Result<Self, RefusedHash> {
        let [cost, salt, hash] = fields(rest).ok_or(MALFORMED)?;
        let [n, r, p] = cost.split(':').map(number).collect::<Vec<_>>()[..] else { return Err(MALFORMED) };
        let (Some(n), Some(r), Some(p)) = (n, r, p) else { return Err(MALFORMED) };
        Self::checked(Cost::new(n, r, p)?, Some(salt.as_bytes().to_vec()), hex(hash))
    }

    /// Parses what passlib and Kratos write after `$scrypt$`: `ln=16,r=8,p=1$SALT$HASH`, in base64.
    pub(super) fn encoded(rest: &str) -> Result<Self, RefusedHash> {
        let [cost, salt, hash] = fields(rest).ok_or(MALFORMED)?;
        let [ln, r, p] = parameters(cost, ["ln", "r", "p"]).ok_or(MALFORMED)?;
        // Kratos writes N itself where the others write its logarithm.
        let cost = if ln < 1024 { Cost::of_logarithm(ln, r, p) } else { Cost::new(ln, r, p) };
        Self::checked(cost?, base64(salt), base64(hash))
    }

    fn checked(cost: Cost, salt: Option<Vec<u8>>, hash: Option<Vec<u8>>) -> Result<Self, RefusedHash> {
        let (Some(salt), Some(hash)) = (salt, hash) else { return Err(MALFORMED) };
        check_lengths(&salt, &hash)?;
        Ok(Self { cost, salt, hash })
    }

    pub(super) fn cost(&self) -> &Cost {
        &self.cost
    }

    pub(super) fn verify(&self, password: &[u8]) -> Result<bool, String> {
        let mut hash = vec![0; self.hash.len()];
        self.cost.derive(password, &self.salt, &mut hash)?;
        Ok(constant_time::verify_slices_are_equal(&hash, &self.hash).is_ok())
    }
}
