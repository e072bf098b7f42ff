use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::reader::Reader;
use super::values;
use crate::types::Invalid;

/// `[federation]`: how homeservers are found and asked, and which addresses are never connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Federation {
    /// The DNS servers to ask; none are the system's.
    pub dns: Vec<SocketAddr>,
    /// A PEM file of further root certificates.
    pub ca_file: Option<PathBuf>,
    /// Networks that are refused besides those that are not public.
    pub deny_ips: Vec<IpNet>,
    /// Networks that are connected to although they are not public.
    pub allow_ips: Vec<IpNet>,
    /// How long one question may take, from finding the homeserver to the end of its answer.
    pub timeout: Duration,
    /// The largest answer that is read, in bytes.
    pub max_response: u64,
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            dns: Vec::new(),
            ca_file: None,
            deny_ips: Vec::new(),
            allow_ips: Vec::new(),
            timeout: Duration::from_secs(10),
            max_response: 64 * 1024,
        }
    }
}

impl Federation {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const SERVERS: Invalid = Invalid::expecting(
            "a list of DNS servers with a port such as [\"192.0.2.53:53\", \"[2001:db8::53]:53\"]",
        );
        const NETWORKS: Invalid = Invalid::expecting(
            "a list of addresses and networks such as [\"192.0.2.1\", \"10.0.0.0/8\"]",
        );
        const SIZE: Invalid = Invalid::expecting("a size from \"4KiB\" to \"16MiB\", in quotes");
        let server = |text: &str| {
            let server: SocketAddr = text.parse().map_err(|_| SERVERS)?;
            if server.port() == 0 {
                return Err(SERVERS);
            }
            Ok(server)
        };
        let network = |text: &str| values::network(text).ok_or(NETWORKS);
        let default = Self::default();
        let mut section = reader.section("federation");
        Self {
            dns: section.value("dns", default.dns, |value| {
                values::list(value, server, SERVERS)
            }),
            ca_file: section.optional("ca_file", values::path),
            deny_ips: section.value("deny_ips", default.deny_ips, |value| {
                values::list(value, network, NETWORKS)
            }),
            allow_ips: section.value("allow_ips", default.allow_ips, |value| {
                values::list(value, network, NETWORKS)
            }),
            timeout: section.value("timeout", default.timeout, values::duration),
            max_response: section.value("max_response", default.max_response, |value| {
                values::size(value, &(4096..=16 * 1024 * 1024), SIZE)
            }),
        }
    }
}
