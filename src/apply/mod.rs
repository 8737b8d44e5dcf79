//! Set-up files: the desired state of scopes, roles, clients and users, which is applied in one transaction; and the
//! export.

mod desired;
mod diff;
mod error;
mod export;
mod file;
mod run;

pub use self::{
    desired::{DesiredState, Options},
    diff::{Action, Change},
    error::ApplyError,
    export::export,
    run::{Prepared, prepare},
};

/// Parses a set-up file, and one that has its entries again.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz(text: &str) {
    match file::SetupFile::parse(text) {
        Ok(parsed) => {
            // What `grantd export` writes is a set-up file.
            let written = toml::to_string(&parsed).unwrap_or_default();
            assert!(file::SetupFile::parse(&written).is_ok(), "{written}");
        }
        Err(problems) => assert!(!problems.is_empty()),
    }
}
