//! Requests that an operator's command announces and then sends from outside, to learn how they arrive: what a proxy made
//! of them cannot be told from the answer.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// How an announced request arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Who was connected; none for a unix socket.
    pub connection: Option<IpAddr>,
    /// Whether that is one of `server.trusted_proxies`.
    pub trusted: bool,
    /// The last entry of `X-Forwarded-For`, which is whom the last proxy saw; none if there is no such header.
    pub forwarded: Option<String>,
}

/// The request that is awaited, if one is: the last that was announced.
#[derive(Debug, Default)]
pub struct Probes(Mutex<Option<Probe>>);

#[derive(Debug)]
struct Probe {
    nonce: String,
    sighting: Option<Sighting>,
}

impl Probes {
    /// Awaits a request that carries this nonce, and no longer another one.
    pub fn expect(&self, nonce: String) {
        let sighting = None;
        *self.lock() = Some(Probe { nonce, sighting });
    }

    /// A request carries this nonce. If it is awaited, how it arrived is kept.
    pub fn arrived(&self, nonce: &str, sighting: impl FnOnce() -> Sighting) {
        if let Some(probe) = self.lock().as_mut().filter(|probe| probe.nonce == nonce) {
            probe.sighting = Some(sighting());
        }
    }

    /// How the request with this nonce arrived, if it did. It is not awaited any longer.
    pub fn take(&self, nonce: &str) -> Option<Sighting> {
        let mut awaited = self.lock();
        let probe = awaited.take_if(|probe| probe.nonce == nonce)?;
        probe.sighting
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Probe>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(forwarded: &str) -> Sighting {
        Sighting {
            connection: None,
            trusted: true,
            forwarded: Some(forwarded.to_owned()),
        }
    }

    #[test]
    fn only_the_request_that_was_announced_last_is_kept_and_only_until_it_is_told() {
        let probes = Probes::default();
        probes.arrived("a", || panic!("nothing is awaited"));
        probes.expect("a".to_owned());
        probes.expect("b".to_owned());
        probes.arrived("a", || panic!("another one is awaited"));
        assert_eq!(probes.take("a"), None);
        probes.arrived("b", || sighting("192.0.2.1"));
        assert_eq!(probes.take("b"), Some(sighting("192.0.2.1")));
        assert_eq!(probes.take("b"), None);
    }
}
