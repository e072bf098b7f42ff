use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

/// A host has no address, or its address cannot be found out.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It does not exist, or has no address.
    #[error("`{0}` has no address in DNS or /etc/hosts")]
    NotFound(String),
    /// There is nobody to ask.
    #[error("`{0}` cannot be looked up: /etc/resolv.conf names no DNS server")]
    NoServers(String),
    /// No DNS server gave an answer.
    #[error("`{host}` cannot be looked up: no DNS server answered ({source})")]
    NoAnswer {
        /// What was looked up.
        host: String,
        /// What the resolver met.
        source: Box<NetError>,
    },
    /// The configuration makes no resolver.
    #[error("the DNS resolver cannot be set up ({0})")]
    Setup(#[source] Box<NetError>),
}

/// Finds the addresses of hosts: `/etc/hosts` first, then DNS.
///
/// Connections to DNS servers belong to the runtime that asked first, so whoever has several runtimes asks on one of them.
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
    has_servers: bool,
}

impl Resolver {
    /// A resolver with the system's configuration, `/etc/resolv.conf`.
    ///
    /// Without one, it warns, and knows only address literals, `localhost` and `/etc/hosts`: asking a public DNS server
    /// that nobody chose would tell strangers whom this server talks to.
    ///
    /// # Errors
    /// When no resolver can be built from that configuration.
    pub fn system() -> Result<Self, ResolveError> {
        let builder = match TokioResolver::builder_tokio() {
            Ok(builder) => builder,
            Err(error) => {
                log::warn!(
                    "/etc/resolv.conf gives no DNS server ({error}): only addresses, `localhost` and names of /etc/hosts \
                     can be reached"
                );
                return Self::with_servers(&[]);
            }
        };
        Self::build(builder, true)
    }

    /// A resolver that asks these DNS servers over UDP and TCP.
    ///
    /// # Errors
    /// When no resolver can be built from them.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        let server = |address: &SocketAddr| {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = address.port();
            }
            NameServerConfig::new(address.ip(), true, connections.into())
        };
        let servers: Vec<_> = servers.iter().map(server).collect();
        let has_servers = !servers.is_empty();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Self::build(builder, has_servers)
    }

    fn build(
        mut builder: hickory_resolver::ResolverBuilder<TokioRuntimeProvider>,
        has_servers: bool,
    ) -> Result<Self, ResolveError> {
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        let inner = builder
            .build()
            .map_err(|source| ResolveError::Setup(Box::new(source)))?;
        Ok(Self { inner, has_servers })
    }

    /// The addresses of a host name or address literal (bracketed or not), at least one, in the order to try them.
    ///
    /// # Errors
    /// When there is no address, no DNS server, or no answer.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(known) = without_asking(host) {
            return Ok(known);
        }
        let found = self.inner.lookup_ip(host).await;
        let found = found.map_err(|source| self.error(host, source))?;
        let addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            return Err(ResolveError::NotFound(host.to_owned()));
        }
        Ok(addresses)
    }

    /// [`Resolver::addresses`] of a name that strangers gave: it is whole, and the system's search domains are not tried.
    ///
    /// # Errors
    /// As there.
    pub async fn addresses_of_server(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        match without_asking(host) {
            Some(known) => Ok(known),
            None => self.addresses(&whole(host)).await,
        }
    }

    /// The SRV records of a name, in the order to try them; none if there are none.
    ///
    /// Of equal priority, the heavier come first: one homeserver is asked too rarely for shares to matter.
    ///
    /// # Errors
    /// When there is no DNS server, or no answer.
    pub async fn services(&self, name: &str) -> Result<Vec<Service>, ResolveError> {
        if !self.has_servers {
            return Ok(Vec::new());
        }
        let found = match self.inner.lookup(whole(name), RecordType::SRV).await {
            Ok(found) => found,
            Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
            Err(error) => return Err(self.error(name, error)),
        };
        let mut services: Vec<Service> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(Service {
                    priority: srv.priority,
                    weight: srv.weight,
                    target: srv.target.to_ascii(),
                    port: srv.port,
                }),
                _ => None,
            })
            .collect();
        services.sort_by_key(|service| (service.priority, std::cmp::Reverse(service.weight)));
        Ok(services)
    }

    /// The texts of a name's TXT records, each put together from its parts; none if there are none.
    ///
    /// # Errors
    /// When there is no DNS server, or no answer.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        let text = |data: &RData| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        };
        self.records(name, RecordType::TXT, text).await
    }

    /// The hosts that take mail for a domain, the preferred one first; none if there are none. `.` says that the domain
    /// decidedly takes none (RFC 7505).
    ///
    /// # Errors
    /// When there is no DNS server, or no answer.
    pub async fn mail_hosts(&self, domain: &str) -> Result<Vec<String>, ResolveError> {
        let host = |data: &RData| match data {
            RData::MX(mx) => Some((mx.preference, mx.exchange.to_ascii())),
            _ => None,
        };
        let mut hosts = self.records(domain, RecordType::MX, host).await?;
        hosts.sort();
        Ok(hosts.into_iter().map(|(_, host)| host).collect())
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, ResolveError> {
        if !self.has_servers {
            return Err(ResolveError::NoServers(name.to_owned()));
        }
        match self.inner.lookup(whole(name), kind).await {
            Ok(found) => {
                let answers = found.answers().iter();
                Ok(answers.filter_map(|record| read(&record.data)).collect())
            }
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(self.error(name, error)),
        }
    }

    fn error(&self, host: &str, source: NetError) -> ResolveError {
        let host = host.trim_end_matches('.').to_owned();
        if source.is_no_records_found() {
            ResolveError::NotFound(host)
        } else if self.has_servers {
            ResolveError::NoAnswer {
                host,
                source: Box::new(source),
            }
        } else {
            ResolveError::NoServers(host)
        }
    }
}

