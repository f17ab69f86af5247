//! Whom limits leave alone.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses that limits leave alone.
#[derive(Debug, Clone, Default)]
pub struct Exempt {
    loopback: bool,
    networks: Vec<IpNet>,
}

impl Exempt {
    /// Those that the option names; `None` if one is neither `loopback` nor an address nor a
    /// network. Behind a proxy `loopback` stands for nobody: a proxy on this machine that
    /// forgot to name its client would make everybody exempt.
    pub fn parse(names: &[String], behind_proxy: bool) -> Option<Self> {
        let mut exempt = Self::default();
        for name in names {
            match name.as_str() {
                "loopback" => exempt.loopback = !behind_proxy,
                network => exempt.networks.push(parse_network(network)?),
            }
        }
        Some(exempt)
    }

    /// Whether limits leave this address alone.
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_in = |network: &IpNet| network.contains(&address);
        (self.loopback && address.is_loopback()) || self.networks.iter().any(is_in)
    }
}

/// A network as in `10.0.0.0/8`, or one address.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok();
    network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(names: &[&str], behind_proxy: bool, address: &str) -> bool {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let exempt = Exempt::parse(&names, behind_proxy).unwrap();
        exempt.covers(address.parse().unwrap())
    }

    #[test]
    fn addresses_networks_and_loopback_are_left_alone() {
        let names = ["loopback", "10.1.0.0/16", "2001:db8::7"];
        for covered in [
            "127.0.0.9",
            "::1",
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "2001:db8::7",
        ] {
            assert!(covers(&names, false, covered), "{covered}");
        }
        for limited in ["10.2.0.1", "2001:db8::8", "8.8.8.8"] {
            assert!(!covers(&names, false, limited), "{limited}");
        }
    }

    #[test]
    fn behind_a_proxy_loopback_must_be_named_as_a_network() {
        assert!(!covers(&["loopback"], true, "127.0.0.1"));
        assert!(covers(&["127.0.0.0/8"], true, "127.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for name in ["", "localhost", "10.0.0.0/33", "10.0.0"] {
            assert!(Exempt::parse(&[name.to_owned()], false).is_none(), "{name}");
        }
    }
}
