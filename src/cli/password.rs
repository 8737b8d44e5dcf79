//! Passwords of commands: from a prompt or from standard input, never from an argument, which others on the machine see.

use std::{
    error::Error,
    io::{self, IsTerminal as _, Read as _},
};

use secrecy::{ExposeSecret, SecretString};

use crate::passwords::{NewPassword, Passwords};

/// Where a command takes a new password from.
#[derive(clap::Args)]
pub(super) struct PasswordArgs {
    /// Read the password from standard input (to its end; one line end there is not part of it)
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordArgs {
    /// The current password of this user.
    pub(super) fn read_current(&self, whose: &str) -> Result<SecretString, Box<dyn Error>> {
        if self.password_stdin {
            return from_input();
        }
        terminal_is_there()?;
        Ok(rpassword::prompt_password(format!("Password of {whose}: "))?.into())
    }

    /// A new password.
    pub(super) fn read(&self, passwords: &Passwords) -> Result<NewPassword, Box<dyn Error>> {
        let text = if self.password_stdin { from_input()? } else { from_prompt()? };
        Ok(passwords.new_password("password", text.expose_secret())?)
    }
}

fn from_input() -> Result<SecretString, Box<dyn Error>> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(text.into())
}

fn terminal_is_there() -> Result<(), clap::Error> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    Err(super::wrong_usage("there is no terminal to ask for the password: use --password-stdin"))
}

fn from_prompt() -> Result<SecretString, Box<dyn Error>> {
    terminal_is_there()?;
    let once = SecretString::from(rpassword::prompt_password("New password: ")?);
    let again = SecretString::from(rpassword::prompt_password("Repeat the password: ")?);
    if once.expose_secret() == again.expose_secret() { Ok(once) } else { Err("the passwords do not match".into()) }
}
