//! The certificate of the TLS listeners and its key: read at the start, and again on SIGHUP and when the files change. A new
//! pair that cannot be used leaves the old one in force.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use x509_cert::der::Decode as _;

use crate::clock::Clock;
use crate::config::{PublicUrl, TlsFiles};
use crate::metrics::Metrics;
use crate::types::Timestamp;

/// Everybody's permission to read.
const READABLE_BY_ALL: u32 = 0o004;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {} ({key}): {source}", path.display())]
    Unreadable {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no certificate in the file.
    #[error(
        "{} (tls.certificate) must be a PEM file: the server's certificate, then those that lead to its \
         authority",
        .0.display()
    )]
    NoCertificate(PathBuf),
    /// There is no key in the file.
    #[error("{} (tls.private_key) must be a PEM file with a private key that no passphrase locks", .0.display())]
    NoKey(PathBuf),
    /// Everybody can read the key.
    #[error("{} (tls.private_key) can be read by everybody: run `chmod o-rwx` on it", .0.display())]
    Exposed(PathBuf),
    /// The key is of a kind that TLS has no use for.
    #[error(
        "the key in {} (tls.private_key) cannot be used: it must be an ECDSA (P-256, P-384), Ed25519 or RSA (2048 bits \
         or more) key",
        .0.display()
    )]
    Kind(PathBuf),
    /// They do not belong together.
    #[error(
        "the certificate in {} (tls.certificate) was not made for the key in {} (tls.private_key): name two files \
         that belong together",
        .0.certificate.display(), .0.private_key.display()
    )]
    Mismatch(TlsFiles),
    /// It ended.
    #[error("the certificate in {} (tls.certificate) ended at {ended}: renew it", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        ended: Moment,
    },
    /// The TLS library refuses to be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// A moment as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What lies beyond the year 9999 cannot be written, and need not be told apart.
        let most = Duration::from_secs(253_402_300_799);
        let since = Duration::from_millis(self.0.as_millis()).min(most);
        humantime::format_rfc3339_seconds(UNIX_EPOCH + since).fmt(f)
    }
}

/// A certificate with its key, fit to be shown to clients.
#[derive(Debug, Clone)]
pub struct Certificate {
    pair: Arc<CertifiedKey>,
    ends: Timestamp,
}

