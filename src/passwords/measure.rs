//! What an audit wants to know about password hashes: which have the parameters in force, and how long one takes.

use std::time::{Duration, Instant};

use super::{hash::Recipe, pool::Memory};
use crate::config::HashConfig;

/// The number of hashes that are measured, after one that allocates the memory.
const ROUNDS: usize = 3;
/// A hash that takes longer is measured once.
const LONG: Duration = Duration::from_secs(1);

/// What each hash that this server made begins with.
pub(crate) const OWN: &str = "$argon2id$v=19$m=";

/// Returns what the hashes with the parameters in force begin with.
pub(crate) fn prefix(config: &HashConfig) -> String {
    format!("{OWN}{},t={},p=1$", config.memory_kib, config.iterations)
}

/// Measures a hash with the parameters in force on this thread, and returns the shortest of three times.
pub(crate) fn measure(config: &HashConfig) -> Result<Duration, String> {
    let recipe = Recipe::new(config.memory_kib, config.iterations).map_err(|error| error.to_string())?;
    let mut memory = Memory::default();
    let mut shortest = Duration::MAX;
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let hashed = recipe.compute(b"a password", &[0; 16], memory.blocks(recipe.blocks()));
        hashed.map_err(|error| error.to_string())?;
        let taken = start.elapsed();
        if taken > LONG {
            return Ok(taken);
        }
        if round > 0 {
            shortest = shortest.min(taken);
        }
    }
    Ok(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_that_of_the_hashes() {
        let config = HashConfig { memory_kib: 8, iterations: 1, threads: 1, queue: 1, wait: Duration::from_secs(1) };
        let phc = Recipe::new(8, 1).unwrap().phc(&[1; 16], &[2; 32]);
        assert!(phc.starts_with(&prefix(&config)) && phc.starts_with(OWN), "{phc}");
        assert!(measure(&config).unwrap() < Duration::MAX);
    }
}
