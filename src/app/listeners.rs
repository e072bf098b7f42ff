//! The HTTP servers on their sockets: what clients reach, and what monitoring does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::dev::Server;
use actix_web::middleware::from_fn;

use super::certificates::Certificates;
use super::sockets::{Socket, SocketError, SocketFile, UnixSocket};
use super::{GRACE_SECONDS, StartError};
use crate::config::{Config, Listen};
use crate::http::{self, Monitoring, State};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take for the handshake of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many handshakes a worker carries on at once before it lets further clients wait.
const HANDSHAKES: usize = 1024;

/// A server on its sockets.
pub(super) struct Listening {
    /// The server, not yet running.
    pub server: Server,
    /// The addresses, with the ports that were really taken.
    pub addresses: Vec<SocketAddr>,
    /// Every place, for people.
    pub places: Vec<String>,
    /// The files of unix sockets, which go with the server.
    pub files: Vec<SocketFile>,
}

/// Serves clients on the sockets that systemd passed, else on those of `server.listen`.
pub(super) fn public(
    config: &Config,
    state: State,
    passed: Vec<Socket>,
    certificates: Option<&Arc<Certificates>>,
) -> Result<Listening, StartError> {
    let mut server = HttpServer::new(move || {
        actix_web::App::new()
            .wrap(from_fn(http::observe))
            .configure(|app| http::configure(app, &state))
    })
    .disable_signals()
    .shutdown_timeout(GRACE_SECONDS)
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(Duration::from_secs(5))
    .tls_handshake_timeout(HANDSHAKE_TIMEOUT)
    .max_connection_rate(HANDSHAKES);
    if config.server.workers > 0 {
        server = server.workers(config.server.workers);
    }
    let (mut addresses, mut places, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for (socket, configured) in sockets(config, passed)? {
        let place = socket.to_string();
        addresses.extend(socket.address());
        let covered = configured.is_some_and(|address| config.tls.covers(address));
        let certificates = certificates.filter(|_| covered);
        places.push(match certificates {
            Some(_) => format!("{place} with TLS"),
            None => place.clone(),
        });
        let listening = match (socket, certificates) {
            (Socket::Tcp(listener), Some(certificates)) => {
                server.listen_rustls_0_23(listener, certificates.server_config()?)
            }
            (Socket::Tcp(listener), None) => server.listen(listener),
            (Socket::Unix(UnixSocket { listener, file }), _) => {
                files.extend(file);
                server.listen_uds(listener)
            }
        };
        server = listening.map_err(|source| SocketError::Refused {
            listen: place,
            source,
        })?;
    }
    Ok(Listening {
        server: server.run(),
        addresses,
        places,
        files,
    })
}

/// The sockets, each with the address that `tls.listen` would name it by.
fn sockets(
    config: &Config,
    passed: Vec<Socket>,
) -> Result<Vec<(Socket, Option<SocketAddr>)>, SocketError> {
    if !passed.is_empty() {
        let named = passed.into_iter().map(|socket| {
            let address = socket.address();
            (socket, address)
        });
        return Ok(named.collect());
    }
    let bind = |listen: &Listen| {
        let configured = match listen {
            Listen::Tcp(address) => Some(*address),
            Listen::Unix(_) => None,
        };
        Ok((Socket::bind("server.listen", listen)?, configured))
    };
    config.server.listen.iter().map(bind).collect()
}

/// Serves monitoring, if it is to be served.
pub(super) fn monitoring(
    listen: Option<&Listen>,
    passed: Option<Socket>,
    monitoring: Monitoring,
) -> Result<Option<Listening>, StartError> {
    let socket = match (passed, listen) {
        (Some(passed), _) => passed,
        (None, Some(listen)) => Socket::bind("metrics.listen", listen)?,
        (None, None) => return Ok(None),
    };
    let server = HttpServer::new(move || {
        actix_web::App::new().configure(|app| http::configure_monitoring(app, &monitoring))
    })
    .disable_signals()
    .workers(1);
    let place = socket.to_string();
    log::info!("monitoring is served on {place}");
    let addresses = socket.address().into_iter().collect();
    let mut files = Vec::new();
    let listening = match socket {
        Socket::Tcp(listener) => server.listen(listener),
        Socket::Unix(UnixSocket { listener, file }) => {
            files.extend(file);
            server.listen_uds(listener)
        }
    };
    let server = listening.map_err(|source| SocketError::Refused {
        listen: place.clone(),
        source,
    })?;
    Ok(Some(Listening {
        server: server.run(),
        addresses,
        places: vec![place],
        files,
    }))
}
