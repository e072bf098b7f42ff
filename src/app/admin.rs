//! The way of the operator's commands: a unix socket while the server runs, the store itself while it does not.
//!
//! A client sends a JSON object a line, `{"version":1,"request":{…}}`, and gets one for each:
//! `{"version":1,"ok":{…}}` or `{"version":1,"error":"…"}`. Before that, long work says how far it has come, in lines of the
//! form `{"version":1,"progress":{"done":4096,"of":100000}}`.

mod client;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::client::{CallError, Caller};
use super::sockets::{SocketError, SocketFile, UnixSocket};
use super::{Deps, Keys, StartError, open_store};
use crate::config::Config;
use crate::services::admin::{Admin, AdminAnswer, AdminError, AdminParts, AdminRequest, Progress};
use crate::signing::ServerKeys;
use crate::storage::{self, Store};

/// The version of what is said on the socket.
pub const PROTOCOL: u32 = 1;

/// The longest line that is read from a client, in bytes.
const LONGEST: u64 = 64 * 1024;

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_mins(1);

/// The user who may do everything.
const ROOT: u32 = 0;

/// How many clients are heard at once.
const CLIENTS: usize = 16;

/// Why a command cannot work on the store itself.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// There is no store.
    #[error(
        "there is no store in {} (store.path): is this the server's configuration?",
        .0.display()
    )]
    NoStore(PathBuf),
    /// It belongs to somebody else.
    #[error(
        "the store in {} belongs to the user with the id {owner}, and no server runs on it: run the \
         command as that user, such as by `sudo -u '#{owner}' bindery …`",
        path.display()
    )]
    NotYours {
        /// The store.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// It cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Looks whether the caller may work on the store itself.
///
/// # Errors
/// When there is none, or it is somebody else's.
pub fn check_store(path: &Path) -> Result<(), OfflineError> {
    if !storage::exists(path) {
        return Err(OfflineError::NoStore(path.to_owned()));
    }
    check_owner(path)
}

/// Looks whether a folder, if it is there, is the caller's own: what another user writes into it, the server could not
/// read afterwards.
///
/// # Errors
/// When it is somebody else's.
pub fn check_owner(path: &Path) -> Result<(), OfflineError> {
    let caller = rustix::process::geteuid().as_raw();
    let owner = fs::metadata(path).map_or(caller, |metadata| metadata.uid());
    if owner == caller {
        return Ok(());
    }
    Err(OfflineError::NotYours {
        path: path.to_owned(),
        owner,
    })
}

/// What a client sends.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// [`PROTOCOL`].
    pub version: u32,
    /// The command; looked at only if the version is right.
    pub request: Value,
}

/// What it gets.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// [`PROTOCOL`].
    pub version: u32,
    /// The answer, or one sentence why not.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// An answer, or one sentence why not; or that both are still to come.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The command is being carried out.
    Progress(Progress),
    /// The command was carried out.
    Ok(AdminAnswer),
    /// It was not.
    Error(String),
}

/// The commands over the parts of a server.
pub(super) fn service(
    config: &Config,
    deps: &Deps,
    store: &Store,
    keys: &Arc<ServerKeys>,
) -> Admin {
    Admin::new(AdminParts {
        store: store.clone(),
        server_name: config.server.name.clone(),
        lifetime: config.associations.lifetime,
        pepper_grace: config.lookup.grace,
        keys: Arc::clone(keys),
        key_file: config.keys.file.clone(),
        secret_file: config.keys.secret.clone(),
        clock: Arc::clone(&deps.clock),
        random: deps.random.clone(),
    })
}

/// Commands on a store that no server has open. It is the caller's until this is dropped.
pub struct Offline {
    admin: Admin,
    actor: String,
}

impl Offline {
    /// Opens the store, which must be there and be the caller's own.
    ///
    /// # Errors
    /// One sentence that says what to do instead.
    pub async fn open(config: &Config, deps: &Deps) -> Result<Self, OfflineError> {
        check_store(&config.store.path)?;
        let store = open_store(config).await?;
        let keys = Keys::load(&config.keys, &store, &deps.random)
            .await
            .map_err(StartError::from)?;
        Ok(Self {
            admin: service(config, deps, &store, &keys.server),
            actor: format!(
                "uid {}, without a server,",
                rustix::process::geteuid().as_raw()
            ),
        })
    }

    /// Carries a command out, and tells `watched` how far it has come.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub async fn execute(
        &self,
        request: AdminRequest,
        watched: watch::Sender<Progress>,
    ) -> Result<AdminAnswer, AdminError> {
        self.admin
            .execute_watched(request, &self.actor, watched)
            .await
    }
}

/// The socket of a running server. Its file goes with it, unless it is systemd's.
pub(super) struct AdminSocket {
    listener: UnixListener,
    _file: Option<SocketFile>,
}

impl AdminSocket {
    /// Takes the socket that was passed, or makes one for the server's own user only.
    pub(super) fn open(path: &Path, passed: Option<UnixSocket>) -> Result<Self, SocketError> {
        const KEY: &str = "admin.socket";
        let socket = match passed {
            Some(passed) => passed,
            None => UnixSocket::bind(KEY, path, 0o600)?,
        };
        let UnixSocket { listener, file } = socket;
        let listener = UnixListener::from_std(listener).map_err(|source| SocketError::File {
            key: KEY,
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            listener,
            _file: file,
        })
    }

