//! The other end of the socket: how a command has a running server carry something out.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Call, Outcome, PROTOCOL, Reply};
use crate::services::admin::{AdminAnswer, AdminRequest, Progress};

/// Why a running server did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server went away.
    #[error("the connection to the server broke: {0}")]
    Broken(#[from] io::Error),
    /// The server does not speak as this program does.
    #[error("the server's answer makes no sense to this version of the command")]
    Unintelligible,
    /// The server said no.
    #[error("{0}")]
    Refused(String),
}

/// A connection to a running server.
pub struct Caller(BufReader<UnixStream>);

impl Caller {
    /// Connects to the socket of a running server.
    ///
    /// # Errors
    /// When nobody listens there, or the caller may not use it.
    pub async fn connect(socket: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(UnixStream::connect(socket).await?)))
    }

    /// Has a command carried out, and shows how far it has come.
    ///
    /// # Errors
    /// When the server says no, or there is no answer.
    pub async fn ask(
        &mut self,
        request: &AdminRequest,
        show: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<AdminAnswer, CallError> {
        let request = serde_json::to_value(request).map_err(io::Error::from)?;
        let call = Call {
            version: PROTOCOL,
            request,
        };
        let mut line = serde_json::to_vec(&call).map_err(io::Error::from)?;
        line.push(b'\n');
        // A server that does not want to hear the request has said why before it hung up.
        let written = self.0.get_mut().write_all(&line).await;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await? == 0 {
                let closed = written.err();
                let closed = closed.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                return Err(closed.into());
            }
            let reply: Reply =
                serde_json::from_str(&line).map_err(|_| CallError::Unintelligible)?;
            match reply.outcome {
                Outcome::Progress(progress) => show(progress),
                Outcome::Ok(answer) => return Ok(answer),
                Outcome::Error(sentence) => return Err(CallError::Refused(sentence)),
            }
        }
    }
}
