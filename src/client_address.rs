//! The address of the end user, also behind proxies that are trusted to say it.

use std::net::{IpAddr, SocketAddr};

use actix_web::{HttpRequest, http::header::FORWARDED};
use ipnet::IpNet;

/// The address that a request comes from. What `Forwarded` (RFC 7239) or `X-Forwarded-For` says is believed as far as
/// trusted proxies said it: from the right, up to the first address that is not one of theirs. Most proxies write one of the
/// two headers and hand on the other as it came: where both are there and disagree, neither is believed.
pub(crate) fn client_address(req: &HttpRequest, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = req.peer_addr()?.ip().to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let [forwarded, x_forwarded_for] = hops(req).map(|hops| nearest_stranger(peer, hops, is_trusted));
    match (forwarded, x_forwarded_for) {
        (Some(one), Some(other)) => Some(if one == other { one } else { peer }),
        (one, other) => one.or(other).or(Some(peer)),
    }
}

/// From the right, up to the first address that is not a trusted proxy's; none where there are no hops.
fn nearest_stranger(peer: IpAddr, hops: Vec<Option<IpAddr>>, is_trusted: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    if hops.is_empty() {
        return None;
    }
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        // Whatever stands left of a hop that is not an address was said by somebody unknown.
        let Some(address) = hop else { break };
        client = address;
        if !is_trusted(&address) {
            break;
        }
    }
    Some(client)
}

/// The hops of `Forwarded` and of `X-Forwarded-For` as they were written; none for one that is not an address.
fn hops(req: &HttpRequest) -> [Vec<Option<IpAddr>>; 2] {
    let lines = |name: &str| -> Vec<String> {
        let values = req.headers().get_all(name);
        values.map(|value| value.to_str().unwrap_or_default().to_owned()).collect()
    };
    let (forwarded, x_forwarded_for) = (lines(FORWARDED.as_str()), lines("x-forwarded-for"));
    [
        forwarded.iter().flat_map(|line| line.split(',')).map(forwarded_for).collect(),
        x_forwarded_for.iter().flat_map(|line| line.split(',')).map(|hop| address(hop.trim())).collect(),
    ]
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(node.trim_matches('"'))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(node);
    let parsed = bare.parse().ok().or_else(|| node.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn seen(peer: &str, headers: &[(&str, &str)]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let mut req = TestRequest::default().peer_addr(peer.parse().unwrap());
        for (name, value) in headers {
            req = req.append_header((*name, *value));
        }
        client_address(&req.to_http_request(), &trusted).unwrap().to_string()
    }

    #[test]
    fn strangers_are_not_believed() {
        assert_eq!(seen("192.0.2.9:1", &[("x-forwarded-for", "1.1.1.1")]), "192.0.2.9");
        assert_eq!(seen("10.0.0.1:1", &[]), "10.0.0.1");
    }

    #[test]
    fn proxies_are_believed_up_to_the_first_stranger() {
        assert_eq!(seen("10.0.0.1:1", &[("x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.2")]), "1.1.1.1");
        assert_eq!(seen("10.0.0.1:1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1")]), "1.1.1.1");
        assert_eq!(
            seen("10.0.0.1:1", &[("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:9\";proto=https")]),
            "2001:db8::1"
        );
        assert_eq!(seen("10.0.0.1:1", &[("x-forwarded-for", "1.1.1.1, unknown")]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1:1", &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=6.6.6.6")]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1:1", &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")]), "1.1.1.1");
        assert_eq!(seen("[::ffff:10.0.0.1]:1", &[("x-forwarded-for", "1.1.1.1:80")]), "1.1.1.1");
    }
}
