//! Who is at the other end: the address of the connection, or what a trusted proxy says of it.

use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::HeaderMap;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest};
use ipnet::IpNet;

use super::routes::Version;
use crate::services::admin::{Probes, Sighting};

/// The header that a request carries whose way an operator wants to know.
const PROBE: &str = "x-bindery-probe";

/// What is kept of an entry of `X-Forwarded-For`, in characters.
const LONGEST_HOP: usize = 64;

/// From whom `X-Forwarded-For` is believed.
#[derive(Debug, Clone)]
pub struct ProxyTrust {
    networks: Vec<IpNet>,
    unix_sockets: bool,
}

impl ProxyTrust {
    /// Trusts these networks, and everyone who may connect to a unix socket if `unix_sockets`.
    pub fn new(networks: Vec<IpNet>, unix_sockets: bool) -> Self {
        Self {
            networks,
            unix_sockets,
        }
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    fn believes(&self, connection: Option<IpAddr>) -> bool {
        connection.map_or(self.unix_sockets, |ip| self.trusts(ip))
    }

    fn sighting(&self, connection: Option<SocketAddr>, headers: &HeaderMap) -> Sighting {
        let connection = connection.map(|address| address.ip().to_canonical());
        let last = hops(headers).pop();
        Sighting {
            connection,
            trusted: self.believes(connection),
            forwarded: last.map(|hop| hop.trim().chars().take(LONGEST_HOP).collect()),
        }
    }

    /// The client's address: from the right, the first address in `X-Forwarded-For` that is not a trusted proxy's. What
    /// stands left of it is only what the client says of itself.
    fn client(&self, connection: Option<SocketAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let connection = connection.map(|address| address.ip().to_canonical());
        if !self.believes(connection) {
            return connection;
        }
        let mut client = connection;
        for hop in hops(headers).into_iter().rev() {
            let Some(ip) = parse_hop(hop) else {
                break;
            };
            client = Some(ip);
            if !self.trusts(ip) {
                break;
            }
        }
        client
    }
}

/// The entries of `X-Forwarded-For`, the last proxy's at the end.
fn hops(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect()
}

/// Keeps how a request arrived, if an operator waits for it.
pub(super) fn note_probe(request: &ServiceRequest, trust: &ProxyTrust, probes: &Probes) {
    let nonce = request
        .headers()
        .get(PROBE)
        .and_then(|value| value.to_str().ok());
    if let Some(nonce) = nonce {
        let connection = request.request().peer_addr();
        probes.arrived(nonce, || trust.sighting(connection, request.headers()));
    }
}

/// Reads an address as proxies write it: bare, with a port, or bracketed.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(hop);
    let ip = bare
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|with| with.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

/// The address that limits count a client by; none where it is not known, as behind a unix socket whose proxy does not
/// say, and none for homeservers that call v1.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub Option<IpAddr>);

/// Set on calls of v1 from where the operator expects homeservers.
#[derive(Debug, Clone, Copy)]
struct FromV1Source;

/// Whether a call of v1 comes from where the operator expects homeservers.
pub(super) fn is_v1_source(request: &ServiceRequest) -> bool {
    request.extensions().contains::<FromV1Source>()
}

/// Finds the client's address, and keeps with the request what limits count it by: nothing for a homeserver that calls
/// v1 for all of its users.
pub(super) fn find(
    request: &ServiceRequest,
    trust: &ProxyTrust,
    v1_sources: &[IpNet],
) -> (Option<IpAddr>, Peer) {
    let address = trust.client(request.request().peer_addr(), request.headers());
    let is_v1 = request.path().starts_with(Version::V1.prefix());
    let is_source =
        is_v1 && address.is_some_and(|ip| v1_sources.iter().any(|source| source.contains(&ip)));
    let peer = Peer(address.filter(|_| !is_source));
    request.extensions_mut().insert(peer);
    if is_source {
        request.extensions_mut().insert(FromV1Source);
    }
    (address, peer)
}

impl FromRequest for Peer {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = request.extensions().get::<Self>().copied();
        ready(Ok(found.unwrap_or(Self(
            request.peer_addr().map(|address| address.ip()),
        ))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn client(trusted: &[&str], connection: Option<&str>, forwarded: &[&str]) -> Option<String> {
        let networks = trusted
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            let name = HeaderName::from_static("x-forwarded-for");
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let connection = connection.map(|address| address.parse().unwrap());
        ProxyTrust::new(networks, true)
            .client(connection, &headers)
            .map(|ip| ip.to_string())
    }

    #[test]
    fn a_client_that_is_no_proxy_cannot_choose_its_address() {
        let own = client(&["127.0.0.0/8"], Some("192.0.2.1:5"), &["198.51.100.7"]);
        assert_eq!(own.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn behind_a_proxy_the_right_most_untrusted_address_counts() {
        let through = |forwarded: &[&str]| client(&["127.0.0.0/8"], Some("127.0.0.1:5"), forwarded);
        assert_eq!(through(&["198.51.100.7"]).as_deref(), Some("198.51.100.7"));
        assert_eq!(
            through(&["203.0.113.9, 198.51.100.7"]).as_deref(),
            Some("198.51.100.7")
        );
        assert_eq!(
            through(&["203.0.113.9", "198.51.100.7"]).as_deref(),
            Some("198.51.100.7")
        );
        assert_eq!(
            through(&["198.51.100.7, 127.0.0.9"]).as_deref(),
            Some("198.51.100.7")
        );
        assert_eq!(
            through(&["198.51.100.7:4711"]).as_deref(),
            Some("198.51.100.7")
        );
        assert_eq!(
            through(&["[2001:db8::1]:4711"]).as_deref(),
            Some("2001:db8::1")
        );
        assert_eq!(through(&["[2001:db8::1]"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(
            through(&["203.0.113.9, nonsense"]).as_deref(),
            Some("127.0.0.1")
        );
        assert_eq!(through(&[]).as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn a_unix_socket_without_a_header_has_no_address() {
        assert_eq!(client(&[], None, &[]), None);
        assert_eq!(
            client(&[], None, &["198.51.100.7"]).as_deref(),
            Some("198.51.100.7")
        );
    }

    #[test]
    fn mapped_ipv4_is_ipv4() {
        let mapped = client(
            &["127.0.0.0/8"],
            Some("[::ffff:127.0.0.1]:5"),
            &["198.51.100.7"],
        );
        assert_eq!(mapped.as_deref(), Some("198.51.100.7"));
    }
}
