use std::net::IpAddr;

use url::{Host, Url};

use super::error::RequestError;

/// Where requests go, and who has to answer there: the certificate and the `Host` header belong to a name, and the
/// connection to targets that this name may have been delegated to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The name that the certificate must be for: a host name, or an address literal with its brackets.
    pub host: String,
    /// The `Host` header: the name, with a port where it is part of the server's name.
    pub authority: String,
    /// What is connected to, in the order to try it.
    pub targets: Vec<Target>,
}

/// A host and port to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A host name, or an address literal with or without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint that is connected to by its own name.
    pub fn direct(host: &str, port: u16, authority: &str) -> Self {
        Self {
            host: host.to_owned(),
            authority: authority.to_owned(),
            targets: vec![Target {
                host: host.to_owned(),
                port,
            }],
        }
    }

    /// The `https` URL of a path at this endpoint.
    ///
    /// # Errors
    /// When the host cannot stand in a URL, or would be read as an address that it is not written as: URLs know addresses
    /// in octal, hexadecimal and as one number.
    pub(super) fn url(&self, path: &str) -> Result<Url, RequestError> {
        let bad_name = || RequestError::BadName(self.host.clone());
        match Host::parse(&self.host).map_err(|_| bad_name())? {
            Host::Ipv4(address) if address.to_string() != self.host => return Err(bad_name()),
            _ => {}
        }
        // Only an address literal is connected to as the URL has it; for names the targets decide.
        let port = match (self.literal(), self.targets.first()) {
            (Some(_), Some(target)) => format!(":{}", target.port),
            _ => String::new(),
        };
        Url::parse(&format!("https://{}{port}{path}", self.host)).map_err(|_| bad_name())
    }

    /// The address, if the host is one.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        match Host::parse(&self.host).ok()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> Option<String> {
        let endpoint = Endpoint::direct(host, 8448, host);
        endpoint.url("/x").ok().map(String::from)
    }

    #[test]
    fn a_host_is_not_read_as_an_address_that_it_is_not_written_as() {
        for host in [
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "127.1",
            "2130706433",
            "017700000001",
            "example.0x7f",
            "127.0.0.1.",
            "a.1",
        ] {
            assert_eq!(url(host), None, "{host}");
        }
        assert_eq!(url("127.0.0.1").unwrap(), "https://127.0.0.1:8448/x");
        assert_eq!(url("[::1]").unwrap(), "https://[::1]:8448/x");
        assert_eq!(url("Example.ORG").unwrap(), "https://example.org/x");
    }

    #[test]
    fn a_host_does_not_break_out_of_its_place() {
        for host in ["", "a/b", "a@b", "a:1", "a?b", "a#b", "a b", "a\\b"] {
            assert_eq!(url(host), None, "{host}");
        }
    }
}
