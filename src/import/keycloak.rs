//! Keycloak: a realm export, or one of its files `REALM-users-N.json`.

use serde_json::Value;

use super::{Found, Record, Wrong, fields::Fields};

pub(super) fn record(fields: Fields) -> Result<Found, Wrong> {
    // A client's user: the client logs in here with its own id and secret.
    if fields.text("serviceAccountClientId")?.is_some() {
        return Ok(Found::Skipped);
    }
    Ok(Found::User(Record {
        id: fields.owned("id")?,
        username: fields.owned("username")?,
        email: fields.owned("email")?,
        display_name: fields.full_name("firstName", "lastName")?,
        roles: fields.texts("realmRoles")?,
        disabled: !fields.flag("enabled")?.unwrap_or(true),
        created_at: fields.time("createdTimestamp")?,
        last_login_at: None,
        password_hash: password_hash(fields)?,
    }))
}

/// Returns the hash of the first credential that is a password. Others, such as one-time passwords, are not imported.
fn password_hash(fields: Fields) -> Result<Option<String>, Wrong> {
    let wrong = || Wrong::new("credentials", "must be a list of objects");
    let Some(credentials) = fields.value("credentials") else { return Ok(None) };
    for credential in credentials.as_array().ok_or_else(wrong)? {
        let credential = credential.as_object().map(Fields).ok_or_else(wrong)?;
        if credential.text("type")? == Some("password") {
            return hash(credential).map(Some);
        }
    }
    Ok(None)
}

fn hash(credential: Fields) -> Result<String, Wrong> {
    // Before Keycloak 8, the members stood in the credential itself.
    if credential.value("hashedSaltedValue").is_some() {
        return encoded(credential, credential, "hashedSaltedValue");
    }
    let data = inner(credential, "credentialData")?;
    let secret = inner(credential, "secretData")?;
    let wrong = |name| Wrong::new(name, "must be a JSON object in a text");
    let data = data.as_object().map(Fields).ok_or_else(|| wrong("credentialData"))?;
    let secret = secret.as_object().map(Fields).ok_or_else(|| wrong("secretData"))?;
    encoded(data, secret, "value")
}

/// Parses the JSON in a text.
fn inner(credential: Fields, name: &'static str) -> Result<Value, Wrong> {
    let text = credential.text(name)?.unwrap_or_default();
    serde_json::from_str(text).map_err(|_| Wrong::new(name, "must be a JSON object in a text"))
}

/// Returns a hash in the form of Kratos (PBKDF2) or as a PHC string (Argon2).
fn encoded(data: Fields, secret: Fields, value: &str) -> Result<String, Wrong> {
    let missing = |name: &str| Wrong::new(name, "is missing in the password credential");
    let algorithm = data.text("algorithm")?.ok_or_else(|| missing("algorithm"))?;
    let hash = secret.text(value)?.ok_or_else(|| missing(value))?;
    let salt = secret.text("salt")?.unwrap_or_default();
    let iterations = data.number("hashIterations")?.unwrap_or(0);
    let digest = match algorithm {
        "argon2" => return argon2(data, iterations, salt, hash),
        // An extension: the value is a whole hash.
        "bcrypt" => return Ok(hash.to_owned()),
        "pbkdf2" => "",
        "pbkdf2-sha256" => "-sha256",
        "pbkdf2-sha512" => "-sha512",
        _ => {
            return Err(Wrong::new(
                "algorithm",
                "is not supported: argon2, bcrypt, pbkdf2, pbkdf2-sha256, pbkdf2-sha512 are",
            ));
        }
    };
    Ok(format!("$pbkdf2{digest}$i={iterations}${salt}${hash}"))
}

fn argon2(data: Fields, iterations: u64, salt: &str, hash: &str) -> Result<String, Wrong> {
    let parameters = data.object("additionalParameters")?;
    // Each is a list of one text.
    let parameter = |name: &str, default: &str| -> Result<String, Wrong> {
        let list = parameters.map(|parameters| parameters.texts(name)).transpose()?.unwrap_or_default();
        Ok(list.into_iter().next().unwrap_or_else(|| default.to_owned()))
    };
    let version = match parameter("version", "1.3")?.as_str() {
        "1.3" => 19,
        "1.0" => 16,
        _ => return Err(Wrong::new("version", "must be 1.0 or 1.3")),
    };
    let (kind, memory, lanes) =
        (parameter("type", "id")?, parameter("memory", "7168")?, parameter("parallelism", "1")?);
    Ok(format!("$argon2{kind}$v={version}$m={memory},t={iterations},p={lanes}${salt}${hash}"))
}
