//! Auth0: its export of users and hashes, or a file for its bulk import with `custom_password_hash`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{Found, Record, Wrong, fields::Fields};

pub(super) fn record(fields: Fields) -> Result<Found, Wrong> {
    let id = match fields.value("_id").and_then(|id| id.get("$oid")).and_then(Value::as_str) {
        Some(id) => Some(id.to_owned()),
        None => fields.first_text(&["user_id", "Id"])?,
    };
    Ok(Found::User(Record {
        id,
        username: fields.owned("username")?,
        email: fields.first_text(&["email", "Email"])?,
        display_name: fields.first_text(&["name", "Name", "nickname"])?,
        roles: Vec::new(),
        disabled: fields.flag("blocked")?.unwrap_or(false),
        created_at: fields.time("created_at")?,
        last_login_at: fields.time("last_login")?,
        password_hash: password_hash(fields)?,
    }))
}

fn password_hash(fields: Fields) -> Result<Option<String>, Wrong> {
    if let Some(hash) = fields.first_text(&["passwordHash", "password_hash"])? {
        return Ok(Some(hash));
    }
    fields.object("custom_password_hash")?.map(custom).transpose()
}

/// Returns the hash of Auth0's generic form.
fn custom(custom: Fields) -> Result<String, Wrong> {
    let field = "custom_password_hash";
    let missing = || Wrong::new(field, "must have algorithm and hash.value");
    let hash = custom.object("hash")?.ok_or_else(missing)?;
    let value = hash.text("value")?.ok_or_else(missing)?;
    match custom.text("algorithm")?.ok_or_else(missing)? {
        // The value has all parameters.
        "argon2" | "bcrypt" | "pbkdf2" | "ldap" => Ok(value.to_owned()),
        "scrypt" => scrypt(custom, &bytes(hash)?),
        name @ ("hmac" | "md4" | "md5" | "sha1" | "sha256" | "sha512") => {
            Err(Wrong::new(field, format!("{name} is not supported as a password hash")))
        }
        _ => Err(Wrong::new(field, "the algorithm is not known")),
    }
}

/// Returns a hash of scrypt in the form of passlib.
fn scrypt(custom: Fields, hash: &[u8]) -> Result<String, Wrong> {
    let salt = custom.object("salt")?.map(bytes).transpose()?.unwrap_or_default();
    let cost = custom.number("cost")?.unwrap_or(16_384);
    if !cost.is_power_of_two() {
        return Err(Wrong::new("cost", "must be a power of two"));
    }
    let (r, p) = (custom.number("blockSize")?.unwrap_or(8), custom.number("parallelization")?.unwrap_or(1));
    let [salt, hash] = [&salt[..], hash].map(|bytes| BASE64_STANDARD.encode(bytes));
    Ok(format!("$scrypt$ln={},r={r},p={p}${salt}${hash}", cost.ilog2()))
}

/// Decodes a value with its encoding.
fn bytes(of: Fields) -> Result<Vec<u8>, Wrong> {
    let value = of.text("value")?.unwrap_or_default();
    let wrong = || Wrong::new("value", "does not have its encoding");
    match of.text("encoding")?.unwrap_or("utf8") {
        "base64" => BASE64_STANDARD.decode(value).map_err(|_| wrong()),
        "hex" => hex(value).ok_or_else(wrong),
        "utf8" => Ok(value.as_bytes().to_vec()),
        _ => Err(Wrong::new("encoding", "must be base64, hex or utf8")),
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}
