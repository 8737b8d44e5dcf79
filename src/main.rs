//! grantd: `grantd --help` says what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    grantd::cli::run()
}
