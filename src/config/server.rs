use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Value;
use url::{Host, Url};

use super::reader::Reader;
use super::values;
use crate::types::{Invalid, ServerName};

/// `[server]`: who the server is and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The name that signatures are made under.
    pub name: ServerName,
    /// Other names that homeservers may call this server by.
    pub aliases: Vec<ServerName>,
    /// Where clients reach the server; links in mails start with it.
    pub public_url: PublicUrl,
    /// Where connections are accepted; at least one.
    pub listen: Vec<Listen>,
    /// How many threads answer requests; 0 is one a core.
    pub workers: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            name: ServerName::localhost(),
            aliases: Vec::new(),
            public_url: PublicUrl("http://localhost:8090".to_owned()),
            listen: vec![Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)))],
            workers: 0,
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

/// A place where connections are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and a TCP port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Listen {
    /// The longest path of a unix socket, in bytes: what the system bears less the ending under which it is made.
    pub(super) const LONGEST_PATH: usize = 103;

    pub(super) const TOO_LONG: Invalid =
        Invalid::expecting("shorter: the path of a unix socket has at most 103 bytes");
    const EXPECTED: Invalid = Invalid::expecting(
        "a list of addresses with a port such as [\"127.0.0.1:8090\", \"[::1]:8090\"], or \"unix:PATH\"",
    );

    /// Reads `address:port`, `[address]:port` or `unix:PATH`.
    ///
    /// # Errors
    /// Host names, addresses without a port, and paths that no socket can have are refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("unix:") {
            Some(path) if path.is_empty() || path.contains('\0') => Err(Self::EXPECTED),
            Some(path) if path.len() > Self::LONGEST_PATH => Err(Self::TOO_LONG),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| Self::EXPECTED),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The URL that clients reach the server under: scheme and authority, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Reads an http or https URL; host in lower case and no default port afterwards.
    ///
    /// # Errors
    /// Credentials, a path (a single slash too), a query and a fragment are refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: Invalid = Invalid::expecting(
            "a URL of scheme and host only, such as `https://id.example.org`, without a slash at the end",
        );
        let authority = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or(EXPECTED)?;
        let ends_authority = |c: char| {
            matches!(c, '/' | '?' | '#' | '@' | '\\') || c.is_control() || c.is_whitespace()
        };
        if authority.contains(ends_authority) {
            return Err(EXPECTED);
        }
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        Ok(Self(url.origin().ascii_serialization()))
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host, and port where it is not the scheme's own.
    pub fn authority(&self) -> &str {
        self.0
            .split_once("://")
            .map_or(&self.0, |(_, authority)| authority)
    }

    /// The host, without brackets where it is an IPv6 address.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        match authority.strip_prefix('[') {
            Some(literal) => literal.split(']').next().unwrap_or(literal),
            None => authority.split(':').next().unwrap_or(authority),
        }
    }

    /// True if it leads to this machine only.
    pub fn is_local(&self) -> bool {
        let host = Url::parse(&self.0)
            .ok()
            .and_then(|url| url.host().map(|host| host.to_owned()));
        match host {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// True for https.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Networks that proxies connect from.
    pub networks: Vec<IpNet>,
    /// Whether whoever connects to a unix socket is one.
    pub unix: bool,
}

impl TrustedProxies {
    /// True if a peer with this address is a proxy. An IPv4 address in its IPv6 form counts as what it is.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.networks.iter().any(|network| network.contains(&peer))
    }
}

impl TrustedProxies {
    fn from_value(value: &Value) -> Result<Self, Invalid> {
        const EXPECTED: Invalid = Invalid::expecting(
            "a list of addresses and networks such as [\"127.0.0.1\", \"10.0.0.0/8\"]; \"unix\" stands for unix sockets",
        );
        let entry = |text: &str| match text {
            "unix" => Ok(None),
            text => values::network(text).map(Some).ok_or(EXPECTED),
        };
        let entries = values::list(value, entry, EXPECTED)?;
        Ok(Self {
            unix: entries.contains(&None),
            networks: entries.into_iter().flatten().collect(),
        })
    }
}

impl Default for TrustedProxies {
    fn default() -> Self {
        const V4: IpNet = IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
        const V6: IpNet = IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
        Self {
            networks: vec![V4, V6],
            unix: true,
        }
    }
}

impl Server {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const WORKERS: Invalid = Invalid::expecting("a number from 0 (one a core) to 1024");
        const TEXT: Invalid = Invalid::expecting("a text, in quotes");
        const ALIASES: Invalid =
            Invalid::expecting("a list of server names such as [\"old.example.org\"]");
        let default = Self::default();
        let mut section = reader.section("server");
        Self {
            name: section.value("name", default.name, |value| {
                values::text(value, name, TEXT)
            }),
            aliases: section.value("aliases", default.aliases, |value| {
                values::list(value, name, ALIASES)
            }),
            public_url: section.value("public_url", default.public_url, |value| {
                values::text(value, PublicUrl::parse, TEXT)
            }),
            listen: section.value("listen", default.listen, listen),
            workers: section.value("workers", default.workers, |value| {
                values::whole(value, &(0..=1024), WORKERS)
            }),
            trusted_proxies: section.value(
                "trusted_proxies",
                default.trusted_proxies,
                TrustedProxies::from_value,
            ),
        }
    }
}

fn name(text: &str) -> Result<ServerName, Invalid> {
    if text.contains("://") {
        return Err(Invalid::expecting(
            "a server name such as `example.org`; the URL belongs into `server.public_url`",
        ));
    }
    ServerName::parse(text)
}

fn listen(value: &Value) -> Result<Vec<Listen>, Invalid> {
    let places = values::list(value, Listen::parse, Listen::EXPECTED)?;
    if places.is_empty() {
        Err(Listen::EXPECTED)
    } else {
        Ok(places)
    }
}
