//! Homeservers: where they are, whom they vouch for, and what they signed.
//!
//! Everything that comes from a homeserver is checked here against the name that was asked for. Who asks gets a parsed value,
//! or an error that is sorted by [`Outcome`].

mod cache;
mod discovery;
mod error;
mod keys;
mod onbind;
mod openid;
mod x_matrix;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::time::timeout;

pub use discovery::Ports;
pub use error::{FederationError, Outcome};
pub use keys::KeyProblem;
pub use x_matrix::SignedRequest;

use crate::clock::Clock;
use crate::config;
use crate::net::{Answer, Client, Method, Resolver, SetupError};
use crate::types::{KeyId, ServerName, UserId};
use discovery::Discovery;
use keys::{KeyCache, RemoteKeys};

/// Decides whether the keys of a homeserver may be fetched once more, and if not, after how long.
pub type KeyFetchLimit = dyn Fn(&ServerName) -> Result<(), Duration> + Send + Sync;

/// Asks homeservers. Clones share what is known of them.
#[derive(Clone)]
pub struct Federation {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    client: Client,
    discovery: Discovery,
    keys: KeyCache,
    key_fetches: Box<KeyFetchLimit>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
}

impl Federation {
    /// With these settings. Reads `federation.ca_file`, which blocks.
    ///
    /// Questions may be asked on any runtime: they are carried out on `runtime`, to which the connections to DNS servers
    /// belong.
    ///
    /// # Errors
    /// When `federation.ca_file` has no certificates, or no resolver can be made.
    pub fn new(
        settings: &config::Federation,
        clock: Arc<dyn Clock>,
        key_fetches: Box<KeyFetchLimit>,
        runtime: Handle,
    ) -> Result<Self, SetupError> {
        Self::with_ports(settings, clock, key_fetches, runtime, Ports::default())
    }

    /// [`Federation::new`] where the usual ports are others.
    ///
    /// # Errors
    /// As there.
    pub fn with_ports(
        settings: &config::Federation,
        clock: Arc<dyn Clock>,
        key_fetches: Box<KeyFetchLimit>,
        runtime: Handle,
        ports: Ports,
    ) -> Result<Self, SetupError> {
        let resolver = if settings.dns.is_empty() {
            Resolver::system()?
        } else {
            Resolver::with_servers(&settings.dns)?
        };
        let client = Client::new(settings, resolver.clone())?;
        Ok(Self {
            shared: Arc::new(Shared {
                discovery: Discovery::new(client.clone(), resolver, Arc::clone(&clock), ports),
                client,
                keys: keys::cache(),
                key_fetches,
                clock,
                timeout: settings.timeout,
            }),
            runtime,
        })
    }

    /// Asks a homeserver whose an OpenID token is: `GET /_matrix/federation/v1/openid/userinfo`. The user's server is
    /// `server`, byte for byte.
    ///
    /// # Errors
    /// When the homeserver rejects the token, vouches for a user of another server, or cannot be asked.
    pub async fn userinfo(
        &self,
        server: &ServerName,
        access_token: &str,
    ) -> Result<UserId, FederationError> {
        let path = openid::path(access_token);
        let (shared, asked) = (Arc::clone(&self.shared), server.clone());
        let asking = self
            .runtime
            .spawn(async move { shared.in_time(&asked, shared.get(&asked, &path)).await });
        let answer = asking.await.map_err(|_| FederationError::Stopping)??;
        openid::user(&answer, server)
    }

    /// Tells a homeserver what was bound to one of its users: `POST /_matrix/federation/v1/3pid/onbind`, or `PUT` where it
    /// does not know the call under POST.
    ///
    /// # Errors
    /// When it does not answer that it has taken it. [`FederationError::refuses_content`] tells whether something else could
    /// be taken.
    pub async fn onbind(
        &self,
        server: &ServerName,
        body: &Map<String, Value>,
    ) -> Result<(), FederationError> {
        let json = serde_json::to_string(body).map_err(|_| FederationError::Unwritable)?;
        let (shared, told) = (Arc::clone(&self.shared), server.clone());
        let telling = self.runtime.spawn(async move {
            let telling = async {
                let answer = shared.send(Method::Post, &told, json.clone()).await?;
                if onbind::is_unknown(&answer) {
                    return shared.send(Method::Put, &told, json).await;
                }
                Ok(answer)
            };
            shared.in_time(&told, telling).await
        });
        let answer = telling.await.map_err(|_| FederationError::Stopping)??;
        onbind::taken(&answer, server)
    }

    /// Checks that a request is signed by the homeserver that it says it is from, and meant for this server. The answer is
    /// that homeserver's name (server-server API, "Request Authentication"). Keys that are not known are fetched, at a
    /// limited rate.
    ///
    /// The protocol has no nonce: a request that is sent again holds again.
    ///
    /// # Errors
    /// When the headers are malformed, the signature or the destination is false, or the keys cannot be had.
    pub async fn verify_request(
        &self,
        request: &SignedRequest<'_>,
    ) -> Result<ServerName, FederationError> {
        let signatures = request.signatures()?;
        let destinations = signatures.destinations(request.our_names)?;
        let ids: Vec<KeyId> = signatures.by_key.iter().map(|(id, _)| id.clone()).collect();
        let keys = self.keys(&signatures.origin, ids).await?;
        signatures.verify(request, &destinations, &keys)?;
        Ok(signatures.origin)
    }

