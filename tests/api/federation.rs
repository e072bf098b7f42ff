//! Homeservers over real TLS and DNS: found, asked, believed, and not believed.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bindery::clock::ManualClock;
use bindery::config;
use bindery::federation::{Federation, FederationError, KeyFetchLimit, Outcome, Ports};
use bindery::limits::{Action, Limits, Subject};
use bindery::net::RequestError;
use bindery::random::Random;
use bindery::types::{ServerName, UserId};
use tokio::runtime::Handle;

use crate::support::authority::Authority;
use crate::support::dns::DnsServer;
use crate::support::homeserver::{Homeserver, federate};
use crate::support::server::START;

mod answers;
mod discovery;
mod guard;
mod signatures;

/// The outgoing side of a server, and what it talks to.
struct Rig {
    authority: Authority,
    dns: DnsServer,
    clock: Arc<ManualClock>,
    settings: config::Federation,
    ports: Ports,
    federation: Federation,
}

impl Rig {
    /// With the defaults, but trusting the test's authority and going to loopback.
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut config::Federation)) -> Self {
        let (authority, dns) = (Authority::new(), DnsServer::start().await);
        let mut settings = config::Federation::default();
        federate(&mut settings, &authority, &dns);
        change(&mut settings);
        let clock = Arc::new(ManualClock::at(START));
        // Nobody listens there, until a test says who does.
        let ports = Ports {
            https: 1,
            matrix: 1,
        };
        Self {
            federation: federation(&settings, &clock, ports),
            authority,
            dns,
            clock,
            settings,
            ports,
        }
    }

    /// Asks `.well-known` and the usual port elsewhere from now on; all that was known is forgotten.
    fn with_ports(&mut self, https: u16, matrix: u16) {
        self.ports = Ports { https, matrix };
        self.federation = federation(&self.settings, &self.clock, self.ports);
    }

    /// A homeserver whose name leads to loopback.
    async fn homeserver(&self, host: &str) -> Homeserver {
        self.dns.host(host, "127.0.0.1");
        let homeserver = Homeserver::start(&self.authority, host).await;
        homeserver.vouch_for(&format!("@alice:{}", homeserver.name()));
        homeserver
    }

    async fn ask(&self, server: &str) -> Result<UserId, FederationError> {
        self.federation.userinfo(&name(server), TOKEN).await
    }
}

/// A token that must not be lost on the way, nor be seen in an error.
const TOKEN: &str = "opaque +&=%/token";

fn federation(settings: &config::Federation, clock: &Arc<ManualClock>, ports: Ports) -> Federation {
    let limits = Limits::new(
        &config::Limits::default(),
        Arc::clone(clock) as _,
        &Random::system(),
    )
    .unwrap();
    let key_fetches: Box<KeyFetchLimit> = Box::new(move |server| {
        limits
            .take(Action::KeyFetchesByServer, Subject::Server(server))
            .map_err(|limited| limited.retry_after)
    });
    let clock = Arc::clone(clock);
    Federation::with_ports(settings, clock, key_fetches, Handle::current(), ports).unwrap()
}

fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

/// The error, which says nothing of the token.
#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, FederationError>, outcome: Outcome) -> String {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.outcome(), outcome, "{text}");
    let shown = format!("{text} {error:?}");
    assert!(!shown.contains("opaque"), "{shown}");
    text
}

/// Settings for servers that are too slow: the test waits for it.
fn impatient(settings: &mut config::Federation) {
    settings.timeout = Duration::from_millis(300);
}

/// A port of a loopback address that a connection is noticed on. The system takes connections without any task of the test.
fn trap_at(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn trap() -> (TcpListener, SocketAddr) {
    trap_at("127.0.0.1")
}

/// Nobody has connected.
#[track_caller]
fn nobody_came(listener: &TcpListener) {
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

fn is_tls(error: &FederationError) -> bool {
    matches!(
        error,
        FederationError::Request {
            source: RequestError::Tls { .. },
            ..
        }
    )
}
