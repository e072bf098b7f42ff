use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio::time::timeout;
use url::Url;

use super::client::{self, Answer, Client};
use super::error::RequestError;
use super::method::Method;

impl Client {
    /// Asks an `http` or `https` URL of the operator's own with these headers, and reads the whole answer. Unlike what
    /// strangers name, it may lie anywhere: the guard is not asked. Redirects are not followed.
    ///
    /// `patience` is for everything.
    ///
    /// # Errors
    /// When there is no whole answer of a bounded size in time.
    pub async fn direct(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&str, &str)],
        patience: Duration,
    ) -> Result<Answer, RequestError> {
        let tls = self.tls().clone();
        self.ask(tls, method, url, headers, patience).await
    }

    /// [`Client::direct`] as it would go on a later day: what of TLS has ended by then fails.
    ///
    /// # Errors
    /// As there.
    pub async fn direct_later(
        &self,
        later: Duration,
        url: &Url,
        patience: Duration,
    ) -> Result<Answer, RequestError> {
        let mut tls = self.tls().clone();
        tls.time_provider = Arc::new(Later(later));
        // A session that is resumed has no certificate to look at.
        tls.resumption = Resumption::disabled();
        self.ask(tls, Method::Get, url, &[], patience).await
    }

    async fn ask(
        &self,
        tls: rustls::ClientConfig,
        method: Method,
        url: &Url,
        headers: &[(&str, &str)],
        patience: Duration,
    ) -> Result<Answer, RequestError> {
        let host = url.host_str().unwrap_or_default();
        let fetching = async {
            let port = url.port_or_known_default().unwrap_or(443);
            let addresses = self.addresses_of(host, port).await?;
            let failed = |error| RequestError::of(host, error);
            let client = client::builder(tls, addresses).build().map_err(failed)?;
            let mut request = client.request(method.into(), url.clone());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = request.send().await.map_err(failed)?;
            client::read(response, host, self.max_response(), url.to_string()).await
        };
        timeout(patience, fetching).await.unwrap_or_else(|_| {
            Err(RequestError::Timeout {
                host: host.to_owned(),
            })
        })
    }
}

/// The time of the machine, and as much more.
#[derive(Debug)]
struct Later(Duration);

impl TimeProvider for Later {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now().as_secs();
        let later = now.saturating_add(self.0.as_secs());
        Some(UnixTime::since_unix_epoch(Duration::from_secs(later)))
    }
}
