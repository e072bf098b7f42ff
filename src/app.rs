//! The composition root: puts the parts together, binds the listeners, runs until it is told to stop.

mod admin;
mod compose;
mod keys;
mod messages;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::admin::AdminSocket;
pub use self::admin::{
    Call, Offline, OfflineError, Outcome, PROTOCOL, Reply, SocketError, check_owner, check_store,
};
pub use self::compose::mail;
pub use self::keys::{Keys, KeysError};
pub use self::reload::Reloader;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Listen, V1};
use crate::federation::Ports;
use crate::http::{self, Monitoring, State};
use crate::mail;
use crate::metrics::MetricsError;
use crate::net::{ResolveError, SetupError};
use crate::random::{Random, RandomError};
use crate::services::admin::Admin;
use crate::services::health::Health;
use crate::services::jobs::SessionSweeper;
use crate::services::lookup::{Lookup, RotateError};
use crate::services::outbox::Outbox;
use crate::storage::{self, OpenError, Store, StoreError};
use crate::templates::TemplateError;
use crate::types::KeyId;

/// How long running requests may take to finish after a stop was asked for, in seconds.
const GRACE_SECONDS: u64 = 30;

/// How often ended sessions are looked for.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// How often the age of the pepper is looked at.
const PEPPER_EVERY: Duration = Duration::from_mins(1);

