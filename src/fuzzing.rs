//! Parsers of untrusted input, for the targets in `fuzz/`. Each function panics if a parser breaks a rule.

use std::net::IpAddr;

use crate::{
    apply,
    client_address::nearest_untrusted,
    config::{ProxyConfig, ProxyHeader},
    http::page::{List, text},
    oauth::form::Form,
};

/// Parses the form of an OAuth endpoint.
pub fn form(body: &[u8]) {
    let Ok(form) = Form::parse(body) else { return };
    for name in ["grant_type", "username", "scope", "a"] {
        let values: Vec<_> = form.all(name).collect();
        assert!(values.iter().all(|value| !value.contains('\0')));
        match form.optional(name) {
            Ok(Some(value)) => assert_eq!(values, [value]),
            Ok(None) => assert!(values.iter().all(|value| value.is_empty())),
            Err(_) => assert!(values.len() > 1),
        }
    }
}

/// Reads a cursor.
pub fn cursor(cursor: &str) {
    for list in [List::Users, List::AuditEvents, List::ApiKeys] {
        if let Some(key) = list.key(cursor, text) {
            // A key has one cursor, and a cursor belongs to one list.
            assert_eq!(list.cursor(key.as_bytes()), cursor);
            assert!(List::Scopes.key(cursor, text).is_none());
        }
    }
}

/// Parses a set-up file.
pub fn setup_file(file: &str) {
    apply::fuzz(file);
}

/// Reads the address of a client from the lines of a proxy's header.
pub fn client_address(lines: &[u8]) {
    let trusted = ["10.0.0.0/8".parse(), "::1/128".parse()].into_iter().flatten().collect();
    let peer = IpAddr::from([10, 0, 0, 1]);
    let mut proxies = ProxyConfig { trusted, header: ProxyHeader::XForwardedFor };
    for header in [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded] {
        proxies.header = header;
        let of = |lines: &[u8]| nearest_untrusted(peer, lines.split(|byte| *byte == b'\n'), &proxies);
        assert_eq!(of(lines), of(lines).to_canonical());
        // What a trusted proxy appends decides, whatever stands before it.
        let appended: &[u8] = match header {
            ProxyHeader::XForwardedFor => b", 192.0.2.7",
            ProxyHeader::Forwarded => b", for=192.0.2.7",
        };
        assert_eq!(of(&[lines, appended].concat()), IpAddr::from([192, 0, 2, 7]));
    }
}
