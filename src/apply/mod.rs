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
