use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap};
use reqwest::redirect;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::endpoint::Endpoint;
use super::error::{RequestError, SetupError};
use super::guard::Guard;
use super::method::Method;
use super::queue::Queue;
use super::resolver::Resolver;
use crate::config;

/// Addresses that are tried for one request; further ones are left out.
const MOST_ADDRESSES: usize = 8;

/// Makes `https` requests to strangers: only to addresses that the guard lets pass, only to who has the certificate, and
/// within bounds of size, time and number. Clones share them.
///
/// Connections are not kept: each request has its own, made to addresses that were checked for it. TLS sessions are
/// resumed, so that the next handshake is a short one.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    resolver: Resolver,
    guard: Guard,
    tls: rustls::ClientConfig,
    queue: Queue,
    max_response: u64,
}

/// A request, but for where it goes.
struct Wanted<'a> {
    method: Method,
    path: &'a str,
    /// JSON.
    body: Option<String>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
    headers: HeaderMap,
    asked: String,
}

impl Answer {
    /// The value of a header, if it is there and plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of a header, in their order; one that is no plain text is left out.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).collect()
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Where a redirect leads: an `https` URL without credentials.
    pub fn redirect(&self) -> Option<Url> {
        let redirects = matches!(self.status, 301 | 302 | 303 | 307 | 308);
        let location = redirects.then(|| self.header("location")).flatten()?;
        let url = Url::parse(&self.asked).ok()?.join(location).ok()?;
        let plain = url.username().is_empty() && url.password().is_none();
        (url.scheme() == "https" && plain).then_some(url)
    }
}

impl Client {
    /// A client with these settings. Reads `federation.ca_file`, which blocks.
    ///
    /// # Errors
    /// When the file has no certificates.
    pub fn new(settings: &config::Federation, resolver: Resolver) -> Result<Self, SetupError> {
        Ok(Self {
            shared: Arc::new(Shared {
                resolver,
                guard: Guard::new(settings),
                tls: super::tls::client_config("federation.ca_file", settings.ca_file.as_deref())?,
                queue: Queue::new(),
                max_response: settings.max_response,
            }),
        })
    }

    /// GETs a path with its query, which start with `/`, and reads the whole answer. Redirects are not followed.
    ///
    /// `patience` is for everything: waiting for a turn, finding the address, connecting and reading.
    ///
    /// # Errors
    /// When there is no whole answer of a bounded size in time, or it may not be asked for.
    pub async fn get(
        &self,
        endpoint: &Endpoint,
        path: &str,
        patience: Duration,
    ) -> Result<Answer, RequestError> {
        let wanted = Wanted {
            method: Method::Get,
            path,
            body: None,
        };
        self.fetch_in_time(endpoint, wanted, patience).await
    }

    /// Hands JSON to a path, and reads the whole answer; in all else as [`Client::get`].
    ///
    /// # Errors
    /// As there. The other side may have received the JSON all the same.
    pub async fn send_json(
        &self,
        method: Method,
        endpoint: &Endpoint,
        path: &str,
        json: String,
        patience: Duration,
    ) -> Result<Answer, RequestError> {
        let wanted = Wanted {
            method,
            path,
            body: Some(json),
        };
        self.fetch_in_time(endpoint, wanted, patience).await
    }

    async fn fetch_in_time(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
        patience: Duration,
    ) -> Result<Answer, RequestError> {
        let url = endpoint.url(wanted.path)?;
        timeout(patience, self.fetch(endpoint, url, wanted))
            .await
            .unwrap_or_else(|_| Err(timed_out(endpoint)))
    }

    async fn fetch(
        &self,
        endpoint: &Endpoint,
        url: Url,
        wanted: Wanted<'_>,
    ) -> Result<Answer, RequestError> {
        let Wanted { method, path, body } = wanted;
        let host = endpoint.host.as_str();
        let turn = self.shared.queue.turn(&endpoint.authority).await;
        let _turn = turn.ok_or_else(|| timed_out(endpoint))?;
        let addresses = self.addresses(endpoint).await?;
        let failed = |error| RequestError::of(host, error);
        let mut request = builder(self.shared.tls.clone(), addresses)
            .https_only(true)
            .build()
            .map_err(failed)?
            .request(method.into(), url)
            .header(HOST, endpoint.authority.as_str())
            .header(ACCEPT, "application/json");
        if let Some(json) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(json);
        }
        let response = request.send().await.map_err(failed)?;
        let asked = format!("https://{}{path}", endpoint.authority);
        read(response, host, self.shared.max_response, asked).await
    }

    /// TLS as it is spoken to everybody.
    pub(super) fn tls(&self) -> &rustls::ClientConfig {
        &self.shared.tls
    }

    /// The largest answer that is read, in bytes.
    pub(super) fn max_response(&self) -> u64 {
        self.shared.max_response
    }

    /// The addresses of a host that the operator named, whatever they are.
    pub(super) async fn addresses_of(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, RequestError> {
        let found = self.shared.resolver.addresses_of_server(host).await?;
        let found = found.into_iter().take(MOST_ADDRESSES);
        Ok(found.map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// The addresses of all targets. One that is refused refuses them all: who mixes public and private addresses in a
    /// name wants a client to fall from the one to the other.
    async fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, RequestError> {
        let mut addresses = Vec::new();
        if let (Some(literal), Some(target)) = (endpoint.literal(), endpoint.targets.first()) {
            // The HTTP client connects to the literal of the URL itself, whatever the targets say.
            addresses.push(self.admit(&endpoint.host, literal, target.port)?);
            return Ok(addresses);
        }
        let mut missing = None;
        for target in &endpoint.targets {
            match self.shared.resolver.addresses_of_server(&target.host).await {
                Ok(found) => {
                    for address in found {
                        addresses.push(self.admit(&target.host, address, target.port)?);
                    }
                }
                Err(error) => missing = Some(error),
            }
        }
        if let (true, Some(error)) = (addresses.is_empty(), missing) {
            return Err(error.into());
        }
        addresses.truncate(MOST_ADDRESSES);
        Ok(addresses)
    }

    fn admit(&self, host: &str, address: IpAddr, port: u16) -> Result<SocketAddr, RequestError> {
        let checked = self.shared.guard.check(address);
        checked.map_err(|refusal| RequestError::Refused {
            host: host.to_owned(),
            refusal,
        })?;
        Ok(SocketAddr::new(address, port))
    }
}

/// A client for one request, which knows no other addresses than these.
pub(super) fn builder(
    tls: rustls::ClientConfig,
    addresses: Vec<SocketAddr>,
) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("bindery/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Pinned(addresses))
}

/// Reads an answer of at most `most` bytes to its end.
pub(super) async fn read(
    mut response: reqwest::Response,
    host: &str,
    most: u64,
    asked: String,
) -> Result<Answer, RequestError> {
    let too_large = || RequestError::TooLarge {
        host: host.to_owned(),
    };
    if response.content_length() > Some(most) {
        return Err(too_large());
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut body = Vec::new();
    let failed = |error| RequestError::of(host, error);
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if chunk.len() > most.saturating_sub(body.len()) {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body,
        asked,
    })
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

fn timed_out(endpoint: &Endpoint) -> RequestError {
    RequestError::Timeout {
        host: endpoint.host.clone(),
    }
}

/// Answers every name with the addresses that were checked.
struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}
