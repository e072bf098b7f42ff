use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::reader::Reader;
use super::values;
use crate::types::Invalid;

/// `[api]`: what clients may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// How much of version 1 is served.
    pub v1: V1,
    /// From where version 1 is served at [`V1::Delegate`], and free of the limits by address.
    pub v1_sources: Vec<IpNet>,
    /// The longest request body, in bytes. Lookups are given more where `lookup.max_addresses` needs it.
    pub max_body: u64,
    /// How many requests are answered at once; more are refused.
    pub max_requests: usize,
    /// The hosts that a `next_link` may lead to, in lower case; empty allows every host.
    pub next_link_hosts: Vec<String>,
}

/// How much of version 1 of the API is served. Links into it that stand in rooms and mails work at every level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum V1 {
    /// Nothing else.
    Off,
    /// What a homeserver needs that lets this server validate addresses.
    Delegate,
    /// All of it.
    Full,
}

impl Default for Api {
    fn default() -> Self {
        let loopback_v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
        let loopback_v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
        Self {
            v1: V1::Full,
            v1_sources: vec![loopback_v4.into(), loopback_v6.into()],
            max_body: 64 * 1024,
            max_requests: 1024,
            next_link_hosts: Vec::new(),
        }
    }
}

impl Api {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const SIZE: Invalid = Invalid::expecting("a size from \"1KiB\" to \"16MiB\", in quotes");
        const HOSTS: Invalid = Invalid::expecting(
            "a list of host names such as [\"app.example.org\"], without scheme, port and path",
        );
        const LEVELS: Invalid = Invalid::expecting("\"full\", \"delegate\" or \"off\"");
        const NETWORKS: Invalid = Invalid::expecting(
            "a list of networks or addresses such as [\"192.0.2.0/24\", \"::1\"]",
        );
        const REQUESTS: Invalid = Invalid::expecting("a whole number from 1 to 1000000");
        let default = Self::default();
        let mut section = reader.section("api");
        let sizes = 1024..=16 * 1024 * 1024;
        Self {
            v1: section.value("v1", default.v1, |value| {
                values::word(
                    value,
                    &[
                        ("full", V1::Full),
                        ("delegate", V1::Delegate),
                        ("off", V1::Off),
                    ],
                    LEVELS,
                )
            }),
            v1_sources: section.value("v1_sources", default.v1_sources, |value| {
                values::list(
                    value,
                    |text| values::network(text).ok_or(NETWORKS),
                    NETWORKS,
                )
            }),
            max_body: section.value("max_body", default.max_body, |value| {
                values::size(value, &sizes, SIZE)
            }),
            max_requests: section.value("max_requests", default.max_requests, |value| {
                values::whole(value, &(1..=1_000_000), REQUESTS)
            }),
            next_link_hosts: section.value("next_link_hosts", default.next_link_hosts, |value| {
                values::list(value, |text| host(text).ok_or(HOSTS), HOSTS)
            }),
        }
    }
}

/// A host in the form that URLs are compared in.
fn host(text: &str) -> Option<String> {
    url::Host::parse(text).ok().map(|host| host.to_string())
}