/// Where a service is (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The lowest is tried first.
    pub priority: u16,
    /// Of one priority, how often it should be tried first.
    pub weight: u16,
    /// The host name; `.` says that there is decidedly no such service.
    pub target: String,
    /// The port.
    pub port: u16,
}

/// A name with its last dot.
fn whole(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

/// The addresses of a literal, and of `localhost` (RFC 6761, section 6.3).
fn without_asking(host: &str) -> Option<Vec<IpAddr>> {
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = literal.parse() {
        return Some(vec![address]);
    }
    host.eq_ignore_ascii_case("localhost")
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hickory_resolver::Hosts;

    use super::*;

    fn without_servers(hosts: &str) -> Resolver {
        let mut known = Hosts::default();
        known.read_hosts_conf(hosts.as_bytes()).unwrap();
        let mut resolver = Resolver::with_servers(&[]).unwrap();
        resolver.inner.set_hosts(Arc::new(known));
        resolver
    }

    #[tokio::test]
    async fn literals_and_localhost_need_no_server() {
        let resolver = without_servers("");
        let expected: [(&str, &[&str]); 6] = [
            ("192.0.2.1", &["192.0.2.1"]),
            ("2001:db8::1", &["2001:db8::1"]),
            ("[2001:db8::1]", &["2001:db8::1"]),
            ("[192.0.2.1]", &["192.0.2.1"]),
            ("localhost", &["127.0.0.1", "::1"]),
            ("LocalHost", &["127.0.0.1", "::1"]),
        ];
        for (host, addresses) in expected {
            let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(resolver.addresses(host).await.unwrap(), addresses, "{host}");
        }
    }

    #[tokio::test]
    async fn names_of_the_hosts_file_need_no_server() {
        let resolver =
            without_servers("192.0.2.7 mail mail.example.org\n2001:db8::7 six.example.org\n");
        for (host, address) in [
            ("mail", "192.0.2.7"),
            ("mail.example.org", "192.0.2.7"),
            ("six.example.org", "2001:db8::7"),
        ] {
            let expected: IpAddr = address.parse().unwrap();
            assert_eq!(
                resolver.addresses(host).await.unwrap(),
                [expected],
                "{host}"
            );
        }
    }

    #[tokio::test]
    async fn other_names_say_that_nobody_can_be_asked() {
        let resolver = without_servers("192.0.2.7 mail\n");
        for host in [
            "example.org",
            "example.org.",
            "",
            ".",
            "a b",
            "[::1",
            "x".repeat(300).as_str(),
        ] {
            let error = resolver.addresses(host).await.unwrap_err();
            assert!(
                !matches!(error, ResolveError::NoAnswer { .. }),
                "{host}: {error}"
            );
        }
    }
}
