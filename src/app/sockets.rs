//! The sockets that connections come in by: made here as the configuration says, or passed by systemd, and then instead of
//! the configured ones.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::TcpSocket;

use crate::config::Listen;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key}): {}", reason(source))]
    Tcp {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// Something else lies there.
    #[error("{} ({key}) is not a socket: move it away, or name another path", path.display())]
    NotASocket {
        /// The key of the configuration that names it.
        key: &'static str,
        /// What lies there.
        path: PathBuf,
    },
    /// Somebody answers on it.
    #[error(
        "another server answers on {} ({key}): give each server a socket of its own",
        path.display()
    )]
    InUse {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The socket.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot make the socket {} ({key}): {source}", path.display())]
    File {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The HTTP server does not take it.
    #[error("cannot serve on {listen}: {source}")]
    Refused {
        /// The socket.
        listen: String,
        /// The reason.
        source: io::Error,
    },
}

/// What an operator can do about an address that cannot be listened on.
fn reason(source: &io::Error) -> String {
    let advice = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; stop it, or name another address or port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; name one of its own, or 0.0.0.0 or [::] for all"
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not; name a port from 1024 on, or let systemd pass the socket"
        }
        _ => return source.to_string(),
    };
    advice.to_owned()
}

/// A socket that is listened on.
#[derive(Debug)]
pub(super) enum Socket {
    /// An address, perhaps with TLS.
    Tcp(TcpListener),
    /// A file.
    Unix(UnixSocket),
}

impl Socket {
    /// Makes the socket that a key of the configuration names.
    pub fn bind(key: &'static str, listen: &Listen) -> Result<Self, SocketError> {
        match listen {
            Listen::Tcp(address) => bind_tcp(*address).map(Self::Tcp).map_err(|source| {
                let address = *address;
                SocketError::Tcp {
                    key,
                    address,
                    source,
                }
            }),
            // Who may connect is decided by who can reach the file.
            Listen::Unix(path) => UnixSocket::bind(key, path, 0o666).map(Self::Unix),
        }
    }

    /// Where it listens, if that is an address.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("a TCP socket"),
            },
            Self::Unix(socket) => socket.fmt(f),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of the server that stopped a moment ago do not keep the next one from starting.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A unix socket, and the file that leads to it unless it is systemd's.
#[derive(Debug)]
pub(super) struct UnixSocket {
    /// What accepts.
    pub listener: UnixListener,
    /// The file.
    pub file: Option<SocketFile>,
}

impl UnixSocket {
    /// Makes the socket. One that a killed server left behind is replaced, anything else is not.
    pub fn bind(key: &'static str, path: &Path, mode: u32) -> Result<Self, SocketError> {
        let path = path.to_owned();
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(SocketError::File { key, path, source }),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(SocketError::NotASocket { key, path });
            }
            Ok(_) if UnixStream::connect(&path).is_ok() => {
                return Err(SocketError::InUse { key, path });
            }
            Ok(_) => {}
        }
        match make(&path, mode) {
            Ok(listener) => Ok(Self {
                listener,
                file: Some(SocketFile(path)),
            }),
            Err(source) => Err(SocketError::File { key, path, source }),
        }
    }
}

/// It gets its name when nobody can use it any more who may not.
fn make(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(mode))?;
    fs::rename(&unfinished, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl fmt::Display for UnixSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.listener.local_addr().ok();
        let bound = address.as_ref().and_then(|address| address.as_pathname());
        let path = self.file.as_ref().map(|file| file.0.as_path()).or(bound);
        match path {
            Some(path) => write!(f, "unix:{}", path.display()),
            None => f.write_str("a unix socket"),
        }
    }
}

/// The file of a socket, which goes with the server.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The next server replaces what is left.
        let _ = fs::remove_file(&self.0);
    }
}

/// Why the sockets that systemd passes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// The variables make no sense.
    #[error("LISTEN_PID or LISTEN_FDS is not a number: they are for systemd to set")]
    Variables,
    /// It is not said what a socket is for.
    #[error(
        "systemd passes a socket called `{0}`: write FileDescriptorName=public, metrics or admin \
         into its unit"
    )]
    Name(String),
    /// There can be only one of a kind.
    #[error("systemd passes more than one socket called `{0}`: keep one")]
    Twice(&'static str),
    /// It is something else.
    #[error("the socket `{0}` that systemd passes must be {1}: use ListenStream= in its unit")]
    Kind(&'static str, &'static str),
}

/// The sockets that systemd made, and passed to the server; each kind takes the place of what is configured.
#[derive(Debug, Default)]
pub struct Passed {
    /// Called `public`, for `server.listen`.
    pub(super) public: Vec<Socket>,
    /// Called `metrics`, for `metrics.listen`.
    pub(super) metrics: Option<Socket>,
    /// Called `admin`, for `admin.socket`.
    pub(super) admin: Option<UnixSocket>,
}

