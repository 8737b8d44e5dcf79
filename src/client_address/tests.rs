use actix_web::test::TestRequest;
use proptest::prelude::*;

use super::*;

const HEADERS: [ProxyHeader; 2] = [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded];

fn proxies(header: ProxyHeader) -> ProxyConfig {
    ProxyConfig { trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()], header }
}

/// The address of a request from this peer with these fields.
fn seen(header: ProxyHeader, peer: &str, fields: &[(&str, &str)]) -> String {
    let mut req = TestRequest::default().peer_addr(peer.parse().unwrap());
    for (name, value) in fields {
        req = req.append_header((*name, HeaderValue::from_bytes(value.as_bytes()).unwrap()));
    }
    client_address(&req.to_http_request(), &proxies(header)).unwrap().to_string()
}

/// The address that the proxy 10.0.0.1 reports with these lines.
fn reported(header: ProxyHeader, lines: &[&str]) -> String {
    let fields: Vec<(&str, &str)> = lines.iter().map(|line| (header.as_str(), *line)).collect();
    seen(header, "10.0.0.1:1", &fields)
}

#[test]
fn an_untrusted_peer_is_the_client() {
    for header in HEADERS {
        let fields = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(seen(header, "192.0.2.9:1", &fields), "192.0.2.9");
        assert_eq!(seen(header, "10.0.0.1:1", &[]), "10.0.0.1");
    }
}

#[test]
fn one_header_is_read_and_the_other_ignored() {
    let fields = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=6.6.6.6")];
    assert_eq!(seen(ProxyHeader::XForwardedFor, "10.0.0.1:1", &fields), "1.1.1.1");
    assert_eq!(seen(ProxyHeader::Forwarded, "10.0.0.1:1", &fields), "6.6.6.6");
    assert_eq!(seen(ProxyHeader::Forwarded, "10.0.0.1:1", &fields[..1]), "10.0.0.1");
    assert_eq!(seen(ProxyHeader::XForwardedFor, "10.0.0.1:1", &fields[1..]), "10.0.0.1");
}

