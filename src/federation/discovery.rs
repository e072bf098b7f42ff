//! Finding a homeserver by its name (server-server API, "Resolving server names").

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::cache::Cache;
use crate::clock::Clock;
use crate::net::{Answer, Client, Endpoint, RequestError, Resolver, Service, Target};
use crate::types::ServerName;

/// Ports that no name can change. Tests have others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where `.well-known` is asked for.
    pub https: u16,
    /// Where a homeserver is that nothing says a port of.
    pub matrix: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            https: 443,
            matrix: 8448,
        }
    }
}

/// Servers whose delegation is remembered.
const SERVERS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Hops from one `.well-known` to the next.
const MOST_REDIRECTS: usize = 5;

/// SRV targets that are tried.
const MOST_TARGETS: usize = 4;

/// A delegation holds this long if its headers say nothing.
const USUALLY: Duration = Duration::from_hours(24);

/// A delegation holds at most this long.
const AT_MOST: Duration = Duration::from_hours(48);

/// A delegation holds at least this long, so that no server is asked for it all the time.
const AT_LEAST: Duration = Duration::from_mins(5);

/// That there is no delegation holds this long.
const NONE: Duration = Duration::from_hours(1);

/// That it cannot be told whether there is one holds this long.
const UNKNOWN: Duration = Duration::from_mins(5);

/// Finds homeservers.
pub(super) struct Discovery {
    client: Client,
    resolver: Resolver,
    clock: Arc<dyn Clock>,
    ports: Ports,
    delegations: Cache<Delegation>,
}

/// What `.well-known` said.
struct Delegation {
    to: Option<ServerName>,
    until: Duration,
}

impl Discovery {
    pub fn new(client: Client, resolver: Resolver, clock: Arc<dyn Clock>, ports: Ports) -> Self {
        Self {
            client,
            resolver,
            clock,
            ports,
            delegations: Cache::new(SERVERS),
        }
    }

    /// Where a homeserver is. `patience` is for the whole of it; half of it for `.well-known`, so that a server that is
    /// slow there can still be found in the other ways.
    pub async fn find(
        &self,
        server: &ServerName,
        patience: Duration,
    ) -> Result<Endpoint, RequestError> {
        if let Some(endpoint) = self.explicit(server) {
            return Ok(endpoint);
        }
        match self.delegated(server, patience / 2).await {
            Some(delegated) => match self.explicit(&delegated) {
                Some(endpoint) => Ok(endpoint),
                None => self.by_service(&delegated).await,
            },
            None => self.by_service(server).await,
        }
    }

    /// Address literals and names with a port: nothing is asked for.
    fn explicit(&self, server: &ServerName) -> Option<Endpoint> {
        let (host, port) = (server.host(), server.port());
        let port = match port {
            Some(port) => port,
            None if is_literal(host) => self.ports.matrix,
            None => return None,
        };
        Some(Endpoint::direct(host, port, server.as_str()))
    }

    async fn by_service(&self, server: &ServerName) -> Result<Endpoint, RequestError> {
        let host = server.host();
        for service in ["_matrix-fed", "_matrix"] {
            let name = format!("{service}._tcp.{host}");
            let services = self.resolver.services(&name).await?;
            if !services.is_empty() {
                return Ok(Endpoint {
                    host: host.to_owned(),
                    authority: server.as_str().to_owned(),
                    targets: services
                        .into_iter()
                        .take(MOST_TARGETS)
                        .map(target)
                        .collect(),
                });
            }
        }
        Ok(Endpoint::direct(host, self.ports.matrix, server.as_str()))
    }

    async fn delegated(&self, server: &ServerName, patience: Duration) -> Option<ServerName> {
        let fresh = || {
            let known = self.delegations.get(server.as_str())?;
            (self.clock.monotonic() < known.until).then_some(known)
        };
        if let Some(known) = fresh() {
            return known.to.clone();
        }
        let _turn = self.delegations.turn(server.as_str()).await;
        if let Some(known) = fresh() {
            return known.to.clone();
        }
        let asking = self.ask(server.host(), patience);
        let (to, lifetime) = match tokio::time::timeout(patience, asking).await {
            Ok(Ok(answer)) => match delegation(&answer) {
                Some(to) => (Some(to), self.lifetime(&answer)),
                None => (None, NONE),
            },
            Ok(Err(_)) | Err(_) => (None, UNKNOWN),
        };
        let until = self.clock.monotonic().saturating_add(lifetime);
        let found = Delegation { to, until };
        self.delegations.put(server.as_str(), found).to.clone()
    }

    /// GETs `.well-known/matrix/server`, over redirects.
    async fn ask(&self, host: &str, patience: Duration) -> Result<Answer, RequestError> {
        let mut endpoint = Endpoint::direct(host, self.ports.https, host);
        let mut path = "/.well-known/matrix/server".to_owned();
        let mut hops = 0;
        loop {
            let answer = self.client.get(&endpoint, &path, patience).await?;
            let Some(next) = answer.redirect().filter(|_| hops < MOST_REDIRECTS) else {
                return Ok(answer);
            };
            hops += 1;
            let Some(host) = next.host_str() else {
                return Ok(answer);
            };
            let port = next.port().unwrap_or(self.ports.https);
            let authority = match next.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            };
            endpoint = Endpoint::direct(host, port, &authority);
            next.path().clone_into(&mut path);
            if let Some(query) = next.query() {
                path = format!("{path}?{query}");
            }
        }
    }

    /// How long a delegation holds by its headers (RFC 9111, section 4.2.1), within bounds.
    fn lifetime(&self, answer: &Answer) -> Duration {
        let control = answer.header("cache-control").unwrap_or_default();
        let now = self.clock.now().as_millis();
        let lifetime = max_age(control).or_else(|| {
            let expires = httpdate::parse_http_date(answer.header("expires")?).ok()?;
            let expires = expires.duration_since(UNIX_EPOCH).ok()?;
            Some(expires.saturating_sub(Duration::from_millis(now)))
        });
        lifetime.unwrap_or(USUALLY).clamp(AT_LEAST, AT_MOST)
    }
}

fn target(service: Service) -> Target {
    Target {
        host: service.target,
        port: service.port,
    }
}

fn is_literal(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

/// The server that an answer delegates to; none if it is anything else.
fn delegation(answer: &Answer) -> Option<ServerName> {
    if answer.status != 200 {
        return None;
    }
    let body: Value = answer.json()?;
    ServerName::parse(body.get("m.server")?.as_str()?).ok()
}

/// What `Cache-Control` allows; not at all is zero.
fn max_age(control: &str) -> Option<Duration> {
    let mut lifetime = None;
    for directive in control.split(',') {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim(), value.trim().trim_matches('"')),
            None => (directive.trim(), ""),
        };
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") && lifetime.is_none() {
            lifetime = value.parse().ok().map(Duration::from_secs);
        }
    }
    lifetime
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_is_read_as_it_is_written_in_the_wild() {
        for (control, seconds) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"60\" , must-revalidate", Some(60)),
            ("max-age=60, no-cache", Some(0)),
            ("no-store", Some(0)),
            ("max-age=99999999999999999999999", None),
            ("max-age=-1", None),
            ("max-age", None),
            ("", None),
            (",,=,", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(max_age(control), expected, "{control}");
        }
    }
}
