//! The composition root: puts the parts together, binds the listeners, runs until it is told to stop.

mod admin;
mod certificates;
mod compose;
mod doctor;
mod keys;
mod listeners;
mod messages;
mod reload;
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use self::admin::AdminSocket;
pub use self::admin::{
    Call, CallError, Caller, Offline, OfflineError, Outcome, PROTOCOL, Reply, check_owner,
    check_store,
};
use self::certificates::Certificate;
pub use self::certificates::{CertificateError, Certificates, Moment};
pub use self::compose::{mail, sms};
pub use self::doctor::{Finding, Questions, Verdict, examine};
pub use self::keys::{Keys, KeysError};
use self::listeners::Listening;
pub use self::reload::{ReloadError, Reloader};
pub use self::sockets::{Passed, PassedError, SocketError};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, V1};
use crate::federation::Ports;
use crate::http::{Monitoring, Places};
use crate::mail;
use crate::metrics::MetricsError;
use crate::net::{ResolveError, SetupError};
use crate::random::{Random, RandomError};
use crate::services::admin::Admin;
use crate::services::health::Health;
use crate::services::jobs::Sweeper;
use crate::services::lookup::{Lookup, RotateError};
use crate::services::outbox::Outbox;
use crate::storage::{self, OpenError, Store, StoreError};
use crate::templates::TemplateError;
use crate::types::KeyId;

/// How long running requests may take to finish after a stop was asked for, in seconds.
const GRACE_SECONDS: u64 = 30;

/// How long nothing must have been asked for before connections that clients keep open are no reason to wait any longer.
const LINGER: Duration = Duration::from_secs(5);

/// How often ended sessions are looked for.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// How often ended invitations are looked for, and all of them counted.
const INVITATIONS_EVERY: Duration = Duration::from_mins(10);

/// How often the age of the pepper is looked at.
const PEPPER_EVERY: Duration = Duration::from_mins(1);

/// How long the store may take to finish its last write.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether the files of the certificate have changed.
const CERTIFICATE_EVERY: Duration = Duration::from_mins(1);

/// What a server takes from its surroundings; tests bring their own.
#[derive(Clone)]
pub struct Deps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Secrets and ids.
    pub random: Random,
    /// Where homeservers listen that name no port.
    pub homeserver_ports: Ports,
}

impl Deps {
    /// The machine's clock and randomness.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            random: Random::system(),
            homeserver_ports: Ports::default(),
        }
    }
}