/// How long the store may take to finish its last write.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The socket for commands.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The counters.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The first pepper.
    #[error(transparent)]
    Pepper(#[from] RotateError),
    /// A listener.
    #[error("cannot listen on {listen} ({key}): {source}")]
    Listen {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The listener.
        listen: String,
        /// The reason.
        source: io::Error,
    },
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
    server: Server,
    addresses: Vec<SocketAddr>,
    monitoring: Option<(Server, Vec<SocketAddr>)>,
    health: Arc<Health>,
    reloader: Arc<Reloader>,
    socket: AdminSocket,
    admin: Arc<Admin>,
    store: Store,
    sweeper: Arc<SessionSweeper>,
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
        let store = open_store(&config).await?;
        let keys = Keys::load(&config.keys, &store, &deps.random).await?;
        let key = keys.server.current();
        let socket = AdminSocket::bind(&config.admin.socket)?;
        let admin = Arc::new(admin::service(&config, &deps, &store, &keys.server));
        let (state, outbox) = compose::parts(&config, &deps, &store, keys)?;
        let lookup = Arc::clone(&state.lookup);
        lookup.ensure_pepper().await?;
        let monitoring = Monitoring {
            metrics: Arc::clone(&state.metrics),
            health: Arc::new(Health::new(store.clone())),
        };
        let health = Arc::clone(&monitoring.health);
        let monitoring = monitor(config.metrics.listen.as_ref(), monitoring)?;
        let reloader = Arc::new(compose::reloader(&config, &state));
        let (server, addresses) = listen(&config, state)?;
        log::info!(
            "bindery {} serves {} at {}, listening on {}, signing with {}, store in {}",
            env!("CARGO_PKG_VERSION"),
            config.server.name,
            config.server.public_url,
            listeners(&config, &addresses),
            key.id(),
            config.store.path.display(),
        );
        if config.api.v1 == V1::Full {
            log::warn!(
                "version 1 of the API, which asks for no token, is open to whoever reaches this \
                 server (api.v1)"
            );
        }
        let sweeper = Arc::new(SessionSweeper::new(store.clone(), deps.clock));
        Ok(Self {
            server,
            addresses,
            monitoring,
            health,
            reloader,
            socket,
            admin,
            store,
            sweeper,
            lookup,
            outbox,
        })
    }

    /// The address of the first TCP listener, if there is one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// The address of the listener for monitoring, if there is one and it is TCP.
    pub fn monitoring_addr(&self) -> Option<SocketAddr> {
        let (_, addresses) = self.monitoring.as_ref()?;
        addresses.first().copied()
    }

    /// What takes a new configuration while the server runs; it is gone with the server.
    pub fn reloader(&self) -> Weak<Reloader> {
        Arc::downgrade(&self.reloader)
    }

    /// The job that removes ended sessions.
    pub fn session_sweeper(&self) -> Arc<SessionSweeper> {
        Arc::clone(&self.sweeper)
    }

    /// Lookups, with the job that changes the pepper.
    pub fn lookup(&self) -> Arc<Lookup> {
        Arc::clone(&self.lookup)
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
        let handle = self.server.handle();
        let mut server = tokio::spawn(self.server);
        let mut jobs = JoinSet::new();
        jobs.spawn(sweep(Arc::clone(&self.sweeper)));
        jobs.spawn(change_pepper(Arc::clone(&self.lookup)));
        jobs.spawn(async move { self.outbox.run().await });
        jobs.spawn(watchdog(self.store.clone()));
        jobs.spawn(self.socket.serve(self.admin));
        let monitoring = self.monitoring.map(|(server, _)| {
            let handle = server.handle();
            jobs.spawn(async move {
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
                tokio::select! {
                    () = handle.stop(true) => {}
                    () = forced => handle.stop(false).await,
                }
                server.await
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
        outcome??;
        if let Some(reason) = failed {
            return Err(RunError::Index(reason));
        }
        log::info!("stopped");
        Ok(())
    }
}

/// What [`check`] found in the place of the store.
#[derive(Debug)]
pub enum Checked {
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
    if !storage::exists(&config.store.path) {
        return Ok(Checked::New);
    }
    let store = match open_store(config).await {
        Err(StartError::Store(OpenError::InUse(_))) => return Ok(Checked::InUse),
        opened => opened?,
    };
    let key = Keys::check(&config.keys, &store)?;
    store.close(CLOSE_TIMEOUT);
    Ok(Checked::Good { key })
}

async fn open_store(config: &Config) -> Result<Store, StartError> {
    let (settings, name) = (config.store.clone(), config.server.name.clone());
    Ok(tokio::task::spawn_blocking(move || Store::open(&settings, &name)).await??)
}

fn listen(config: &Config, state: State) -> Result<(Server, Vec<SocketAddr>), StartError> {
    let mut server = HttpServer::new(move || {
        actix_web::App::new()
            .wrap(from_fn(http::observe))
            .configure(|app| http::configure(app, &state))
    })
    .disable_signals()
    .shutdown_timeout(GRACE_SECONDS)
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(Duration::from_secs(5));
    if config.server.workers > 0 {
        server = server.workers(config.server.workers);
    }
    for listen in &config.server.listen {
        let bound = match listen {
            Listen::Tcp(address) => server.bind(address),
            Listen::Unix(path) => server.bind_uds(path),
        };
        server = bound.map_err(|source| StartError::Listen {
            key: "server.listen",
            listen: listen.to_string(),
            source,
        })?;
    }
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}

/// Binds the listener for monitoring, if there is to be one.
fn monitor(
    listen: Option<&Listen>,
    monitoring: Monitoring,
) -> Result<Option<(Server, Vec<SocketAddr>)>, StartError> {
    let Some(listen) = listen else {
        return Ok(None);
    };
    let server = HttpServer::new(move || {
        actix_web::App::new().configure(|app| http::configure_monitoring(app, &monitoring))
    })
    .disable_signals()
    .workers(1);
    let bound = match listen {
        Listen::Tcp(address) => server.bind(address),
        Listen::Unix(path) => server.bind_uds(path),
    };
    let server = bound.map_err(|source| StartError::Listen {
        key: "metrics.listen",
        listen: listen.to_string(),
        source,
    })?;
    let addresses = server.addrs();
    match addresses.first() {
        Some(address) => log::info!("monitoring is served on {address}"),
        None => log::info!("monitoring is served on {listen}"),
    }
    Ok(Some((server.run(), addresses)))
}

/// The listeners for the start-up line; TCP ones with the port that was really taken.
fn listeners(config: &Config, addresses: &[SocketAddr]) -> String {
    let unix: Vec<PathBuf> = config
        .server
        .listen
        .iter()
        .filter_map(|listen| match listen {
            Listen::Unix(path) => Some(path.clone()),
            Listen::Tcp(_) => None,
        })
        .collect();
    let tcp = addresses.iter().map(SocketAddr::to_string);
    let unix = unix.iter().map(|path| format!("unix:{}", path.display()));
    tcp.chain(unix).collect::<Vec<_>>().join(", ")
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

async fn sweep(sweeper: Arc<SessionSweeper>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        match sweeper.run_once().await {
            Ok(0) => {}
            Ok(removed) => log::info!("removed {removed} ended sessions"),
            Err(error) => log::error!("ended sessions could not be removed: {error}"),
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
