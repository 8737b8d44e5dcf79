//! The client's address, also behind proxies that are trusted to report it.

use std::net::{IpAddr, SocketAddr};

use actix_web::{HttpRequest, http::header::HeaderValue};

use crate::config::{ProxyConfig, ProxyHeader};

/// The header in which a client reports the address of its user.
pub(crate) const USER_ADDRESS: &str = "grantd-user-address";

/// The header `Grantd-User-Address` is not one IP address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedUserAddress;

/// Returns the address that a request comes from: the peer's, or the one that trusted proxies report in the configured
/// header. Any other header may be the client's own, since most proxies pass on what they do not write.
pub(crate) fn client_address(req: &HttpRequest, proxies: &ProxyConfig) -> Option<IpAddr> {
    let peer = req.peer_addr()?.ip().to_canonical();
    // What most requests need is not worth a search for the header.
    if !proxies.trusts(peer) {
        return Some(peer);
    }
    let lines = req.headers().get_all(proxies.header.as_str()).map(HeaderValue::as_bytes);
    Some(nearest_untrusted(peer, lines, proxies))
}

/// Returns the address that the sender of a request reports as its user's. `None`: it reports none.
///
/// Anybody can send this header. The caller checks that the sender may report addresses, and has proved who it is.
pub(crate) fn reported_address(req: &HttpRequest) -> Result<Option<IpAddr>, MalformedUserAddress> {
    let mut values = req.headers().get_all(USER_ADDRESS);
    let Some(value) = values.next() else { return Ok(None) };
    // Repeated: what two systems disagree about is nobody's address.
    if values.next().is_some() {
        return Err(MalformedUserAddress);
    }
    let parsed = value.to_str().ok().and_then(|text| text.parse::<IpAddr>().ok());
    parsed.map(|address| Some(address.to_canonical())).ok_or(MalformedUserAddress)
}

/// Returns the first address that is not a trusted proxy's, from the peer on through the hops from right to left: each
/// proxy appends the address that it saw, so that only what trusted proxies appended is read.
pub(crate) fn nearest_untrusted<'a>(
    peer: IpAddr,
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    proxies: &ProxyConfig,
) -> IpAddr {
    let mut hops = lines.rev().flat_map(|line| hops(line, proxies.header));
    let mut client = peer.to_canonical();
    while proxies.trusts(client) {
        // What stands left of a hop that is no address (`unknown`, malformed) was written by somebody unknown.
        let Some(Some(address)) = hops.next() else { break };
        client = address;
    }
    client
}

/// The hops of one line of the header from right to left; `None` for one that is not an address.
fn hops(line: &[u8], header: ProxyHeader) -> Box<dyn Iterator<Item = Option<IpAddr>> + '_> {
    match header {
        ProxyHeader::XForwardedFor => Box::new(line.rsplit(|byte| *byte == b',').map(|hop| address(hop.trim_ascii()))),
        ProxyHeader::Forwarded => Box::new(rsplit_unquoted(line, b',').map(forwarded_for)),
    }
}

/// The address in the parameter `for` of an element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut nodes = rsplit_unquoted(element, b';').filter_map(|parameter| {
        let (name, value) = parameter.trim_ascii().split_at_checked(b"for=".len())?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    });
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => address(&unquoted(node)),
        // Missing, or there twice, which RFC 7239 forbids.
        _ => None,
    }
}

/// Splits at a separator outside quoted strings (RFC 9110 §5.6.4), from right to left.
///
/// A line may begin with anything that a client sent, such as a quoted string without an end. Read from the left, that
/// would swallow what proxies appended. Read from the right, the well-formed end of a line means the same after any
/// beginning.
fn rsplit_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let at = last_unquoted(text, separator);
        rest = at.map(|at| &text[..at]);
        Some(at.map_or(text, |at| &text[at + 1..]))
    })
}

fn last_unquoted(text: &[u8], separator: u8) -> Option<usize> {
    let mut end = text.len();
    loop {
        let at = text[..end].iter().rposition(|byte| *byte == separator || *byte == b'"')?;
        if text[at] == separator {
            return Some(at);
        }
        end = opening_quote(&text[..at])?;
    }
}

/// Where the quoted string begins whose content is the end of `text`: at the last quotation mark that is not escaped.
fn opening_quote(text: &[u8]) -> Option<usize> {
    let mut end = text.len();
    loop {
        let at = text[..end].iter().rposition(|byte| *byte == b'"')?;
        let backslashes = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 0 {
            return Some(at);
        }
        end = at;
    }
}

/// The content of a quoted string, or the token itself.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(content) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return value.to_vec();
    };
    let mut escaped = false;
    let kept = content.iter().filter(|byte| {
        escaped = **byte == b'\\' && !escaped;
        !escaped
    });
    kept.copied().collect()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(node: &[u8]) -> Option<IpAddr> {
    let node = str::from_utf8(node).ok()?;
    let bare = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(node);
    let parsed = bare.parse().ok().or_else(|| node.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests;
