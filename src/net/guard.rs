use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config;

/// An address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is of a network for special purposes, or leads into one.
    #[error("{0} is not a public address; federation.allow_ips can except it")]
    NotPublic(IpAddr),
    /// The operator denied it.
    #[error("{0} is denied by federation.deny_ips")]
    Denied(IpAddr),
}

/// Decides which addresses may be connected to.
#[derive(Debug, Clone)]
pub struct Guard {
    deny: Vec<IpNet>,
    allow: Vec<IpNet>,
}

impl Guard {
    /// A guard with these denials and exceptions.
    pub fn new(settings: &config::Federation) -> Self {
        Self {
            deny: settings.deny_ips.clone(),
            allow: settings.allow_ips.clone(),
        }
    }

    /// Checks an address, and the IPv4 address that a gateway would take out of it: what cannot be reached directly cannot
    /// be reached through NAT64 or a tunnel either, even where the operator excepts the network of the gateway.
    ///
    /// # Errors
    /// When the address must not be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        if contains(&self.deny, address) {
            return Err(Refusal::Denied(address));
        }
        if !is_public(address) && !contains(&self.allow, address) {
            return Err(Refusal::NotPublic(address));
        }
        match address {
            IpAddr::V6(outer) => {
                embedded(outer).map_or(Ok(()), |inner| self.check(IpAddr::V4(inner)))
            }
            IpAddr::V4(_) => Ok(()),
        }
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(first: [u16; 4], length: u8) -> Ipv6Net {
    let [a, b, c, d] = first;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// The IANA IPv4 Special-Purpose Address Registry, multicast (RFC 5771) and class E. What it lists as globally reachable is
/// here too: nobody runs a homeserver in it.
const SPECIAL_V4: [Ipv4Net; 19] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 31, 196, 0, 24),
    v4(192, 52, 193, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(192, 175, 48, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    v4(255, 255, 255, 255, 32),
];

/// The only addresses of IPv6 that IANA gives out (RFC 4291, section 2.4). Loopback, unique local, link-local, site-local,
/// multicast, discard-only, v4-mapped, v4-compatible, translated, NAT64 and segment routing all lie outside of it.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// What of the IANA IPv6 Special-Purpose Address Registry lies within the above: the protocol assignments with Teredo,
/// benchmarking and ORCHID, documentation, 6to4 and AS112.
const SPECIAL_V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0], 32),
    v6([0x2002, 0, 0, 0], 16),
    v6([0x2620, 0x4f, 0x8000, 0], 48),
    v6([0x3fff, 0, 0, 0], 20),
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|special| special.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address)
                && !SPECIAL_V6.iter().any(|special| special.contains(&address))
        }
    }
}

/// The IPv4 address that a translator or tunnel would take out of an IPv6 one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
    const TRANSLATED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96);
    const COMPATIBLE: Ipv6Net = v6([0, 0, 0, 0], 96);
    const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);
    const NAT64_LOCAL: Ipv6Net = v6([0x64, 0xff9b, 1, 0], 48);
    const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0], 16);
    const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0], 32);
    // `::` and `::1` are no IPv4 addresses in another form.
    if address.is_unspecified() || address.is_loopback() {
        return None;
    }
    let [_, b, c, .., g, h] = address.segments();
    let joined = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let last = [MAPPED, TRANSLATED, COMPATIBLE, NAT64, NAT64_LOCAL];
    if last.iter().any(|network| network.contains(&address)) {
        Some(joined(g, h))
    } else if SIX_TO_FOUR.contains(&address) {
        Some(joined(b, c))
    } else if TEREDO.contains(&address) {
        // RFC 4380, section 4: the client's address stands inverted.
        Some(joined(!g, !h))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(deny: &[&str], allow: &[&str]) -> Guard {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Guard {
            deny: networks(deny),
            allow: networks(allow),
        }
    }

    fn check(guard: &Guard, address: &str) -> Result<(), Refusal> {
        guard.check(address.parse().unwrap())
    }

    #[test]
    fn the_first_and_last_address_of_every_special_network_is_refused() {
        let guard = guard(&[], &[]);
        for network in SPECIAL_V4.map(IpNet::V4) {
            guard.check(network.network()).unwrap_err();
            guard.check(network.broadcast()).unwrap_err();
        }
        for network in SPECIAL_V6.map(IpNet::V6) {
            guard.check(network.network()).unwrap_err();
            guard.check(network.broadcast()).unwrap_err();
        }
        for address in [
            "::",
            "::1",
            "::7f00:1",
            "::808:808",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::a00:1",
            "64:ff9b:1:ffff::1",
            "100::1",
            "100:0:0:1::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            check(&guard, address).unwrap_err();
        }
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2003::1",
            "2606:4700:4700::1111",
            "2a01:4f8::1",
        ] {
            check(&guard(&[], &[]), address).unwrap();
        }
    }

    #[test]
    fn exceptions_hold_and_denials_win() {
        let guard = guard(
            &["10.0.0.66/32", "1.1.1.0/24"],
            &["10.0.0.0/8", "1.1.1.0/24", "::1/128"],
        );
        check(&guard, "10.0.0.1").unwrap();
        check(&guard, "::1").unwrap();
        check(&guard, "11.0.0.1").unwrap();
        for (address, denied) in [("10.0.0.66", true), ("1.1.1.1", true), ("127.0.0.1", false)] {
            let refusal = check(&guard, address).unwrap_err();
            assert_eq!(matches!(refusal, Refusal::Denied(_)), denied, "{address}");
        }
    }

    #[test]
    fn an_excepted_gateway_does_not_lead_where_one_may_not_go() {
        let guard = guard(
            &["9.9.9.9/32"],
            &["64:ff9b::/96", "::ffff:0:0/96", "2002::/16", "2001::/32"],
        );
        check(&guard, "64:ff9b::808:808").unwrap();
        check(&guard, "::ffff:8.8.8.8").unwrap();
        check(&guard, "2002:808:808::1").unwrap();
        for address in [
            "64:ff9b::7f00:1",
            "64:ff9b::909:909",
            "::ffff:10.0.0.1",
            "::ffff:9.9.9.9",
            "2002:a00:1::1",
            // The inverse of 192.168.0.1.
            "2001:0:4136:e378:8000:63bf:3f57:fffe",
        ] {
            check(&guard, address).unwrap_err();
        }
    }
}
