//! A file of users. Its first byte selects the format.

#![no_main]

use std::{collections::HashSet, io::Cursor};

use chrono::{DateTime, Utc};
use grantd::import::{FirebaseParameters, Format, Options, Roles, Source, read};

const FORMATS: [Format; 8] = [
    Format::Jsonl,
    Format::Csv,
    Format::Keycloak,
    Format::Django,
    Format::Auth0,
    Format::Firebase,
    Format::Supabase,
    Format::Kratos,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, file)) = data.split_first() else { return };
    let format = FORMATS[usize::from(*first) % FORMATS.len()];
    let firebase = FirebaseParameters {
        signer_key: "c2lnbmVyIGtleSBzaWduZXI=".into(),
        salt_separator: "Bw==".to_owned(),
        rounds: 8,
        mem_cost: 14,
    };
    let options = Options { firebase: Some(firebase), ..Options::default() };
    let Ok(roles) = Roles::new(HashSet::from(["member".to_owned(), "editor".to_owned()]), format, &options) else {
        return;
    };
    let mut records = 0_usize;
    let mut take = |_| {
        records += 1;
        true
    };
    let _ =
        read(Source::new(Cursor::new(file.to_vec())), format, &options, &roles, DateTime::<Utc>::UNIX_EPOCH, &mut take);
    assert!(records <= file.len() + 1);
});