    /// Hears clients until it is dropped.
    pub(super) async fn serve(self, admin: Arc<Admin>) {
        let own = rustix::process::geteuid().as_raw();
        let mut clients = JoinSet::new();
        loop {
            while clients.len() >= CLIENTS {
                clients.join_next().await;
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    clients.spawn(hear(stream, Arc::clone(&admin), [own, ROOT]));
                }
                Err(error) => {
                    log::warn!("a connection to the admin socket failed: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Answers the lines of one client, one after the other, if it is one of these users.
async fn hear(stream: UnixStream, admin: Arc<Admin>, users: [u32; 2]) {
    let peer = match stream.peer_cred() {
        Ok(peer) if users.contains(&peer.uid()) => peer.uid(),
        Ok(peer) => {
            log::warn!("uid {} may not use the admin socket", peer.uid());
            let refusal = "only root and the server's own user may use this socket";
            return say(stream, Outcome::Error(refusal.to_owned())).await;
        }
        Err(error) => {
            log::warn!("a client of the admin socket is nobody: {error}");
            return;
        }
    };
    let actor = format!("uid {peer}");
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reading).take(LONGEST);
        let read = tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return;
        }
        let (watched, mut progress) = watch::channel(Progress::default());
        let mut answering = pin!(answer(&line, &admin, &actor, watched));
        let outcome = loop {
            tokio::select! {
                biased;
                Ok(()) = progress.changed() => {
                    let line = to_line(Outcome::Progress(*progress.borrow_and_update()));
                    // The work goes on also if nobody is there any more.
                    let _ = writing.write_all(&line).await;
                }
                outcome = &mut answering => break outcome,
            }
        };
        // What follows a line that is none cannot be told apart from it.
        let last = !line.ends_with(b"\n");
        if writing.write_all(&to_line(outcome)).await.is_err() || last {
            return;
        }
    }
}

async fn answer(
    line: &[u8],
    admin: &Admin,
    actor: &str,
    watched: watch::Sender<Progress>,
) -> Outcome {
    let Ok(call) = serde_json::from_slice::<Call>(line) else {
        return Outcome::Error(format!(
            "expected {{\"version\":{PROTOCOL},\"request\":{{…}}}} on one line"
        ));
    };
    if call.version != PROTOCOL {
        return Outcome::Error(format!(
            "the server is bindery {} and speaks version {PROTOCOL} of this protocol, not {}: use the \
             command of the same version",
            env!("CARGO_PKG_VERSION"),
            call.version,
        ));
    }
    let Ok(request) = serde_json::from_value::<AdminRequest>(call.request) else {
        return Outcome::Error("the server does not know this command".to_owned());
    };
    match admin.execute_watched(request, actor, watched).await {
        Ok(answer) => Outcome::Ok(answer),
        Err(error) => Outcome::Error(error.to_string()),
    }
}

async fn say(mut stream: UnixStream, outcome: Outcome) {
    // Whoever does not read it does not want to know.
    let _ = stream.write_all(&to_line(outcome)).await;
}

fn to_line(outcome: Outcome) -> Vec<u8> {
    let reply = Reply {
        version: PROTOCOL,
        outcome,
    };
    let mut line = serde_json::to_vec(&reply).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ServerName;

    async fn admin(folder: &Path) -> Arc<Admin> {
        let mut config = Config::default();
        config.store.path = folder.to_owned();
        config.keys.file = folder.join("signing.key");
        config.keys.secret = folder.join("secret.key");
        let store = Store::open(&config.store, &ServerName::localhost()).unwrap();
        let deps = Deps::system();
        let keys = Keys::load(&config.keys, &store, &deps.random).await;
        Arc::new(service(&config, &deps, &store, &keys.unwrap().server))
    }

    /// What a client gets that asks for the status, when these users are heard.
    async fn asked(admin: &Arc<Admin>, users: [u32; 2]) -> String {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let hearing = tokio::spawn(hear(theirs, Arc::clone(admin), users));
        let mut client = BufReader::new(ours);
        let line = b"{\"version\":1,\"request\":{\"command\":\"status\"}}\n";
        // Who is refused may be cut off before they have said anything.
        let _ = client.get_mut().write_all(line).await;
        let mut answer = String::new();
        client.read_line(&mut answer).await.unwrap();
        drop(client);
        hearing.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_stranger_is_refused_whatever_they_ask() {
        let folder = tempfile::TempDir::new().unwrap();
        let admin = admin(folder.path()).await;
        // Whoever runs the tests is a stranger to a server of two others.
        let own = rustix::process::geteuid().as_raw();
        let answer = asked(&admin, [own + 1, own + 2]).await;
        assert!(
            answer.contains("only root and the server's own user"),
            "{answer}"
        );
        assert!(!answer.contains("status"), "{answer}");
        for users in [[own, own + 1], [own + 1, own]] {
            let answer = asked(&admin, users).await;
            assert!(answer.contains("\"ok\":{\"status\""), "{answer}");
        }
    }
}
