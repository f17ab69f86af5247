//! Whose request it is that comes through a proxy.
//!
//! Anybody can write a header, so only a proxy that the operator declared is believed, and of
//! several addresses only the last that no declared proxy has: what stands before it was written
//! by whoever is there. One header is read, the one that the proxies write; another one would
//! pass through them untouched and say what the client likes.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use warp::http::HeaderMap;
use warp::http::header::{FORWARDED, HeaderName};

use super::limit::exempt::parse_network;

/// The customary header (not standardised): `X-Forwarded-For: 203.0.113.7, 10.0.0.2`.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies before this server.
#[derive(Debug, Clone)]
pub struct Proxies {
    networks: Vec<IpNet>,
    header: Header,
}

/// The header in which proxies tell for whom they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Header {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Proxies {
    /// The proxies in these networks; `None` if one is neither a network nor an address.
    pub fn parse(networks: &[String], header: Header) -> Option<Self> {
        let networks = networks.iter().map(|text| parse_network(text));
        let networks = networks.collect::<Option<_>>()?;
        Some(Self { networks, header })
    }

    /// Whose request it is that came from `peer` with these headers.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.is_trusted(client) {
            return client;
        }
        for named in self.named(headers).into_iter().rev() {
            // What a proxy could not name stays its own request.
            let Some(named) = named else { return client };
            client = named;
            if !self.is_trusted(client) {
                break;
            }
        }
        client
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// The addresses of the header in its order; `None` for what is no address.
    fn named(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            Header::XForwardedFor => (X_FORWARDED_FOR, node),
            Header::Forwarded => (FORWARDED, forwarded_for),
        };
        let lines = headers.get_all(name).into_iter();
        let elements = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
        elements.map(|element| read(element.trim())).collect()
    }
}

/// The `for` of one element of `Forwarded`: `for="[2001:db8::17]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = named.next()?;
    node(value.trim().trim_matches('"'))
}

/// An address, with or without a port: `203.0.113.7:4711`, `[2001:db8::17]`, `2001:db8::17`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: Header, peer: &str, name: &'static str, lines: &[&str]) -> String {
        let networks = ["10.0.0.0/8".to_owned(), "2001:db8:1::/48".to_owned()];
        let proxies = Proxies::parse(&networks, header).unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    fn behind(peer: &str, lines: &[&str]) -> String {
        client(Header::XForwardedFor, peer, "x-forwarded-for", lines)
    }

    fn rfc(lines: &[&str]) -> String {
        client(Header::Forwarded, "10.0.0.1", "forwarded", lines)
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_clients() {
        for (lines, expected) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["1.2.3.4, 203.0.113.7"], "203.0.113.7"),
            (&["1.2.3.4", "203.0.113.7, 10.9.9.9"], "203.0.113.7"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["[2001:db8::7]:4711, 2001:db8:1::1"], "2001:db8::7"),
            (&["10.2.0.1, 10.3.0.1"], "10.2.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(behind("10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn who_is_no_proxy_is_not_believed() {
        assert_eq!(behind("198.51.100.1", &["203.0.113.7"]), "198.51.100.1");
        assert_eq!(behind("::ffff:10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
    }

    #[test]
    fn what_a_proxy_could_not_name_is_its_own() {
        for line in ["", "unknown", "203.0.113.7, nonsense", "203.0.113.7,"] {
            assert_eq!(behind("10.0.0.1", &[line]), "10.0.0.1", "{line}");
        }
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_declared() {
        for (lines, expected) in [
            (
                &["for=203.0.113.7;proto=https;by=10.0.0.1"][..],
                "203.0.113.7",
            ),
            (&["for=1.2.3.4, For=\"[2001:db8::7]:4711\""], "2001:db8::7"),
            (
                &["proto=https;for=203.0.113.7", "for=10.0.0.9"],
                "203.0.113.7",
            ),
            (&["for=_hidden"], "10.0.0.1"),
            (&["proto=https"], "10.0.0.1"),
        ] {
            assert_eq!(rfc(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_header_that_was_not_declared_says_nothing() {
        let other = client(
            Header::XForwardedFor,
            "10.0.0.1",
            "forwarded",
            &["for=1.2.3.4"],
        );
        assert_eq!(other, "10.0.0.1");
    }
}
