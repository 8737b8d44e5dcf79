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
/// The default, which is recommended where the iterations in force leave too little time for memory.
const ITERATIONS: u32 = 2;

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
    let message = format!(
        "{} ms on this machine, so about {} logins a second on {} threads",
        taken.as_millis().max(1),
        per_second(config.threads, taken),
        config.threads
    );
    let remedy = Recommended::new(config, taken).text(config);
    if taken > SLOW {
        let message = format!("{message}: logins are slow, and few callers at once are refused with 503");
        return Finding::warning(HashSpeed, shown(config), message, remedy);
    }
    Finding::ok(HashSpeed, shown(config), message).with_advice(remedy)
}

fn per_second(threads: usize, taken: Duration) -> u128 {
    threads as u128 * 1_000_000 / taken.as_micros().max(1)
}

/// Parameters with which a hash takes about [`TARGET`] on this machine, or the least that are allowed.
#[derive(Debug, PartialEq)]
struct Recommended {
    mib: u64,
    iterations: u32,
    takes: Duration,
}

impl Recommended {
    /// The time is proportional to memory and iterations.
    fn new(config: &HashConfig, taken: Duration) -> Self {
        let cost = u128::from(config.memory_kib) * u128::from(config.iterations);
        let affordable = |iterations: u32| {
            let kib = cost * TARGET.as_micros() / taken.as_micros().max(1) / u128::from(iterations.max(1));
            u64::try_from(kib / 1024).unwrap_or(MOST)
        };
        let in_force = config.iterations;
        let suffice = affordable(in_force) >= least(in_force);
        let iterations = if suffice { in_force } else { in_force.min(ITERATIONS) };
        let mib = affordable(iterations).clamp(least(iterations), MOST);
        let micros = taken.as_micros() * u128::from(mib) * 1024 * u128::from(iterations) / cost.max(1);
        Self { mib, iterations, takes: Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)) }
    }

    fn text(&self, config: &HashConfig) -> String {
        let Self { mib, iterations, takes } = self;
        let takes = takes.as_millis().max(1);
        if *iterations != config.iterations {
            return format!(
                "GRANTD_HASH_ITERATIONS={iterations} and GRANTD_HASH_MEMORY={mib}MiB take about {takes} ms here"
            );
        }
        if u64::from(config.memory_kib) <= mib << 10 && takes > TARGET.as_millis() {
            return "Use a faster machine: OWASP recommends no less".to_owned();
        }
        format!("GRANTD_HASH_MEMORY={mib}MiB takes about {takes} ms here")
    }
}

/// Returns the least memory with these iterations, in MiB.
fn least(iterations: u32) -> u64 {
    let row = OWASP.iter().rfind(|(_, of)| *of <= iterations);
    row.map_or(MOST, |(mib, _)| u64::from(*mib))
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
    fn the_recommended_parameters_take_100_ms_and_are_at_least_those_of_owasp() {
        let found = |mib, iterations, millis| {
            let config = config(mib, iterations);
            let found = Recommended::new(&config, Duration::from_millis(millis));
            (found.mib, found.iterations, found.takes.as_millis(), found.text(&config))
        };
        let of_memory = |mib, takes| format!("GRANTD_HASH_MEMORY={mib}MiB takes about {takes} ms here");
        assert_eq!(found(19, 2, 25), (76, 2, 100, of_memory(76, 100)));
        assert_eq!(found(19, 2, 1), (MOST, 2, 13, of_memory(MOST, 13)));
        assert_eq!(found(64, 2, 2000), (19, 2, 593, of_memory(19, 593)));
        assert_eq!(found(64, 1, 200), (46, 1, 143, of_memory(46, 143)));
        assert_eq!(found(12, 3, 100), (12, 3, 100, of_memory(12, 100)));
        let fewer = "GRANTD_HASH_ITERATIONS=2 and GRANTD_HASH_MEMORY=76MiB take about 100 ms here";
        assert_eq!(found(19, 100, 1250), (76, 2, 100, fewer.to_owned()));
        assert_eq!(found(19, 2, 2000).3, "Use a faster machine: OWASP recommends no less");
        assert_eq!(per_second(2, Duration::from_millis(20)), 100);
    }

    #[test]
    fn the_least_memory_is_that_of_owasp_for_the_iterations() {
        assert_eq!([1, 2, 3, 4, 5, 100].map(least), [46, 19, 12, 9, 7, 7]);
    }
}
