//! A server of the test's own: in this process, on port 0, over a temporary store, with a clock that is set by hand.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bindery::app::{App, Certificates, Deps, PROTOCOL, Reloader, Stop};
use bindery::clock::{Clock as _, ManualClock};
use bindery::config::{Config, Listen};
use bindery::federation::Ports;
use bindery::random::Random;
use bindery::services::jobs::Sweeper;
use bindery::services::lookup::Lookup;
use bindery::services::outbox::Outbox;
use bindery::types::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::{Answer, Client};
use super::mailbox::Mail;

/// The moment at which every test begins.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A running server; stopped, and its folder removed, when it is dropped.
pub struct TestServer {
    pub clock: Arc<ManualClock>,
    pub client: Client,
    pub addresses: Vec<SocketAddr>,
    pub monitoring: Option<Client>,
    pub sweeper: Arc<Sweeper>,
    pub lookup: Arc<Lookup>,
    pub outbox: Outbox,
    pub certificates: Option<Arc<Certificates>>,
    pub config: Config,
    reloader: Weak<Reloader>,
    running: Running,
    folder: TempDir,
}

/// The task of a server; it stops when this is dropped.
struct Running {
    stop: watch::Sender<Stop>,
    task: JoinHandle<()>,
}

impl TestServer {
    /// A server on the defaults, with mails as files.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server on the defaults as `change` changes them.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(TempDir::new().unwrap(), START, change).await
    }

    /// A server on a folder that may hold a store already, at that moment.
    pub async fn start_on(
        folder: TempDir,
        now: Timestamp,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::default();
        config.server.listen = vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))];
        config.server.workers = 1;
        config.store.path = folder.path().to_owned();
        config.admin.socket = folder.path().join("admin.sock");
        config.keys.file = folder.path().join("signing.key");
        config.keys.secret = folder.path().join("secret.key");
        config.email.directory = folder.path().join("outbox");
        // Nobody answers there, so that nothing is asked of the world.
        config.federation.dns = vec![SocketAddr::from(([127, 0, 0, 1], 1))];
        change(&mut config);
        // What starts a server holds its whole configuration, more than fits well into each future around it.
        Box::pin(Self::run(folder, config, Arc::new(ManualClock::at(now)))).await
    }

    async fn run(folder: TempDir, config: Config, clock: Arc<ManualClock>) -> Self {
        let deps = Deps {
            clock: clock.clone(),
            random: Random::system(),
            homeserver_ports: Ports::default(),
        };
        let app = App::build(config.clone(), deps).await.unwrap();
        let client = Client::new(app.local_addr().unwrap());
        let addresses = app.addresses().to_vec();
        let monitoring = app.monitoring_addr().map(Client::new);
        let sweeper = app.sweeper();
        let reloader = app.reloader();
        let lookup = app.lookup();
        let outbox = app.outbox();
        let certificates = app.certificates();
        let (stop, stopping) = watch::channel(Stop::No);
        let task = tokio::spawn(async move { app.run(stopping).await.unwrap() });
        Self {
            clock,
            client,
            addresses,
            monitoring,
            sweeper,
            lookup,
            outbox,
            certificates,
            config,
            reloader,
            running: Running { stop, task },
            folder,
        }
    }

    /// Stops the server and starts another on the same folder and clock.
    pub async fn restart(self) -> Self {
        let Self {
            clock,
            config,
            mut running,
            folder,
            sweeper,
            lookup,
            outbox,
            ..
        } = self;
        // They hold the store, which is to be opened again.
        drop((sweeper, lookup, outbox));
        running.stop.send(Stop::Gracefully).unwrap();
        (&mut running.task).await.unwrap();
        Box::pin(Self::run(folder, config, clock)).await
    }

    /// Lets the running server read the configuration again, as `change` changes it.
    #[track_caller]
    pub fn reload(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        let reloader = self.reloader.upgrade().unwrap();
        reloader.reload(&self.config).unwrap();
    }

    /// The same with a configuration that cannot hold; answers why not.
    #[track_caller]
    pub fn reload_refused(&self, change: impl FnOnce(&mut Config)) -> String {
        let mut config = self.config.clone();
        change(&mut config);
        let reloader = self.reloader.upgrade().unwrap();
        reloader.reload(&config).unwrap_err().to_string()
    }

    /// Has a command of the operator's carried out, and answers what it says.
    pub async fn operate(&self, request: Value) -> Value {
        let mut stream = UnixStream::connect(&self.config.admin.socket)
            .await
            .unwrap();
        let line = json!({ "version": PROTOCOL, "request": request }).to_string() + "\n";
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["ok"].is_object(), "{answer}");
        answer["ok"].clone()
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Milliseconds since the epoch, as the server sees them.
    pub fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }

    /// The mails that were written so far, oldest first.
    #[track_caller]
    pub fn mails(&self) -> Vec<Mail> {
        let mut files: Vec<PathBuf> = match std::fs::read_dir(&self.config.email.directory) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        };
        files.retain(|file| file.extension().is_some_and(|ending| ending == "eml"));
        files.sort();
        files
            .iter()
            .map(|file| Mail::parse(&std::fs::read(file).unwrap()))
            .collect()
    }

    /// The only mail there is.
    #[track_caller]
    pub fn only_mail(&self) -> Mail {
        let mut mails = self.mails();
        assert_eq!(mails.len(), 1, "exactly one mail was expected");
        mails.remove(0)
    }

    /// Asks for a mail and answers the session's id.
    #[track_caller]
    pub fn request_token(
        &self,
        email: &str,
        client_secret: &str,
    ) -> impl Future<Output = String> + use<'_> {
        let body = json!({
            "email": email, "client_secret": client_secret, "send_attempt": 1,
        });
        async move {
            let answer = self.client.post(REQUEST_TOKEN, body).await;
            answer.ok()["sid"].as_str().unwrap().to_owned()
        }
    }

    /// Proves the address with a new session and answers the session's id.
    pub async fn validated(&self, email: &str, client_secret: &str) -> String {
        let sid = self.request_token(email, client_secret).await;
        let mail = self.mails().pop().unwrap();
        let body = json!({
            "sid": sid, "client_secret": client_secret, "token": mail.token(),
        });
        self.client.post(SUBMIT_TOKEN, body).await.ok();
        sid
    }

    /// Binds a 3PID by a validated session.
    pub async fn bind(&self, sid: &str, client_secret: &str, mxid: &str) -> Answer {
        let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": mxid });
        self.client.post(BIND, body).await
    }

    /// Who an e-mail address is bound to.
    pub async fn looked_up(&self, email: &str) -> Option<String> {
        let query = [("medium", "email"), ("address", email)];
        let answer = self.client.get(LOOKUP, &query).await;
        answer.ok()["mxid"].as_str().map(ToOwned::to_owned)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(Stop::Now);
        self.task.abort();
    }
}

pub const REQUEST_TOKEN: &str = "/_matrix/identity/api/v1/validate/email/requestToken";
pub const SUBMIT_TOKEN: &str = "/_matrix/identity/api/v1/validate/email/submitToken";
pub const GET_VALIDATED: &str = "/_matrix/identity/api/v1/3pid/getValidated3pid";
pub const BIND: &str = "/_matrix/identity/api/v1/3pid/bind";
pub const UNBIND: &str = "/_matrix/identity/api/v1/3pid/unbind";
pub const LOOKUP: &str = "/_matrix/identity/api/v1/lookup";
pub const BULK_LOOKUP: &str = "/_matrix/identity/api/v1/bulk_lookup";
