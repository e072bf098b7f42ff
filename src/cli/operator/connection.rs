use std::io;
use std::path::PathBuf;
use std::pin::pin;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::bar::Bar;
use crate::app::{Call, Deps, Offline, OfflineError, Outcome, PROTOCOL, Reply, StartError};
use crate::cli::CliError;
use crate::config::Config;
use crate::services::admin::{AdminAnswer, AdminError, AdminRequest, Progress};
use crate::storage::OpenError;

/// Why a command did not reach a server or a store, or was refused there.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The caller may not use the socket.
    #[error(
        "you may not use {} (admin.socket): run the command as root or as the server's own user",
        .0.display()
    )]
    NotAllowed(PathBuf),
    /// A server runs, but not on this socket.
    #[error(
        "a server has the store open, but does not answer on {} (admin.socket): is this its \
         configuration?",
        .0.display()
    )]
    NoSocket(PathBuf),
    /// The server went away.
    #[error("the connection to the server broke: {0}")]
    Broken(#[from] io::Error),
    /// The server does not speak as this program does.
    #[error("the server's answer makes no sense to this version of the command")]
    Unintelligible,
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// The store said no.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The store cannot be used without a server.
    #[error(transparent)]
    Offline(OfflineError),
}

/// A running server, or a store that nobody serves.
pub(super) enum Connection {
    Server(BufReader<UnixStream>),
    Store(Offline),
}

impl Connection {
    /// Finds the server; without one, opens the store.
    pub(super) async fn open(config: &Config) -> Result<Self, CliError> {
        let socket = &config.admin.socket;
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(Self::Server(BufReader::new(stream))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ConnectionError::NotAllowed(socket.clone()).into());
            }
            // Nobody listens there: no server runs, or it has another socket.
            Err(_) => {}
        }
        match Offline::open(config, &Deps::system()).await {
            Ok(offline) => Ok(Self::Store(offline)),
            Err(OfflineError::Start(StartError::Store(OpenError::InUse(_)))) => {
                Err(ConnectionError::NoSocket(socket.clone()).into())
            }
            Err(error) => Err(ConnectionError::Offline(error).into()),
        }
    }

    /// Has a command carried out.
    pub(super) async fn ask(&mut self, request: AdminRequest) -> Result<AdminAnswer, CliError> {
        let mut bar = Bar::new("writing the backup");
        let answered = match self {
            Self::Server(stream) => call(stream, &request, &mut bar).await,
            Self::Store(offline) => execute(offline, request, &mut bar).await,
        };
        Ok(answered?)
    }
}

async fn execute(
    offline: &Offline,
    request: AdminRequest,
    bar: &mut Bar,
) -> Result<AdminAnswer, ConnectionError> {
    let (watched, mut progress) = watch::channel(Progress::default());
    let mut executing = pin!(offline.execute(request, watched));
    loop {
        tokio::select! {
            biased;
            Ok(()) = progress.changed() => bar.show(*progress.borrow_and_update()),
            answered = &mut executing => return Ok(answered?),
        }
    }
}

async fn call(
    stream: &mut BufReader<UnixStream>,
    request: &AdminRequest,
    bar: &mut Bar,
) -> Result<AdminAnswer, ConnectionError> {
    let request = serde_json::to_value(request).map_err(io::Error::from)?;
    let call = Call {
        version: PROTOCOL,
        request,
    };
    let mut line = serde_json::to_vec(&call).map_err(io::Error::from)?;
    line.push(b'\n');
    // A server that does not want to hear the request has said why before it hung up.
    let written = stream.get_mut().write_all(&line).await;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            let closed = written.err();
            let closed = closed.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            return Err(closed.into());
        }
        let reply: Reply =
            serde_json::from_str(&line).map_err(|_| ConnectionError::Unintelligible)?;
        match reply.outcome {
            Outcome::Progress(progress) => bar.show(progress),
            Outcome::Ok(answer) => return Ok(answer),
            Outcome::Error(sentence) => return Err(ConnectionError::Refused(sentence)),
        }
    }
}
