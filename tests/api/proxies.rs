//! The address of a caller behind trusted proxies, in the audit log, with forged and malformed headers.

use chrono::Duration;

use crate::harness::{Database, Form, TestServer, on_both_engines};

on_both_engines!(x_forwarded_for_cannot_be_forged, forwarded_cannot_be_forged,);

/// Header fields in their order.
type Fields<'a> = &'a [(&'a str, &'a [u8])];

/// Checks the address in the event of a failed login that comes through a proxy with each of these fields.
async fn each(database: Database, flags: &[&str], cases: &[(Fields<'_>, &str)]) {
    let flags = [&["--trusted-proxies", "127.0.0.1/32,10.0.0.0/8"], flags].concat();
    let server = TestServer::with(database, &flags).await;
    let admin = server.admin().await;
    for (fields, address) in cases {
        server.advance(Duration::seconds(1));
        let mut request = server.token(&Form::password("nobody", "some password"));
        for (name, value) in *fields {
            request = request.header(name, value);
        }
        request.send().await.oauth_error(400, "invalid_grant");
        let event = crate::audit::page(&server, &admin, "limit=1&kind=login.failed").await["items"][0].clone();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name, value.escape_ascii().to_string())).collect();
        assert_eq!(event["address"], *address, "{fields:?}");
    }
}

async fn x_forwarded_for_cannot_be_forged(database: Database) {
    let cases: [(Fields<'_>, &str); 8] = [
        // From one proxy, from two, and on a line of its own.
        (&[("X-Forwarded-For", b"203.0.113.7")], "203.0.113.7"),
        (&[("X-Forwarded-For", b"2001:db8::7, 10.0.0.1")], "2001:db8::7"),
        (&[("X-Forwarded-For", b"6.6.6.6"), ("X-Forwarded-For", b"203.0.113.7")], "203.0.113.7"),
        // `Forwarded` comes from the client: the proxy passes it on unchanged.
        (&[("Forwarded", b"for=6.6.6.6"), ("X-Forwarded-For", b"203.0.113.7")], "203.0.113.7"),
        // A byte that is not ASCII, on the proxy's line and on another.
        (&[("X-Forwarded-For", b"\xff, 203.0.113.7")], "203.0.113.7"),
        (&[("X-Forwarded-For", b"\xff"), ("X-Forwarded-For", "é, 203.0.113.7, 10.0.0.1".as_bytes())], "203.0.113.7"),
        // It invalidates its own hop, and everything to the left of it is not trusted.
        (&[("X-Forwarded-For", b"203.0.113.7, \xff, 10.0.0.1")], "10.0.0.1"),
        (&[("X-Forwarded-For", b"\xff")], "127.0.0.1"),
    ];
    each(database, &[], &cases).await;
}

async fn forwarded_cannot_be_forged(database: Database) {
    let cases: [(Fields<'_>, &str); 8] = [
        (&[("Forwarded", b"for=203.0.113.7;proto=https")], "203.0.113.7"),
        (&[("Forwarded", b"for=\"[2001:db8::7]:4711\";host=\"a,b;c=\\\"\", For=10.0.0.1")], "2001:db8::7"),
        (&[("Forwarded", b"for=6.6.6.6"), ("Forwarded", b"for=203.0.113.7")], "203.0.113.7"),
        (&[("X-Forwarded-For", b"6.6.6.6"), ("Forwarded", b"for=203.0.113.7")], "203.0.113.7"),
        (&[("X-Forwarded-For", b"6.6.6.6")], "127.0.0.1"),
        (&[("Forwarded", b"for=\xff, for=203.0.113.7")], "203.0.113.7"),
        // An unterminated quote does not hide what the proxy appends.
        (&[("Forwarded", b"for=\"6.6.6.6, for=203.0.113.7")], "203.0.113.7"),
        (&[("Forwarded", b"for=6.6.6.6;host=\"\\, for=203.0.113.7;host=\"shop.example.com\"")], "203.0.113.7"),
    ];
    each(database, &["--proxy-header", "forwarded"], &cases).await;
}