    /// Finds a homeserver and fetches its keys, known or not: whoever can do this can do all that a homeserver is asked for.
    ///
    /// # Errors
    /// When it cannot be found or reached, or its keys are not in order.
    pub async fn reach(&self, server: &ServerName) -> Result<(), FederationError> {
        let (shared, server) = (Arc::clone(&self.shared), server.clone());
        let fetching = self.runtime.spawn(async move {
            let known = shared.known_keys(&server);
            let fetching = shared.fetch_keys(&server, known.as_ref());
            shared.in_time(&server, fetching).await.map(|_| ())
        });
        fetching.await.map_err(|_| FederationError::Stopping)?
    }

    /// Those of the keys that the homeserver has; at least one.
    async fn keys(
        &self,
        server: &ServerName,
        ids: Vec<KeyId>,
    ) -> Result<Vec<(KeyId, [u8; 32])>, FederationError> {
        let known = self.shared.known_keys(server);
        if let Some(found) = known.as_deref().and_then(|keys| pick(keys, &ids)) {
            return Ok(found);
        }
        let (shared, server) = (Arc::clone(&self.shared), server.clone());
        let fetching = self.runtime.spawn(async move {
            let fetching = shared.fetch_keys(&server, known.as_ref());
            let keys = shared.in_time(&server, fetching).await?;
            pick(&keys, &ids).ok_or_else(|| FederationError::UnknownKey(server.to_string()))
        });
        fetching.await.map_err(|_| FederationError::Stopping)?
    }
}

/// Those of the keys that there are; none if there is none.
fn pick(keys: &RemoteKeys, ids: &[KeyId]) -> Option<Vec<(KeyId, [u8; 32])>> {
    let found: Vec<_> = ids
        .iter()
        .filter_map(|id| Some((id.clone(), keys.get(id)?)))
        .collect();
    (!found.is_empty()).then_some(found)
}

impl Shared {
    async fn in_time<T>(
        &self,
        server: &ServerName,
        work: impl Future<Output = Result<T, FederationError>>,
    ) -> Result<T, FederationError> {
        timeout(self.timeout, work)
            .await
            .unwrap_or_else(|_| Err(FederationError::Timeout(server.to_string())))
    }

    /// Finds a homeserver and GETs a path there.
    async fn get(&self, server: &ServerName, path: &str) -> Result<Answer, FederationError> {
        let failed = |source| FederationError::request(server, source);
        let found = self.discovery.find(server, self.timeout).await;
        let endpoint = found.map_err(failed)?;
        let answer = self.client.get(&endpoint, path, self.timeout).await;
        answer.map_err(failed)
    }

    /// Finds a homeserver and hands it what was bound.
    async fn send(
        &self,
        method: Method,
        server: &ServerName,
        json: String,
    ) -> Result<Answer, FederationError> {
        let failed = |source| FederationError::request(server, source);
        let found = self.discovery.find(server, self.timeout).await;
        let endpoint = found.map_err(failed)?;
        let sent = self
            .client
            .send_json(method, &endpoint, onbind::PATH, json, self.timeout);
        sent.await.map_err(failed)
    }

    /// The keys of a homeserver, as far as they are known and still valid.
    fn known_keys(&self, server: &ServerName) -> Option<Arc<RemoteKeys>> {
        let known = self.keys.get(server.as_str())?;
        known.is_valid(self.clock.now()).then_some(known)
    }

    /// Fetches the keys of a homeserver, unless somebody else did since they were `before`.
    async fn fetch_keys(
        &self,
        server: &ServerName,
        before: Option<&Arc<RemoteKeys>>,
    ) -> Result<Arc<RemoteKeys>, FederationError> {
        let _turn = self.keys.turn(server.as_str()).await;
        if let Some(now) = self.known_keys(server)
            && before.is_none_or(|before| !Arc::ptr_eq(before, &now))
        {
            return Ok(now);
        }
        (self.key_fetches)(server).map_err(|retry_after| FederationError::KeyFetchLimited {
            server: server.to_string(),
            retry_after,
        })?;
        let answer = self.get(server, "/_matrix/key/v2/server").await?;
        if answer.status != 200 {
            return Err(FederationError::BadAnswer {
                server: server.to_string(),
                problem: "its status is not 200",
            });
        }
        let keys = RemoteKeys::read(&answer, server, self.clock.now());
        let keys = keys.map_err(|problem| FederationError::BadKeys {
            server: server.to_string(),
            problem,
        })?;
        Ok(self.keys.put(server.as_str(), keys))
    }
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Federation")
    }
}