impl Passed {
    /// Takes what was passed to this process, which can be done once.
    ///
    /// # Errors
    /// When a socket is not what its name says, or has none that is known.
    pub fn to_process() -> Result<Self, PassedError> {
        let passed = sd_listen_fds::get().map_err(|_| PassedError::Variables)?;
        let passed = passed.into_iter().map(|(name, fd)| (name, fd.into_std()));
        Self::sort(passed)
    }

    fn sort(passed: impl Iterator<Item = (Option<String>, OwnedFd)>) -> Result<Self, PassedError> {
        const A_LISTENER: &str = "a stream socket that listens";
        const A_FILE: &str = "a unix stream socket that listens";
        let mut sorted = Self::default();
        for (name, fd) in passed {
            match name.as_deref() {
                // Tools that pass a single socket give it no name.
                None | Some("public" | "unknown") => {
                    let socket = listener(fd).ok_or(PassedError::Kind("public", A_LISTENER))?;
                    sorted.public.push(socket);
                }
                Some("metrics") => {
                    let socket = listener(fd).ok_or(PassedError::Kind("metrics", A_LISTENER))?;
                    if sorted.metrics.replace(socket).is_some() {
                        return Err(PassedError::Twice("metrics"));
                    }
                }
                Some("admin") => {
                    let Some(Socket::Unix(socket)) = listener(fd) else {
                        return Err(PassedError::Kind("admin", A_FILE));
                    };
                    if sorted.admin.replace(socket).is_some() {
                        return Err(PassedError::Twice("admin"));
                    }
                }
                Some(other) => return Err(PassedError::Name(other.to_owned())),
            }
        }
        Ok(sorted)
    }
}

/// The listener behind a descriptor, if it is one.
fn listener(fd: OwnedFd) -> Option<Socket> {
    let is_listener = sockopt::socket_type(&fd) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(&fd) == Ok(true);
    let family = sockopt::socket_domain(&fd).ok().filter(|_| is_listener)?;
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
    match family {
        AddressFamily::INET | AddressFamily::INET6 => {
            let listener = TcpListener::from(fd);
            listener.set_nonblocking(true).ok()?;
            Some(Socket::Tcp(listener))
        }
        AddressFamily::UNIX => {
            let listener = UnixListener::from(fd);
            listener.set_nonblocking(true).ok()?;
            Some(Socket::Unix(UnixSocket {
                listener,
                file: None,
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn tcp() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    fn unix() -> OwnedFd {
        let folder = tempfile::tempdir().unwrap();
        UnixListener::bind(folder.path().join("x")).unwrap().into()
    }

    fn sorted(passed: Vec<(&str, OwnedFd)>) -> Result<Passed, String> {
        let passed = passed
            .into_iter()
            .map(|(name, fd)| (Some(name.to_owned()), fd));
        Passed::sort(passed).map_err(|error| error.to_string())
    }

    #[test]
    fn sockets_go_where_their_names_say() {
        let passed = vec![
            ("public", tcp()),
            ("metrics", unix()),
            ("public", unix()),
            ("admin", unix()),
        ];
        let passed = sorted(passed).unwrap();
        let is_tcp = |socket: &Socket| socket.address().is_some();
        assert!(is_tcp(&passed.public[0]) && !is_tcp(&passed.public[1]));
        assert!(passed.metrics.is_some() && passed.admin.is_some());

        let unnamed = Passed::sort([(None, tcp())].into_iter()).unwrap();
        assert_eq!(unnamed.public.len(), 1);
        assert!(sorted(Vec::new()).unwrap().public.is_empty());
    }

    #[test]
    fn sockets_that_nothing_can_be_served_on_are_refused_in_a_sentence() {
        let connected = UnixStream::pair().unwrap().0;
        for (passed, words) in [
            (vec![("bindery.socket", tcp())], "FileDescriptorName=public"),
            (
                vec![("metrics", tcp()), ("metrics", tcp())],
                "more than one",
            ),
            (vec![("admin", unix()), ("admin", unix())], "more than one"),
            (vec![("admin", tcp())], "must be a unix stream socket"),
            (
                vec![("public", UdpSocket::bind("127.0.0.1:0").unwrap().into())],
                "must be a stream socket",
            ),
            (
                vec![("public", UnixDatagram::unbound().unwrap().into())],
                "must be a stream socket",
            ),
            (vec![("public", connected.into())], "that listens"),
            (
                vec![("metrics", std::fs::File::open("/dev/null").unwrap().into())],
                "must be a stream socket",
            ),
        ] {
            let error = sorted(passed).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