impl Certificate {
    /// Reads both files, which blocks. Whether the certificate still holds is not looked at.
    ///
    /// # Errors
    /// When one cannot be read or used, or they do not belong together.
    pub fn read(files: &TlsFiles) -> Result<Self, CertificateError> {
        let chain = read_chain(&files.certificate)?;
        let key = read_key(&files.private_key)?;
        let ends = chain.first().and_then(ends);
        let ends =
            ends.ok_or_else(|| CertificateError::NoCertificate(files.certificate.clone()))?;
        let provider = rustls::crypto::ring::default_provider();
        let pair = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateError::Mismatch(files.clone())
            }
            rustls::Error::InvalidCertificate(_) => {
                CertificateError::NoCertificate(files.certificate.clone())
            }
            _ => CertificateError::Kind(files.private_key.clone()),
        })?;
        Ok(Self {
            pair: Arc::new(pair),
            ends,
        })
    }

    /// Until when it holds.
    pub fn ends(&self) -> Moment {
        Moment(self.ends)
    }

    /// What clients will not like about it, a sentence each.
    pub fn advice(&self, files: &TlsFiles, url: &PublicUrl, now: Timestamp) -> Vec<String> {
        let mut advice = Vec::new();
        if self.ends <= now {
            let path = files.certificate.clone();
            let ended = self.ends();
            advice.push(CertificateError::Expired { path, ended }.to_string());
        }
        if !self.is_for(url) {
            advice.push(format!(
                "the certificate in {} (tls.certificate) is not for the host of `server.public_url`, {url}",
                files.certificate.display()
            ));
        }
        advice
    }

    fn is_for(&self, url: &PublicUrl) -> bool {
        let certificate = self.pair.end_entity_cert().map(ParsedCertificate::try_from);
        let (Ok(Ok(certificate)), Ok(name)) = (certificate, ServerName::try_from(url.host()))
        else {
            return false;
        };
        rustls::client::verify_server_name(&certificate, &name).is_ok()
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let refused = |error| match error {
        pem::Error::Io(source) => CertificateError::Unreadable {
            key: "tls.certificate",
            path: path.to_owned(),
            source,
        },
        _ => CertificateError::NoCertificate(path.to_owned()),
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(refused)?;
    certificates.collect::<Result<_, _>>().map_err(refused)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let unreadable = |source| CertificateError::Unreadable {
        key: "tls.private_key",
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.mode() & READABLE_BY_ALL != 0 {
        return Err(CertificateError::Exposed(path.to_owned()));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::Io(source) => unreadable(source),
        _ => CertificateError::NoKey(path.to_owned()),
    })
}

/// Until when a certificate holds.
fn ends(certificate: &CertificateDer<'static>) -> Option<Timestamp> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let ends = parsed
        .tbs_certificate()
        .validity()
        .not_after
        .to_unix_duration();
    Some(Timestamp::from_millis(0).plus(ends))
}

/// What a change of the files is known by.
type Traces = [Option<(u64, u64, u64, i64, i64)>; 2];

fn traces(files: &TlsFiles) -> Traces {
    let trace = |file: &Metadata| {
        (
            file.dev(),
            file.ino(),
            file.size(),
            file.ctime(),
            file.ctime_nsec(),
        )
    };
    [&files.certificate, &files.private_key].map(|file| fs::metadata(file).ok().as_ref().map(trace))
}

/// The certificate that is in force, of the files that are watched.
pub struct Certificates {
    current: ArcSwap<Certificate>,
    watched: Mutex<Watched>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

struct Watched {
    files: TlsFiles,
    traces: Traces,
}

impl Certificates {
    /// Reads the first pair, which blocks. One that has ended is taken too: the operator is told, and what needs no TLS goes
    /// on.
    ///
    /// # Errors
    /// As [`Certificate::read`].
    pub fn load(
        files: &TlsFiles,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, CertificateError> {
        let traces = traces(files);
        let certificate = Certificate::read(files)?;
        metrics.certificate(Duration::from_millis(certificate.ends.as_millis()));
        Ok(Self {
            current: ArcSwap::from_pointee(certificate),
            watched: Mutex::new(Watched {
                files: files.clone(),
                traces,
            }),
            clock,
            metrics,
        })
    }

    /// TLS with the certificate that is in force at each handshake.
    ///
    /// # Errors
    /// When the TLS library has no protocol to speak.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(config)
    }

    /// What clients will not like about the certificate in force.
    pub fn advice(&self, url: &PublicUrl) -> Vec<String> {
        let files = self.watched().files.clone();
        self.current.load().advice(&files, url, self.clock.now())
    }

    /// Reads a pair that is to take the place of the one in force. Blocks.
    ///
    /// # Errors
    /// As [`Certificate::read`], and when it has ended.
    pub fn read(&self, files: &TlsFiles) -> Result<Renewal, CertificateError> {
        let traces = traces(files);
        let certificate = Certificate::read(files)?;
        if certificate.ends <= self.clock.now() {
            return Err(CertificateError::Expired {
                path: files.certificate.clone(),
                ended: certificate.ends(),
            });
        }
        let watched = Watched {
            files: files.clone(),
            traces,
        };
        Ok(Renewal {
            certificate,
            watched,
        })
    }

    /// Puts a pair into force for all handshakes from now on, and watches its files.
    pub fn take(&self, renewal: Renewal) {
        let Renewal {
            certificate,
            watched,
        } = renewal;
        if certificate.pair.cert != self.current.load().pair.cert {
            log::info!(
                "a new certificate is in force, which ends at {}",
                certificate.ends()
            );
        }
        self.metrics
            .certificate(Duration::from_millis(certificate.ends.as_millis()));
        self.metrics.certificate_reloaded(true);
        *self.watched() = watched;
        self.current.store(Arc::new(certificate));
    }

    /// Counts a pair that could not be used.
    pub fn refuse(&self) {
        self.metrics.certificate_reloaded(false);
    }

    /// Reads the files again if they have changed since they were last looked at. Blocks. What cannot be used is said once,
    /// until the files change again.
    pub fn run_once(&self) {
        let files = {
            let mut watched = self.watched();
            let now = traces(&watched.files);
            if now == watched.traces {
                return;
            }
            watched.traces = now;
            watched.files.clone()
        };
        match self.read(&files) {
            Ok(renewal) => self.take(renewal),
            Err(error) => {
                self.refuse();
                log::error!("the certificate is not reloaded, the old one still holds: {error}");
            }
        }
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pair that may take the place of the one in force.
pub struct Renewal {
    certificate: Certificate,
    watched: Watched,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().pair))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}
