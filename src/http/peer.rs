//! Who is at the other end: the address of the connection, or what a trusted proxy says of it.

use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{Error, FromRequest, HttpRequest, web};
use ipnet::IpNet;

use super::routes::Version;
use super::state::State;
use crate::services::admin::Sighting;

/// The header that a request carries whose way an operator wants to know.
static PROBE: HeaderName = HeaderName::from_static("x-bindery-probe");

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
        .get_all(header::X_FORWARDED_FOR)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect()
}

/// Keeps how a request arrived, if an operator waits for it.
pub(super) fn note_probe(request: &HttpRequest, state: &State) {
    let headers = request.headers();
    let nonce = headers.get(&PROBE).and_then(|value| value.to_str().ok());
    if let Some(nonce) = nonce {
        let trust = &state.request_log.trust;
        let sighting = || trust.sighting(request.peer_addr(), headers);
        state.probes.arrived(nonce, sighting);
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

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// The client's address.
    pub(super) address: Option<IpAddr>,
    /// Whether it is a call of v1 from where the operator expects homeservers.
    pub(super) is_v1_source: bool,
}

impl Origin {
    pub(super) fn of(request: &HttpRequest, state: &State) -> Self {
        let trust = &state.request_log.trust;
        let address = trust.client(request.peer_addr(), request.headers());
        let expected = |ip| state.v1.sources.iter().any(|source| source.contains(&ip));
        let is_v1_source =
            request.path().starts_with(Version::V1.prefix()) && address.is_some_and(expected);
        Self {
            address,
            is_v1_source,
        }
    }

    /// What limits count it by: nothing for a homeserver that calls v1 for all of its users.
    pub(super) fn counted(&self) -> Option<IpAddr> {
        self.address.filter(|_| !self.is_v1_source)
    }
}

impl FromRequest for Peer {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let state = request.app_data::<web::Data<State>>();
        ready(Ok(Self(
            state.and_then(|state| Origin::of(request, state).counted()),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn client(trusted: &[&str], connection: Option<&str>, forwarded: &[&str]) -> Option<String> {
        let networks = trusted
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            let name = header::X_FORWARDED_FOR;
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