/// Whether to go on; sent to a running [`App`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Run.
    No,
    /// Accept nothing more and finish what runs.
    Gracefully,
    /// At once.
    Now,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The templates.
    #[error(transparent)]
    Templates(#[from] TemplateError),
    /// The way out to homeservers.
    #[error(transparent)]
    Net(#[from] SetupError),
    /// The resolver.
    #[error(transparent)]
    Resolver(#[from] ResolveError),
    /// The mail transport.
    #[error(transparent)]
    Mailer(#[from] mail::SetupError),
    /// The SMS provider.
    #[error(transparent)]
    Sms(#[from] crate::sms::SetupError),
    /// A listener, or the socket for commands.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The sockets of systemd.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The counters.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The first pepper.
    #[error(transparent)]
    Pepper(#[from] RotateError),
    /// The threads that open the store could not be started.
    #[error("cannot start: {0}")]
    Runtime(#[from] tokio::task::JoinError),
}

/// Why a server ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The HTTP server failed.
    #[error("the HTTP server failed: {0}")]
    Http(#[from] io::Error),
    /// Its task failed.
    #[error("the HTTP server ended unexpectedly: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The index of the store failed, which the next start repairs.
    #[error("the index of the store failed, and is repaired at the next start: {0}")]
    Index(Arc<str>),
}

/// A server that listens and waits to be run.
pub struct App {
    listening: Listening,
    places: Arc<Places>,
    monitoring: Option<Listening>,
    certificates: Option<Arc<Certificates>>,
    health: Arc<Health>,
    reloader: Arc<Reloader>,
    socket: AdminSocket,
    admin: Arc<Admin>,
    store: Store,
    sweeper: Arc<Sweeper>,
    lookup: Arc<Lookup>,
    outbox: Outbox,
}

impl App {
    /// Opens the store, loads keys and templates, binds the listeners. Must be called within a tokio runtime, on which
    /// mails are sent and background work runs.
    ///
    /// # Errors
    /// One sentence that says what the operator is to change.
    pub async fn build(config: Config, deps: Deps) -> Result<Self, StartError> {
        Self::build_on(Passed::default(), config, deps).await
    }

    /// [`App::build`] on the sockets that systemd passed; what it passed none for is bound as usual.
    ///
    /// # Errors
    /// As there.
    pub async fn build_on(passed: Passed, config: Config, deps: Deps) -> Result<Self, StartError> {
        let store = open_store(&config).await?;
        let keys = Keys::load(&config.keys, &store, &deps.random).await?;
        let key = keys.server.current();
        let socket = AdminSocket::open(&config.admin.socket, passed.admin)?;
        let admin = Arc::new(admin::service(&config, &deps, &store, &keys.server));
        let (state, outbox) = compose::parts(&config, &deps, &store, keys, admin.probes())?;
        let lookup = Arc::clone(&state.lookup);
        lookup.ensure_pepper().await?;
        let monitoring = Monitoring {
            metrics: Arc::clone(&state.metrics),
            places: Arc::clone(&state.places),
            health: Arc::new(Health::new(store.clone(), Arc::clone(&deps.clock))),
        };
        let metrics = Arc::clone(&state.metrics);
        let sweeper = Sweeper::new(store.clone(), Arc::clone(&deps.clock), metrics);
        let health = Arc::clone(&monitoring.health);
        let monitoring =
            listeners::monitoring(config.metrics.listen.as_ref(), passed.metrics, monitoring)?;
        let certificates = compose::certificates(&config, &deps, &state.metrics)?;
        let reloader = compose::reloader(&state, certificates.clone());
        let reloader = Arc::new(reloader);
        let places = Arc::clone(&state.places);
        let listening = listeners::public(&config, state, passed.public, certificates.as_ref())?;
        if let Some(certificates) = &certificates {
            for advice in certificates.advice(&config.server.public_url) {
                log::warn!("{advice}");
            }
        }
        log::info!(
            "bindery {} serves {} at {}, listening on {}, signing with {}, store in {}",
            env!("CARGO_PKG_VERSION"),
            config.server.name,
            config.server.public_url,
            listening.places.join(", "),
            key.id(),
            config.store.path.display(),
        );
        if config.api.v1 == V1::Full {
            log::warn!(
                "version 1 of the API, which asks for no token, is open to whoever reaches this \
                 server (api.v1)"
            );
        }
        Ok(Self {
            listening,
            places,
            monitoring,
            certificates,
            health,
            reloader,
            socket,
            admin,
            store,
            sweeper: Arc::new(sweeper),
            lookup,
            outbox,
        })
    }

    /// The address of the first TCP listener, if there is one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listening.addresses.first().copied()
    }

    /// The addresses of all TCP listeners, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listening.addresses
    }

    /// The address of the listener for monitoring, if there is one and it is TCP.
    pub fn monitoring_addr(&self) -> Option<SocketAddr> {
        self.monitoring.as_ref()?.addresses.first().copied()
    }

    /// What takes a new configuration while the server runs; it is gone with the server.
    pub fn reloader(&self) -> Weak<Reloader> {
        Arc::downgrade(&self.reloader)
    }

    /// The job that removes what has ended.
    pub fn sweeper(&self) -> Arc<Sweeper> {
        Arc::clone(&self.sweeper)
    }

    /// Lookups, with the job that changes the pepper.
    pub fn lookup(&self) -> Arc<Lookup> {
        Arc::clone(&self.lookup)
    }

    /// The certificate of the listeners that speak TLS, with the job that reads it again.
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }

    /// Outgoing work.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Serves until `stop` says otherwise; then finishes what runs, stops the background work, closes the store.
    ///
    /// # Errors
    /// When serving ends by itself.
    pub async fn run(self, mut stop: watch::Receiver<Stop>) -> Result<(), RunError> {
        // The files of unix sockets are there until everything is over.
        let Listening { server, files, .. } = self.listening;
        let keeps_connections = self.certificates.is_some();
        let handle = server.handle();
        let mut server = tokio::spawn(server);
        let mut jobs = JoinSet::new();
        jobs.spawn(sweep(Arc::clone(&self.sweeper)));
        jobs.spawn(sweep_invitations(Arc::clone(&self.sweeper)));
        jobs.spawn(sweep_outbox(self.outbox.clone()));
        jobs.spawn(change_pepper(Arc::clone(&self.lookup)));
        jobs.spawn(async move { self.outbox.run().await });
        jobs.spawn(watchdog(self.store.clone()));
        jobs.spawn(self.socket.serve(self.admin));
        if let Some(certificates) = self.certificates {
            jobs.spawn(watch_certificate(certificates));
        }
        let monitoring = self.monitoring.map(|Listening { server, files, .. }| {
            let handle = server.handle();
            jobs.spawn(async move {
                let _files = files;
                if let Err(error) = server.await {
                    log::error!("the listener for monitoring failed: {error}");
                }
            });
            handle
        });
        notify(&[sd_notify::NotifyState::Ready]);

        let mut failed = None;
        let outcome = tokio::select! {
            ended = &mut server => ended,
            reason = self.store.failed() => {
                failed = Some(reason);
                self.health.stop();
                handle.stop(false).await;
                server.await
            }
            () = wait_for(&mut stop, Stop::Gracefully) => {
                log::info!("stopping: finishing what runs, {GRACE_SECONDS} s at most");
                notify(&[sd_notify::NotifyState::Stopping]);
                self.health.stop();
                let forced = async {
                    wait_for(&mut stop, Stop::Now).await;
                    log::warn!("stopping at once");
                };
                // The HTTP server ends the idle connections of HTTP/1.1 by itself, but not those of HTTP/2.
                let idle = async {
                    if !keeps_connections {
                        std::future::pending::<()>().await;
                    }
                    idle(&self.places).await;
                };
                let is_done = tokio::select! {
                    () = handle.stop(true) => true,
                    () = forced => false,
                    () = idle => false,
                };
                // A server that stops gracefully hears no further command, but ends at once when it is dropped.
                if !is_done {
                    server.abort();
                }
                match server.await {
                    Err(error) if error.is_cancelled() => Ok(Ok(())),
                    ended => ended,
                }
            }
        };
        if let Some(monitoring) = monitoring {
            monitoring.stop(false).await;
        }
        jobs.shutdown().await;
        drop((self.sweeper, self.lookup, self.health, self.reloader));
        if !self.store.close(CLOSE_TIMEOUT) {
            log::warn!("something still held the store when the server stopped");
        }
        drop(files);
        outcome??;
        if let Some(reason) = failed {
            return Err(RunError::Index(reason));
        }
        log::info!("stopped");
        Ok(())
    }
}

/// Waits until nothing has been answered for a while.
async fn idle(places: &Places) {
    const LOOKS: u32 = 10;
    let mut ticks = tokio::time::interval(LINGER / LOOKS);
    let mut quiet = 0;
    while quiet <= LOOKS {
        ticks.tick().await;
        let is_quiet = places.taken() == 0;
        quiet = if is_quiet { quiet + 1 } else { 0 };
    }
}

/// What [`check`] found.
#[derive(Debug)]
pub struct Checked {
    /// Until when the certificate holds, if there is one, and what clients will not like about it.
    pub certificate: Option<(Moment, Vec<String>)>,
    /// What is in the place of the store.
    pub store: CheckedStore,
}

/// What [`check`] found in the place of the store.
#[derive(Debug)]
pub enum CheckedStore {
    /// There is no store yet.
    New,
    /// A running server has it.
    InUse,
    /// It can be used.
    Good {
        /// The key that signs.
        key: KeyId,
    },
}

/// Looks whether a server could start with this configuration, without changing anything.
///
/// # Errors
/// The first thing that would keep it from starting.
pub async fn check(config: &Config, deps: Deps) -> Result<Checked, StartError> {
    mail(config, &deps)?;
    sms(config, &deps)?;
    Ok(Checked {
        certificate: check_certificate(config, &deps)?,
        store: check_content(config).await?,
    })
}

/// Until when the certificate holds, if there is one, and what clients will not like about it.
fn check_certificate(
    config: &Config,
    deps: &Deps,
) -> Result<Option<(Moment, Vec<String>)>, CertificateError> {
    let Some(files) = &config.tls.files else {
        return Ok(None);
    };
    let certificate = Certificate::read(files)?;
    let url = &config.server.public_url;
    let advice = certificate.advice(files, url, deps.clock.now());
    Ok(Some((certificate.ends(), advice)))
}

/// What there is in the place of the store, and whether it could be used.
async fn check_content(config: &Config) -> Result<CheckedStore, StartError> {
    if !storage::exists(&config.store.path) {
        return Ok(CheckedStore::New);
    }
    let store = match open_store(config).await {
        Err(StartError::Store(OpenError::InUse(_))) => return Ok(CheckedStore::InUse),
        opened => opened?,
    };
    let key = Keys::check(&config.keys, &store)?;
    store.close(CLOSE_TIMEOUT);
    Ok(CheckedStore::Good { key })
}

async fn open_store(config: &Config) -> Result<Store, StartError> {
    let (settings, name) = (config.store.clone(), config.server.name.clone());
    Ok(tokio::task::spawn_blocking(move || Store::open(&settings, &name)).await??)
}

async fn wait_for(stop: &mut watch::Receiver<Stop>, at_least: Stop) {
    let reached = |now: &Stop| match at_least {
        Stop::No => true,
        Stop::Gracefully => *now != Stop::No,
        Stop::Now => *now == Stop::Now,
    };
    if stop.wait_for(reached).await.is_err() {
        // Nobody is left who could ask for a stop.
        std::future::pending::<()>().await;
    }
}

async fn sweep(sweeper: Arc<Sweeper>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        match sweeper.sessions().await {
            Ok(0) => {}
            Ok(removed) => log::info!("removed {removed} ended sessions"),
            Err(error) => log::error!("ended sessions could not be removed: {error}"),
        }
        if let Err(error) = sweeper.budgets().await {
            log::error!("budgets whose time is over could not be removed: {error}");
        }
    }
}

async fn sweep_invitations(sweeper: Arc<Sweeper>) {
    let mut ticks = tokio::time::interval(INVITATIONS_EVERY);
    loop {
        ticks.tick().await;
        match sweeper.invitations().await {
            Ok(0) => {}
            Ok(removed) => log::info!("removed {removed} ended invitations"),
            Err(error) => log::error!("ended invitations could not be removed: {error}"),
        }
    }
}

async fn sweep_outbox(outbox: Outbox) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        match outbox.sweep().await {
            Ok(0) => {}
            Ok(removed) => {
                log::info!("removed {removed} pieces of outgoing work that were given up");
            }
            Err(error) => log::error!("outgoing work could not be removed: {error}"),
        }
    }
}

async fn change_pepper(lookup: Arc<Lookup>) {
    let mut ticks = tokio::time::interval(PEPPER_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = lookup.run_once().await {
            log::error!("the pepper of lookups could not be changed: {error}");
        }
    }
}

async fn watch_certificate(certificates: Arc<Certificates>) {
    let mut ticks = tokio::time::interval(CERTIFICATE_EVERY);
    loop {
        ticks.tick().await;
        let certificates = Arc::clone(&certificates);
        let looked = tokio::task::spawn_blocking(move || certificates.run_once());
        if let Err(error) = looked.await {
            log::error!("the certificate could not be looked at: {error}");
        }
    }
}

/// Tells systemd that the server lives, as long as its store answers.
async fn watchdog(store: Store) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval(within / 2);
    loop {
        ticks.tick().await;
        if store.write(|_| Ok::<(), StoreError>(())).await.is_ok() {
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

/// Tells systemd, if it started us; that it cannot be told is no reason to stop.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("systemd could not be notified: {error}");
    }
}
