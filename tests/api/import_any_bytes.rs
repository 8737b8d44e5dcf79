//! Files of any content: an import reads them without a panic and with bounded work.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use grantd::import::{FirebaseParameters, Format, Options, Roles, Source, read};
use proptest::prelude::*;

/// Reads a file as one of a format, and returns the number of its records.
fn records(format: Format, bytes: Vec<u8>) -> usize {
    let firebase = FirebaseParameters {
        signer_key: "c2lnbmVyIGtleSBzaWduZXI=".into(),
        salt_separator: "Bw==".to_owned(),
        rounds: 8,
        mem_cost: 14,
    };
    let options = Options { firebase: Some(firebase), ..Options::default() };
    let existing = HashSet::from(["member".to_owned(), "editor".to_owned()]);
    let roles = Roles::new(existing, format, &options).unwrap();
    let mut count = 0;
    let mut take = |_| {
        count += 1;
        true
    };
    // An error of the file is a result too.
    let source = Source::new(std::io::Cursor::new(bytes));
    drop(read(source, format, &options, &roles, DateTime::<Utc>::UNIX_EPOCH, &mut take));
    count
}

/// Pieces of which files consist.
const PIECES: [&str; 44] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\n",
    "\t",
    "\\",
    " ",
    "null",
    "true",
    "1",
    "-1e400",
    "\"users\":",
    "\"username\":",
    "\"email\":",
    "\"a@example.com\"",
    "\"maria\"",
    "\"roles\":",
    "\"realmRoles\":",
    "\"credentials\":",
    "\"type\":",
    "\"password\"",
    "\"secretData\":",
    "\"credentialData\":",
    "\"{\\\"algorithm\\\":\\\"argon2\\\"}\"",
    "\"fields\":",
    "\"groups\":",
    "\"pk\":",
    "\"model\":\"auth.group\"",
    "\"custom_password_hash\":",
    "\"traits\":",
    "\"createdAt\":",
    "\"$date\":",
    "COPY auth.users (id, email, encrypted_password) FROM stdin;\n",
    "\\N",
    "\\.",
    "id,email,encrypted_password\n",
    "username,email,password_hash,roles\n",
    "\u{feff}",
    "\"localId\":",
    "é",
];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A well-formed object with values of wrong types and depths.
fn object() -> impl Strategy<Value = serde_json::Value> {
    const NAMES: [&str; 24] = [
        "username",
        "email",
        "roles",
        "realmRoles",
        "credentials",
        "fields",
        "groups",
        "password",
        "traits",
        "pk",
        "name",
        "createdTimestamp",
        "created_at",
        "disabled",
        "enabled",
        "custom_password_hash",
        "hash",
        "value",
        "algorithm",
        "cost",
        "passwordHash",
        "salt",
        "localId",
        "secretData",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[ -~]{0,12}".prop_map(Into::into),
        prop::sample::select(&["scrypt", "argon2", "password", "{}", "$2b$", "a@example.com"][..]).prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((prop::sample::select(&NAMES[..]), inner), 0..6)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    });
    prop::collection::vec((prop::sample::select(&NAMES[..]), value), 0..8)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in Format::ALL {
            prop_assert!(records(*format, bytes.clone()) <= bytes.len());
        }
    }

    #[test]
    fn any_pieces_are_read(bytes in pieces()) {
        for format in Format::ALL {
            prop_assert!(records(*format, bytes.clone()) <= bytes.len());
        }
    }

    #[test]
    fn any_objects_are_read(objects in prop::collection::vec(object(), 0..4)) {
        let array = serde_json::to_string(&objects).unwrap();
        let lines = objects.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for format in Format::ALL {
            let files = [format!("{{\"users\": {array}}}"), array.clone(), lines.clone()];
            prop_assert!(files.into_iter().all(|file| records(*format, file.into_bytes()) <= 4 * 60));
        }
        // Each object is a record, whatever is in it.
        prop_assert_eq!(records(Format::Kratos, array.into_bytes()), objects.len());
        prop_assert_eq!(records(Format::Jsonl, lines.into_bytes()), objects.len());
    }
}
