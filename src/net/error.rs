use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::{Refusal, ResolveError};

/// The HTTP client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file of certificates cannot be read.
    #[error("cannot read {key} {}: {source}", path.display())]
    UnreadableCaFile {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of certificates has nothing to trust.
    #[error("{key} {} must be a PEM file with at least one CERTIFICATE", path.display())]
    BadCaFile {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The TLS library has no protocol to speak.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    /// No resolver can be made.
    #[error("the DNS resolver cannot be set up: {0}")]
    Resolver(#[from] ResolveError),
}

/// A request has no answer that could be used. One sentence for the operator; without path and query, which may have a
/// secret.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The host is no name that could be asked for.
    #[error("`{0}` is not a host name or an address in its usual form")]
    BadName(String),
    /// The host is at an address that is not connected to.
    #[error("`{host}` is not connected to: {refusal}")]
    Refused {
        /// The host.
        host: String,
        /// Why not.
        refusal: Refusal,
    },
    /// The host cannot be found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// There is no connection to be had.
    #[error("cannot connect to `{host}`: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// The system's reason.
        reason: String,
    },
    /// Whoever answers cannot prove to be the host.
    #[error("no secure connection to `{host}`: {source}")]
    Tls {
        /// The host.
        host: String,
        /// What TLS has to say.
        source: rustls::Error,
    },
    /// The answer is no HTTP, or ends too early.
    #[error("the answer of `{host}` broke off or is no HTTP: {reason}")]
    Broken {
        /// The host.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than is read.
    #[error("the answer of `{host}` is larger than federation.max_response")]
    TooLarge {
        /// The host.
        host: String,
    },
    /// There was no whole answer in time.
    #[error("`{host}` did not answer in time")]
    Timeout {
        /// The host.
        host: String,
    },
}

/// A gateway was not asked, or gave no answer that could be used. One sentence for the operator; without path, query and
/// headers, which may have a secret.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The request would cross the Internet without protection.
    #[error(
        "`{0}` is asked without TLS, which only a loopback or private address may be: use https"
    )]
    InTheClear(String),
    /// A header has characters that no header can have.
    #[error("a header of the request to `{0}` would have characters that no header can have")]
    BadHeader(String),
    /// The answer is longer than any that makes sense.
    #[error("the answer of `{host}` is longer than {most} bytes")]
    TooLong {
        /// The host.
        host: String,
        /// What is read, in bytes.
        most: usize,
    },
    /// What can go wrong with any request.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// It is for other names.
    Name,
    /// Its time is over, or not yet come.
    Time,
    /// Nobody who is trusted signed it.
    Issuer,
}

impl RequestError {
    /// What is wrong with the certificate, if that is why there is no connection.
    pub fn certificate_fault(&self) -> Option<CertificateFault> {
        use rustls::CertificateError as C;
        let Self::Tls {
            source: rustls::Error::InvalidCertificate(fault),
            ..
        } = self
        else {
            return None;
        };
        match fault {
            C::NotValidForName | C::NotValidForNameContext { .. } => Some(CertificateFault::Name),
            C::Expired
            | C::ExpiredContext { .. }
            | C::NotValidYet
            | C::NotValidYetContext { .. } => Some(CertificateFault::Time),
            _ => Some(CertificateFault::Issuer),
        }
    }

    /// Sorts the client's error; its URL is left out.
    pub(super) fn of(host: &str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let host = host.to_owned();
        if error.is_timeout() {
            return Self::Timeout { host };
        }
        if let Some(source) = tls_error(&error) {
            return Self::Tls { host, source };
        }
        let reason = innermost(&error);
        if error.is_connect() {
            Self::Connect { host, reason }
        } else {
            Self::Broken { host, reason }
        }
    }
}

/// The error of TLS that lies somewhere below, at times within several of the system.
fn tls_error(error: &(dyn Error + 'static)) -> Option<rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls.clone());
    }
    // What an error of the system wraps is not its source, but the start of its chain.
    let within = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match within {
        Some(inner) => tls_error(inner),
        None => tls_error(error.source()?),
    }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text = current.to_string();
        cause = current.source();
    }
    text
}
