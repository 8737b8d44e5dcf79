//! Cost of password hashes: against current advice, and on this machine.

use std::time::Duration;

use super::{
    Check::{HashParameters, HashSpeed},
    Finding, Installation, size,
};
use crate::{config::HashConfig, passwords};

/// The least parameters of OWASP's Password Storage Cheat Sheet for Argon2id with one lane: MiB and iterations.
const OWASP: [(u32, u32); 5] = [(46, 1), (19, 2), (12, 3), (9, 4), (7, 5)];
/// What a login may take: of the values that OWASP allows, one that users do not notice.
const TARGET: Duration = Duration::from_millis(100);
/// A hash that takes longer makes logins slow.
const SLOW: Duration = Duration::from_secs(1);
/// The most memory of a hash that is recommended, in MiB.
const MOST: u64 = 256;
const LEAST: u64 = 19;

pub(super) fn check(installation: &Installation) -> Vec<Finding> {
    let Some(config) = &installation.settings.hash else { return Vec::new() };
    vec![parameters(config), speed(config)]
}

fn shown(config: &HashConfig) -> String {
    let iterations = if config.iterations == 1 { "iteration" } else { "iterations" };
    format!("Argon2id, {}, {} {iterations}", size(u64::from(config.memory_kib) << 10), config.iterations)
}

fn parameters(config: &HashConfig) -> Finding {
    let suffices = |(mib, iterations): &(u32, u32)| config.memory_kib >= mib << 10 && config.iterations >= *iterations;
    if OWASP.iter().any(suffices) {
        return Finding::ok(HashParameters, shown(config), "at least what OWASP recommends");
    }
    let message = "less than what OWASP recommends: who gets a copy of the database guesses passwords faster";
    let remedy =
        "Set GRANTD_HASH_MEMORY=19MiB and GRANTD_HASH_ITERATIONS=2 or more; each hash is renewed at the next login";
    Finding::failure(HashParameters, shown(config), message, remedy)
}

fn speed(config: &HashConfig) -> Finding {
    let taken = match passwords::measure(config) {
        Ok(taken) => taken,
        Err(problem) => {
            let message = format!("a hash cannot be computed: {problem}. Nobody can log in");
            return Finding::failure(HashSpeed, shown(config), message, "Lower GRANTD_HASH_MEMORY");
        }
    };
    let recommended = recommended(config, taken);
    let message = format!(
        "{} ms on this machine, so about {} logins a second on {} threads",
        taken.as_millis().max(1),
        per_second(config.threads, taken),
        config.threads
    );
    let remedy = format!("GRANTD_HASH_MEMORY={recommended}MiB takes about {} ms here", TARGET.as_millis());
    if taken > SLOW {
        let message = format!("{message}: logins are slow, and few callers at once are refused with 503");
        return Finding::warning(HashSpeed, shown(config), message, remedy);
    }
    Finding::ok(HashSpeed, shown(config), message).with_advice(remedy)
}

fn per_second(threads: usize, taken: Duration) -> u128 {
    threads as u128 * 1_000_000 / taken.as_micros().max(1)
}

/// Returns the memory with which a hash takes [`TARGET`], in MiB: the time grows with it.
fn recommended(config: &HashConfig, taken: Duration) -> u64 {
    let memory = u128::from(config.memory_kib) * TARGET.as_micros() / taken.as_micros().max(1) / 1024;
    u64::try_from(memory).unwrap_or(MOST).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(mib: u32, iterations: u32) -> HashConfig {
        HashConfig { memory_kib: mib << 10, iterations, threads: 2, queue: 64, wait: Duration::from_secs(5) }
    }

    #[test]
    fn the_default_and_its_equivalents_suffice() {
        let severity = |mib, iterations| parameters(&config(mib, iterations)).severity.as_str();
        assert!(
            [(19, 2), (46, 1), (7, 5), (64, 3)].iter().all(|(mib, iterations)| severity(*mib, *iterations) == "ok")
        );
        assert!(
            [(19, 1), (18, 2), (6, 5), (1, 100)]
                .iter()
                .all(|(mib, iterations)| severity(*mib, *iterations) == "failure")
        );
    }

    #[test]
    fn the_recommended_memory_is_proportional_to_the_time() {
        assert_eq!(recommended(&config(19, 2), Duration::from_millis(25)), 76);
        assert_eq!(recommended(&config(19, 2), Duration::from_millis(1)), MOST);
        assert_eq!(recommended(&config(64, 2), Duration::from_secs(2)), LEAST);
        assert_eq!(per_second(2, Duration::from_millis(20)), 100);
    }
}
