//! Cost and queue of password hashes.

use std::time::Duration;

use clap::Args;

use super::check::{Check, parse};

#[derive(Args, Clone)]
#[command(next_help_heading = "Password hashing")]
#[expect(clippy::struct_field_names, reason = "clap makes the flags of the names")]
pub(super) struct HashSettings {
    /// Memory per password hash (Argon2id)
    #[arg(long, env = "GRANTD_HASH_MEMORY", value_name = "SIZE", default_value = "19MiB")]
    hash_memory: String,
    /// Iterations per password hash
    #[arg(long, env = "GRANTD_HASH_ITERATIONS", value_name = "NUMBER", default_value = "2")]
    hash_iterations: String,
    /// Number of hashing threads
    ///
    /// When not set, one per core. Each thread has its own memory.
    #[arg(long, env = "GRANTD_HASH_THREADS", value_name = "NUMBER")]
    hash_threads: Option<String>,
    /// Maximum length of the queue; further requests get 503
    #[arg(long, env = "GRANTD_HASH_QUEUE", value_name = "NUMBER", default_value = "64")]
    hash_queue: String,
    /// Maximum time in the queue; then a request gets 503
    #[arg(long, env = "GRANTD_HASH_WAIT", value_name = "DURATION", default_value = "5s")]
    hash_wait: String,
}

/// Cost and queue of password hashes.
#[derive(Clone, Debug)]
pub struct HashConfig {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Iterations over that memory.
    pub iterations: u32,
    /// Number of threads.
    pub threads: usize,
    /// Capacity of the queue.
    pub queue: usize,
    /// Maximum time in the queue.
    pub wait: Duration,
}

impl HashSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<HashConfig> {
        let memory = check.value("GRANTD_HASH_MEMORY", &self.hash_memory, |text| {
            let kib = u32::try_from(parse::size(text)? / 1024).ok().filter(|kib| (8..=4 << 20).contains(kib));
            kib.ok_or_else(|| "allowed is 8KiB to 4GiB; OWASP recommends at least 19MiB".to_owned())
        });
        let iterations = check.value("GRANTD_HASH_ITERATIONS", &self.hash_iterations, |n| parse::number(n, 1, 1000));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = check.optional("GRANTD_HASH_THREADS", self.hash_threads.as_ref(), |n| parse::number(n, 1, 1024));
        let queue = check.value("GRANTD_HASH_QUEUE", &self.hash_queue, |n| parse::number(n, 1, 1_000_000));
        let wait = check.value("GRANTD_HASH_WAIT", &self.hash_wait, parse::duration);
        Some(HashConfig {
            memory_kib: memory?,
            iterations: iterations?,
            threads: threads?.map_or(cores, |n| n as usize),
            queue: queue? as usize,
            wait: wait?,
        })
    }
}
