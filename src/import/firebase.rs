//! Firebase: `auth:export` as JSON or CSV. The parameters of the hashes belong to the project, and are not in the file.

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Found, Record, Wrong,
    fields::Fields,
    source::Input,
    stream::{self, Each, FileError},
};

/// The parameters of a project's hashes, which its console shows.
#[derive(Debug)]
pub struct FirebaseParameters {
    /// The signer key, in base64.
    pub signer_key: SecretString,
    /// The salt separator, in base64.
    pub salt_separator: String,
    /// Rounds.
    pub rounds: u32,
    /// Memory cost.
    pub mem_cost: u32,
}

/// The columns of the CSV file, which has no first line with their names. Those of other providers are not used.
const COLUMNS: [&str; 28] = [
    "localId",
    "email",
    "emailVerified",
    "passwordHash",
    "salt",
    "displayName",
    "photoUrl",
    "6",
    "7",
    "8",
    "9",
    "10",
    "11",
    "12",
    "13",
    "14",
    "15",
    "16",
    "17",
    "18",
    "19",
    "20",
    "21",
    "createdAt",
    "lastSignedInAt",
    "phoneNumber",
    "disabled",
    "customAttributes",
];

pub(super) fn read(mut input: Input, each: Each) -> Result<(), FileError> {
    match stream::first_byte(&mut input)? {
        Some(b'{') => stream::member(input, "users", each),
        _ => stream::table(input, Some(&COLUMNS), &|_| Ok(()), each),
    }
}

pub(super) fn record(fields: Fields, parameters: Option<&FirebaseParameters>) -> Result<Found, Wrong> {
    Ok(Found::User(Record {
        id: fields.owned("localId")?,
        username: None,
        email: fields.owned("email")?,
        display_name: fields.owned("displayName")?,
        roles: Vec::new(),
        disabled: fields.flag("disabled")?.unwrap_or(false),
        created_at: fields.time("createdAt")?,
        last_login_at: fields.time("lastSignedInAt")?,
        password_hash: password_hash(fields, parameters)?,
    }))
}

/// Returns the hash with the keys in it, in the form of Kratos.
fn password_hash(fields: Fields, parameters: Option<&FirebaseParameters>) -> Result<Option<String>, Wrong> {
    let Some(hash) = fields.text("passwordHash")? else { return Ok(None) };
    let salt = fields.text("salt")?.unwrap_or_default();
    let Some(parameters) = parameters else {
        return Err(Wrong::new("passwordHash", "needs the project's parameters: --firebase-signer-key-file"));
    };
    let FirebaseParameters { signer_key, salt_separator, rounds, mem_cost } = parameters;
    let key = signer_key.expose_secret();
    Ok(Some(format!("$firescrypt$ln={mem_cost},r={rounds},p=1${salt}${hash}${salt_separator}${key}")))
}
