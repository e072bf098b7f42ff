use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::time::timeout;
use url::{Host, Url};

use super::client;
use super::error::{GatewayError, RequestError, SetupError};
use super::method::Method;
use super::resolver::Resolver;

/// Addresses that are tried for one request; further ones are left out.
const MOST_ADDRESSES: usize = 8;

/// The largest answer that is read. What gateways say of one message is far shorter.
const MOST_BYTES: usize = 64 * 1024;

/// Makes requests to gateways that the operator wrote down, wherever they are: a private address is one that was meant.
///
/// Certificates are verified, redirects are not followed, and the proxy variables of the environment are ignored. Without
/// TLS, only loopback and private addresses are spoken to.
#[derive(Clone)]
pub struct Gateways {
    shared: Arc<Shared>,
}

struct Shared {
    resolver: Resolver,
    tls: rustls::ClientConfig,
}

/// A request to a gateway. It may hold secrets, so `Debug` shows none of it.
pub struct GatewayRequest {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: Url,
    /// Headers by name.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Vec<u8>>,
}

/// What a gateway answered. It may repeat what it was sent, so `Debug` shows the status only.
pub struct GatewayAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl GatewayAnswer {
    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl fmt::Debug for GatewayAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayAnswer({})", self.status)
    }
}

impl fmt::Debug for GatewayRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayRequest(…)")
    }
}

impl Gateways {
    /// Trusts the web's authorities, and those of a file that a key of the configuration names. Reads the file, which
    /// blocks.
    ///
    /// # Errors
    /// When the file has no certificates.
    pub fn new(
        resolver: Resolver,
        key: &'static str,
        ca_file: Option<&Path>,
    ) -> Result<Self, SetupError> {
        let tls = super::tls::client_config(key, ca_file)?;
        Ok(Self {
            shared: Arc::new(Shared { resolver, tls }),
        })
    }

    /// Whether a URL may be asked at all, as far as it shows without looking up its host.
    ///
    /// # Errors
    /// When the URL is neither https nor http, or is http and has a public address for a host.
    pub fn check(url: &Url) -> Result<(), GatewayError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        match (url.scheme(), literal(url)) {
            ("https", _) | ("http", None) if !host.is_empty() => Ok(()),
            ("http", Some(address)) if is_next_door(address) => Ok(()),
            ("http", Some(_)) => Err(GatewayError::InTheClear(host)),
            _ => Err(RequestError::BadName(host).into()),
        }
    }

    /// Makes a request and reads the whole answer. `patience` is for everything: finding the address, connecting and
    /// reading.
    ///
    /// # Errors
    /// When there is no whole answer of a bounded size in time, or it may not be asked for.
    pub async fn send(
        &self,
        request: GatewayRequest,
        patience: Duration,
    ) -> Result<GatewayAnswer, GatewayError> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        timeout(patience, self.exchange(request, &host))
            .await
            .unwrap_or(Err(RequestError::Timeout { host }.into()))
    }

    async fn exchange(
        &self,
        request: GatewayRequest,
        host: &str,
    ) -> Result<GatewayAnswer, GatewayError> {
        let addresses = self.addresses(&request.url, host).await?;
        let failed = |error| GatewayError::from(RequestError::of(host, error));
        let headers =
            headers(&request.headers).ok_or_else(|| GatewayError::BadHeader(host.to_owned()))?;
        let mut asking = client::builder(self.shared.tls.clone(), addresses)
            .build()
            .map_err(failed)?
            .request(request.method.into(), request.url)
            .headers(headers);
        if let Some(body) = request.body {
            asking = asking.body(body);
        }
        let mut response = asking.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if chunk.len() > MOST_BYTES.saturating_sub(body.len()) {
                return Err(GatewayError::TooLong {
                    host: host.to_owned(),
                    most: MOST_BYTES,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(GatewayAnswer {
            status: response.status().as_u16(),
            body,
        })
    }

    /// Where the gateway is. Without TLS, one address that is not next door refuses them all: who mixes them in a name
    /// wants a client to fall from the one to the other.
    async fn addresses(&self, url: &Url, host: &str) -> Result<Vec<SocketAddr>, GatewayError> {
        Self::check(url)?;
        let found = match literal(url) {
            Some(address) => vec![address],
            None => self
                .shared
                .resolver
                .addresses(host)
                .await
                .map_err(RequestError::from)?,
        };
        if url.scheme() == "http" && !found.iter().copied().all(is_next_door) {
            return Err(GatewayError::InTheClear(host.to_owned()));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let found = found.into_iter().take(MOST_ADDRESSES);
        Ok(found
            .map(|address| SocketAddr::new(address, port))
            .collect())
    }
}

impl fmt::Debug for Gateways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gateways")
    }
}

/// The address that is written in place of a name. The HTTP client connects to it without asking anybody.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
        Host::Domain(_) => None,
    }
}

/// Whether what is said to an address stays on this machine or in a network of the operator's.
fn is_next_door(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// The headers, their values marked as secret; none if one of them cannot stand in a request.
fn headers(given: &[(String, String)]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
    }
    Some(headers)
}
