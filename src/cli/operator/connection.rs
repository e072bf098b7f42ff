use std::io;
use std::path::PathBuf;
use std::pin::pin;

use tokio::sync::watch;

use super::bar::Bar;
use crate::app::{CallError, Caller, Deps, Offline, OfflineError, StartError};
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
    /// The server did not do it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The store said no.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The store cannot be used without a server.
    #[error(transparent)]
    Offline(OfflineError),
}

/// A running server, or a store that nobody serves.
pub(super) enum Connection {
    Server(Caller),
    Store(Offline),
}

impl Connection {
    /// Finds the server; without one, opens the store.
    pub(super) async fn open(config: &Config) -> Result<Self, CliError> {
        let socket = &config.admin.socket;
        match Caller::connect(socket).await {
            Ok(caller) => return Ok(Self::Server(caller)),
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
            Self::Server(caller) => {
                let asked = caller
                    .ask(&request, &mut |progress| bar.show(progress))
                    .await;
                asked.map_err(ConnectionError::from)
            }
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
