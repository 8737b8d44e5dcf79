#![no_main]

use grantd_guard::{Scope, Scopes};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(scope) = text.parse::<Scope>() {
        assert_eq!(scope.as_str(), text);
        assert!(text.parse::<Scopes>().is_ok_and(|scopes| scopes.len() == 1));
    }
    if let Ok(scopes) = text.parse::<Scopes>() {
        // The text form is sorted and without repeats, and means the same.
        let written = scopes.to_string();
        assert_eq!(written.parse::<Scopes>(), Ok(scopes.clone()));
        assert!(scopes.contains_all(&scopes) && scopes.difference(&scopes).is_empty());
        assert_eq!(scopes.iter().count(), scopes.len());
    }
});
