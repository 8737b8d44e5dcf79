//! The ceiling of logins: plain Argon2id on the same number of threads, each of which reuses its memory.

use std::{
    thread,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::Outcome;

/// The memory of one hash, in MiB: grantd's default, which is also set explicitly here.
pub(crate) const MEMORY_MIB: u32 = 19;
/// The iterations of one hash, likewise.
pub(crate) const ITERATIONS: u32 = 2;

/// Returns the number of hashes per second.
pub(crate) fn per_second(threads: usize, window: Duration) -> Outcome<f64> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| of_one_thread(window))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread that hashed panicked")?).sum()
    })
}

fn of_one_thread(window: Duration) -> Outcome<f64> {
    let params = Params::new(MEMORY_MIB * 1024, ITERATIONS, 1, Some(32))?;
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = || {
        let mut out = [0; 32];
        argon2.hash_password_into_with_memory(b"a password", b"16 bytes of salt", &mut out, &mut memory)
    };
    // A warm-up: the first hash includes the allocation of memory.
    hash()?;
    let (began, mut hashes) = (Instant::now(), 0);
    while began.elapsed() < window {
        hash()?;
        hashes += 1;
    }
    Ok(f64::from(hashes) / began.elapsed().as_secs_f64())
}
