//! The command line.

use std::fmt;

use crate::Outcome;

const USAGE: &str = "usage: faults [--engine sqlite|postgres|forgetful] [--seconds NUMBER] [--seed NUMBER]";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
    /// The control: Postgres that forgets what it has confirmed when it is stopped. A run must find a lie, and ends with it.
    Forgetful,
}

impl Engine {
    const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::Forgetful];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Forgetful => "forgetful",
        })
    }
}

pub(crate) struct Arguments {
    pub(crate) engines: Vec<Engine>,
    /// The duration of the load, for each engine.
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
}

impl Arguments {
    pub(crate) fn parse(args: &[String]) -> Outcome<Self> {
        let mut parsed = Self { engines: Engine::ALL.to_vec(), seconds: 20, seed: seed()? };
        // `cargo bench` passes `--bench`.
        let mut rest = args.iter().map(String::as_str).filter(|arg| *arg != "--bench");
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or(USAGE)?;
            match (name, value) {
                ("--engine", "sqlite") => parsed.engines = vec![Engine::Sqlite],
                ("--engine", "postgres") => parsed.engines = vec![Engine::Postgres],
                ("--engine", "forgetful") => parsed.engines = vec![Engine::Forgetful],
                ("--seconds", number) => parsed.seconds = number.parse().map_err(|_| USAGE)?,
                ("--seed", number) => parsed.seed = number.parse().map_err(|_| USAGE)?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(parsed)
    }
}

/// Returns a random seed.
fn seed() -> Outcome<u64> {
    use std::io::Read as _;
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes).into())
}
