//! Asks before a command destroys something.

use std::io::{self, IsTerminal as _, Write as _};

use super::Outcome;

/// The answer to the question, given in advance.
#[derive(clap::Args)]
pub(super) struct Confirmation {
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

impl Confirmation {
    /// Asks on the terminal for confirmation. Fails if it is refused, and without a terminal.
    pub(super) fn ask(&self, consequences: &str) -> Outcome {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(format!("{consequences} Confirm with --yes: standard input is not a terminal").into());
        }
        eprint!("{consequences} Continue? [y/N] ");
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        let is_yes = ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes));
        if is_yes { Ok(()) } else { Err("canceled, nothing was changed".into()) }
    }
}

/// `, ends 2 sessions`, or nothing without sessions.
pub(super) fn ends(sessions: i64) -> String {
    if sessions == 0 { String::new() } else { format!(", ends {}", count(sessions, "session")) }
}

/// ` and ended 2 sessions`, or nothing without sessions.
pub(super) fn and_ended(sessions: i64) -> String {
    if sessions == 0 { String::new() } else { format!(" and ended {}", count(sessions, "session")) }
}

/// `no sessions`, `1 session`, `2 sessions`.
pub(super) fn count(number: impl Copy + ToString, noun: &str) -> String {
    match number.to_string().as_str() {
        "0" => format!("no {noun}s"),
        "1" => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}
