//! The file `.env` in the working directory.

use std::{collections::BTreeSet, fmt};

/// Which variables came from `.env`; what the environment had already was left alone.
#[derive(Clone, Debug, Default)]
pub struct DotEnv(BTreeSet<String>);

/// `.env` is there and can't be read.
#[derive(Debug)]
pub struct DotEnvError(dotenvy::Error);

impl fmt::Display for DotEnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            // The line may hold a secret: only its number's worth of help is shown.
            dotenvy::Error::LineParse(_, at) => write!(f, ".env: a line cannot be read, at its character {at}"),
            error => write!(f, ".env: {error}"),
        }
    }
}

impl std::error::Error for DotEnvError {}

impl DotEnv {
    /// Puts the file's variables into the process's environment. To be called before any thread is started.
    pub fn load() -> Result<Self, DotEnvError> {
        let path = std::path::Path::new(".env");
        if !path.exists() {
            return Ok(Self::default());
        }
        let names: Result<Vec<String>, _> =
            dotenvy::from_path_iter(path).map_err(DotEnvError)?.map(|entry| entry.map(|(name, _)| name)).collect();
        let names = names.map_err(DotEnvError)?;
        let new = names.into_iter().filter(|name| std::env::var_os(name).is_none()).collect();
        dotenvy::from_path(path).map_err(DotEnvError)?;
        Ok(Self(new))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}