#[test]
fn x_forwarded_for_is_read_up_to_the_first_untrusted_address() {
    for (lines, expected) in [
        (&["1.1.1.1"][..], "1.1.1.1"),
        (&["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        (&["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
        (&["1.1.1.1 ,\t10.0.0.3", "10.0.0.2"], "1.1.1.1"),
        (&["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        // Forms of an address.
        (&["1.1.1.1:80"], "1.1.1.1"),
        (&["2001:db8::1"], "2001:db8::1"),
        (&["[2001:db8::1]"], "2001:db8::1"),
        (&["[2001:db8::1]:80"], "2001:db8::1"),
        (&["::ffff:1.1.1.1"], "1.1.1.1"),
        (&["1.1.1.1, ::ffff:10.0.0.2"], "1.1.1.1"),
        // A hop that is no address, and what stands left of it, is not believed.
        (&["1.1.1.1, unknown"], "10.0.0.1"),
        (&["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
        (&["1.1.1.1, _hidden"], "10.0.0.1"),
        (&["1.1.1.1, fe80::1%eth0"], "10.0.0.1"),
        (&["1.1.1.1, 1.1.1.256"], "10.0.0.1"),
        (&["1.1.1.1,"], "10.0.0.1"),
        (&["1.1.1.1", ""], "10.0.0.1"),
        (&["\"1.1.1.1\""], "10.0.0.1"),
        (&["1.1.1.1, é, 10.0.0.2"], "10.0.0.2"),
        // It spoils no other hop.
        (&["é, unknown,, 1.1.1.1"], "1.1.1.1"),
        (&["é", "1.1.1.1"], "1.1.1.1"),
        (&["\", 1.1.1.1"], "1.1.1.1"),
    ] {
        assert_eq!(reported(ProxyHeader::XForwardedFor, lines), expected, "{lines:?}");
    }
}

#[test]
fn forwarded_is_read_up_to_the_first_untrusted_address() {
    for (lines, expected) in [
        (&["for=1.1.1.1"][..], "1.1.1.1"),
        (&["for=6.6.6.6, for=1.1.1.1;proto=https, for=10.0.0.2;by=10.0.0.1"], "1.1.1.1"),
        (&["for=6.6.6.6", "for=1.1.1.1", "for=10.0.0.2"], "1.1.1.1"),
        (&["proto=https; FOR=1.1.1.1 ;host=a"], "1.1.1.1"),
        (&["for=\"[2001:db8::1]:9\";proto=https"], "2001:db8::1"),
        (&["for=\"[2001:db8::1]\""], "2001:db8::1"),
        (&["for=\"1.1.1.1:80\""], "1.1.1.1"),
        // What many proxies write, though the RFC wants quotes.
        (&["for=[2001:db8::1]:9"], "2001:db8::1"),
        // Separators and escapes within quoted strings.
        (&["for=1.1.1.1;host=\"a,b;for=6.6.6.6\""], "1.1.1.1"),
        (&["host=\"a, for=6.6.6.6\";for=1.1.1.1"], "1.1.1.1"),
        (&[r#"for=1.1.1.1;host="\", for=6.6.6.6;host=\"""#], "1.1.1.1"),
        (&[r#"for=1.1.1.1;host="\\", for=10.0.0.2;host="\\\"""#], "1.1.1.1"),
        (&[r#"for="1.1.1.\1""#], "1.1.1.1"),
        // A hop that is no address, and what stands left of it, is not believed.
        (&["for=1.1.1.1, for=unknown"], "10.0.0.1"),
        (&["for=1.1.1.1, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
        (&["for=1.1.1.1, for=\"_hidden:_port\""], "10.0.0.1"),
        (&["for=1.1.1.1, by=1.1.1.1"], "10.0.0.1"),
        (&["for=1.1.1.1, for=2.2.2.2;for=3.3.3.3"], "10.0.0.1"),
        (&["for=1.1.1.1, for=\" 2.2.2.2\""], "10.0.0.1"),
        (&["for=1.1.1.1, for=é"], "10.0.0.1"),
        (&["1.1.1.1"], "10.0.0.1"),
        (&["for=1.1.1.1\""], "10.0.0.1"),
        (&["for=\""], "10.0.0.1"),
        // It spoils no other hop, however many quotation marks and backslashes it has.
        (&["for=é, for=1.1.1.1"], "1.1.1.1"),
        (&["for=\"6.6.6.6, for=1.1.1.1"], "1.1.1.1"),
        (&["for=\"6.6.6.6", "for=1.1.1.1"], "1.1.1.1"),
        (&[r#"for=6.6.6.6;host="a, for=1.1.1.1;host="b""#], "1.1.1.1"),
        (&[r#"for=6.6.6.6;host="\, for="1.1.1.1";host="b""#], "1.1.1.1"),
        (&[r#"for=6.6.6.6;host=\"\, for="1.1.1.1""#], "1.1.1.1"),
    ] {
        assert_eq!(reported(ProxyHeader::Forwarded, lines), expected, "{lines:?}");
    }
}

#[test]
fn a_mapped_peer_is_an_ipv4_address() {
    assert_eq!(seen(ProxyHeader::XForwardedFor, "[::ffff:10.0.0.1]:1", &[("x-forwarded-for", "1.1.1.1")]), "1.1.1.1");
}

/// The address that a request with these values of `Grantd-User-Address` reports.
fn of_user(values: &[&[u8]]) -> Result<Option<String>, MalformedUserAddress> {
    let mut req = TestRequest::default();
    for value in values {
        req = req.append_header((USER_ADDRESS, HeaderValue::from_bytes(value).unwrap()));
    }
    reported_address(&req.to_http_request()).map(|address| address.map(|address| address.to_string()))
}

#[test]
fn a_reported_address_is_one_address() {
    assert_eq!(of_user(&[]), Ok(None));
    for (value, expected) in [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("0:0:0:0:0:0:0:1", "::1"),
    ] {
        assert_eq!(of_user(&[value.as_bytes()]), Ok(Some(expected.to_owned())), "{value}");
    }
    for value in [
        "",
        "unknown",
        "203.0.113.7:80",
        "203.0.113.7, 203.0.113.8",
        "203.0.113.256",
        "203.0.113",
        "0313.0.113.7",
        "203.0.113.0/24",
        "[2001:db8::7]",
        "fe80::1%eth0",
        "é",
    ] {
        assert_eq!(of_user(&[value.as_bytes()]), Err(MalformedUserAddress), "{value}");
    }
    assert_eq!(of_user(&[b"203.0.113.7", b"203.0.113.7"]), Err(MalformedUserAddress));
    assert_eq!(of_user(&[b"\xff"]), Err(MalformedUserAddress));
}

/// What a client may send: any bytes that a header can have, rich in those that mean something.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        "(for=|FOR=|host=|;|,|, |\"|\\\\|\\[|\\]|:|=){1,3}".prop_map(String::into_bytes),
        "(6\\.6\\.6\\.6|10\\.0\\.0\\.9|2001:db8::6|unknown|_x)".prop_map(String::into_bytes),
        prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..6),
    ];
    prop::collection::vec(pieces, 0..10).prop_map(|pieces| pieces.concat())
}

/// What a proxy appends for the address that it saw, in one of the forms that proxies write.
fn hop(header: ProxyHeader, address: IpAddr, form: u8, text: &str) -> String {
    let bracketed = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    match (header, form % 4) {
        (ProxyHeader::XForwardedFor, 0) => address.to_string(),
        (ProxyHeader::XForwardedFor, 1) => bracketed,
        (ProxyHeader::XForwardedFor, _) => format!("{bracketed}:4711"),
        (ProxyHeader::Forwarded, 0) => format!("for=\"{bracketed}\""),
        (ProxyHeader::Forwarded, 1) => format!("For=\"{bracketed}:4711\";host=\"{quoted}\";proto=https"),
        (ProxyHeader::Forwarded, 2) => format!("by=_proxy;ext=\"{quoted}\";for=\"{bracketed}\""),
        (ProxyHeader::Forwarded, _) => format!("host=\"{quoted}\";for={bracketed};by=\"{bracketed}\""),
    }
}

fn trusted() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[b, c, d]| IpAddr::from([10, b, c, d])),
        any::<[u16; 7]>().prop_map(|[b, c, d, e, f, g, h]| IpAddr::from([0xfd00, b, c, d, e, f, g, h])),
    ]
}

fn untrusted() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>()
        .prop_map(|address| address.to_canonical())
        .prop_filter("not a proxy's", |address| !proxies(ProxyHeader::Forwarded).trusts(*address))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_have_an_address(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4)) {
        for line in &lines {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                let req = TestRequest::default().append_header((USER_ADDRESS, value)).to_http_request();
                let _ = reported_address(&req);
            }
        }
        for header in HEADERS {
            nearest_untrusted(IpAddr::from([10, 0, 0, 1]), lines.iter().map(Vec::as_slice), &proxies(header));
        }
    }

    #[test]
    fn what_a_client_sends_changes_nothing(
        sent in prop::collection::vec(line(), 0..4),
        client in untrusted(),
        // Each proxy's address; the form of the hop that it appends, whether on a line of its own, and some text in it.
        chain in prop::collection::vec((trusted(), any::<u8>(), any::<bool>(), "[ -~]{0,12}"), 1..4),
    ) {
        for header in HEADERS {
            let (mut lines, mut from) = (sent.clone(), client);
            for (proxy, form, own_line, text) in &chain {
                let hop = hop(header, from, *form, text).into_bytes();
                match lines.last_mut() {
                    Some(line) if !own_line => *line = [line, &b", "[..], &hop].concat(),
                    _ => lines.push(hop),
                }
                from = *proxy;
            }
            let found = nearest_untrusted(from, lines.iter().map(Vec::as_slice), &proxies(header));
            let shown: Vec<_> = lines.iter().map(|line| line.escape_ascii().to_string()).collect();
            prop_assert_eq!(found, client, "{:?}", shown);
        }
    }
}
