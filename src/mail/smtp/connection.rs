use std::error::Error as StdError;
use std::fmt::Display;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use rustls::CertificateError;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Deadline;
use super::wire::Wire;
use crate::config;
use crate::config::SmtpSecurity;
use crate::mail::error::{Reply, SendError, SetupError, Step, TlsProblem, Trouble};
use crate::mail::message::Letter;

/// The ways to log in that are used, the better one first.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

/// The mail server, and how to speak with it.
pub(super) struct Host {
    name: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    hello: ClientId,
}

enum Security {
    /// The certificate is verified for the host's configured name, whatever address is connected to.
    StartTls(TlsParameters),
    Tls(TlsParameters),
    None,
}

/// Why a connection was not opened.
pub(super) enum NotOpened {
    /// This address does not answer; another one might.
    Unreachable(io::Error),
    /// The mail server answered, and it did not work out.
    Failed(Trouble),
}

impl From<Trouble> for NotOpened {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(trouble)
    }
}

impl Host {
    pub(super) fn new(settings: &config::Smtp) -> Result<Self, SetupError> {
        let bare = settings.host.trim_start_matches('[').trim_end_matches(']');
        let name = match bare.parse::<IpAddr>() {
            Ok(_) => bare.to_owned(),
            Err(_) => idna::domain_to_ascii(bare).unwrap_or_else(|_| bare.to_owned()),
        };
        let security = match settings.security {
            SmtpSecurity::StartTls => Security::StartTls(tls_parameters(&name, settings)?),
            SmtpSecurity::Tls => Security::Tls(tls_parameters(&name, settings)?),
            SmtpSecurity::None => Security::None,
        };
        let login = settings.username.as_ref().zip(settings.password.as_ref());
        let credentials = login
            .map(|(user, password)| Credentials::new(user.clone(), password.expose().to_owned()));
        let hello = settings
            .hello_name
            .clone()
            .unwrap_or_else(|| "localhost".to_owned());
        if hello.is_empty() || !hello.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SetupError::HelloName);
        }
        Ok(Self {
            name,
            port: settings.port,
            security,
            credentials,
            hello: ClientId::Domain(hello),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Connects to one address of the host, and goes through everything that comes before the first mail.
    pub(super) async fn open(
        &self,
        address: IpAddr,
        patience: Duration,
        deadline: Deadline,
    ) -> Result<AsyncSmtpConnection, NotOpened> {
        let address = SocketAddr::new(address, self.port);
        let mut connection = match &self.security {
            Security::Tls(tls) => self.connect_tls(address, tls, patience, deadline).await?,
            Security::StartTls(_) | Security::None => {
                self.connect(address, patience, deadline).await?
            }
        };
        if let Security::StartTls(tls) = &self.security {
            self.start_tls(&mut connection, tls, deadline).await?;
        }
        if let Some(credentials) = &self.credentials {
            self.log_in(&mut connection, credentials, deadline).await?;
        }
        Ok(connection)
    }

    async fn connect(
        &self,
        address: SocketAddr,
        patience: Duration,
        deadline: Deadline,
    ) -> Result<AsyncSmtpConnection, NotOpened> {
        let stream = timeout(patience, TcpStream::connect(address))
            .await
            .map_err(|_| io::ErrorKind::TimedOut.into())
            .flatten()
            .map_err(NotOpened::Unreachable)?;
        let greeting =
            AsyncSmtpConnection::connect_with_transport(Box::new(Wire::new(stream)), &self.hello);
        let greeted = deadline.bound(self, Step::Greeting, greeting).await?;
        Ok(greeted.map_err(|error| self.trouble(Step::Greeting, &error))?)
    }

    async fn connect_tls(
        &self,
        address: SocketAddr,
        tls: &TlsParameters,
        patience: Duration,
        deadline: Deadline,
    ) -> Result<AsyncSmtpConnection, NotOpened> {
        let tls = Some(tls.clone());
        let greeting =
            AsyncSmtpConnection::connect_tokio1(address, Some(patience), &self.hello, tls, None);
        let greeted = deadline.bound(self, Step::Greeting, greeting).await?;
        greeted.map_err(|error| match connect_error(&error) {
            Some(source) => NotOpened::Unreachable(source),
            None => NotOpened::Failed(self.trouble(Step::Greeting, &error)),
        })
    }

    async fn start_tls(
        &self,
        connection: &mut AsyncSmtpConnection,
        tls: &TlsParameters,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        if !connection.can_starttls() {
            return Err(Trouble::NoStartTls {
                host: self.name.clone(),
            });
        }
        let upgrade = connection.starttls(tls.clone(), &self.hello);
        deadline
            .bound(self, Step::StartTls, upgrade)
            .await?
            .map_err(|error| self.trouble(Step::StartTls, &error))
    }

    async fn log_in(
        &self,
        connection: &mut AsyncSmtpConnection,
        credentials: &Credentials,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        if connection
            .server_info()
            .get_auth_mechanism(&MECHANISMS)
            .is_none()
        {
            return Err(Trouble::NoLogin {
                host: self.name.clone(),
            });
        }
        let login = connection.auth(&MECHANISMS, credentials);
        deadline
            .bound(self, Step::Login, login)
            .await?
            .map(drop)
            .map_err(|error| self.trouble(Step::Login, &error))
    }

    /// Hands one mail over.
    pub(super) async fn deliver(
        &self,
        connection: &mut AsyncSmtpConnection,
        letter: &Letter,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        let mut parameters = Vec::new();
        if letter.needs_smtputf8 {
            if !connection
                .server_info()
                .supports_feature(Extension::SmtpUtfEight)
            {
                return Err(SendError::NoSmtpUtf8 {
                    host: self.name.clone(),
                });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !letter.bytes.is_ascii() {
            // Every server with SMTPUTF8 has 8BITMIME (RFC 6531, section 3.1), and all else is sent as ASCII.
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let sender = Mail::new(Some(letter.from.clone()), parameters);
        self.say(connection, Step::Sender, sender, deadline).await?;
        let recipient = Rcpt::new(letter.to.clone(), Vec::new());
        self.say(connection, Step::Recipient, recipient, deadline)
            .await?;
        self.say(connection, Step::Content, Data, deadline).await?;
        deadline
            .bound(self, Step::Content, connection.message(&letter.bytes))
            .await?
            .map(drop)
            .map_err(|error| self.refusal(Step::Content, &error))
    }

    async fn say(
        &self,
        connection: &mut AsyncSmtpConnection,
        step: Step,
        command: impl Display,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        deadline
            .bound(self, step, connection.command(command))
            .await?
            .map(drop)
            .map_err(|error| self.refusal(step, &error))
    }

    /// What a failure means in the steps that are about one mail.
    fn refusal(&self, step: Step, error: &Error) -> SendError {
        match reply(error) {
            Some(reply) if reply.code == 530 => Trouble::LoginRequired {
                host: self.name.clone(),
                reply,
            }
            .into(),
            Some(reply) if error.is_permanent() => SendError::Refused {
                host: self.name.clone(),
                step,
                reply,
            },
            _ => self.trouble(step, error).into(),
        }
    }

    fn trouble(&self, step: Step, error: &Error) -> Trouble {
        let host = self.name.clone();
        match (reply(error), tls_problem(error)) {
            (Some(reply), _) if step == Step::Login && error.is_permanent() => {
                Trouble::Login { host, reply }
            }
            (Some(reply), _) => Trouble::Deferred { host, step, reply },
            (None, Some(problem)) => Trouble::Tls { host, problem },
            (None, None) => Trouble::Dropped { host, step },
        }
    }

    pub(super) fn timed_out(&self, step: Step, after: Duration) -> Trouble {
        Trouble::TimedOut {
            host: self.name.clone(),
            step,
            after,
        }
    }

    pub(super) fn unreachable(&self, source: io::Error) -> Trouble {
        Trouble::Connect {
            host: self.name.clone(),
            port: self.port,
            source,
        }
    }
}

/// The web's authorities, and those of `ca_file`.
fn tls_parameters(name: &str, settings: &config::Smtp) -> Result<TlsParameters, SetupError> {
    let mut tls = TlsParameters::builder(name.to_owned());
    if let Some(path) = &settings.ca_file {
        let pem = fs::read(path).map_err(|source| SetupError::UnreadableCaFile {
            path: path.clone(),
            source,
        })?;
        let has_one = pem
            .windows(CERTIFICATE.len())
            .any(|window| window == CERTIFICATE);
        let certificates = Certificate::from_pem(&pem).ok().filter(|_| has_one);
        tls = tls
            .add_root_certificate(certificates.ok_or_else(|| SetupError::BadCaFile(path.clone()))?);
    }
    tls.build_rustls().map_err(|_| match &settings.ca_file {
        Some(path) => SetupError::BadCaFile(path.clone()),
        None => SetupError::Tls,
    })
}

/// What starts a certificate in a PEM file. A file without any would be accepted, and trusted for nothing.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The negative reply that an error stands for.
fn reply(error: &Error) -> Option<Reply> {
    let code = error.status()?.to_string().parse().ok()?;
    let words = error.source().map(ToString::to_string).unwrap_or_default();
    Some(Reply::new(code, &words))
}

/// The system's error for a connection that was not made or broke, in words of the system only.
fn connect_error(error: &Error) -> Option<io::Error> {
    let cause = error.source()?.downcast_ref::<io::Error>()?;
    let copy = cause.raw_os_error().map(io::Error::from_raw_os_error);
    tls_problem(error)
        .is_none()
        .then(|| copy.unwrap_or_else(|| cause.kind().into()))
}

fn tls_problem(error: &Error) -> Option<TlsProblem> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(current) = cause {
        let inner = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let inside = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(found) = current.downcast_ref::<rustls::Error>().or(inside) {
            return Some(classify(found));
        }
        cause = current.source();
    }
    None
}

const fn classify(error: &rustls::Error) -> TlsProblem {
    use CertificateError as C;
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return TlsProblem::Handshake;
    };
    match certificate {
        C::NotValidForName | C::NotValidForNameContext { .. } => TlsProblem::WrongName,
        // The latter is another authority's of the same name.
        C::UnknownIssuer | C::BadSignature => TlsProblem::UnknownIssuer,
        C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => {
            TlsProblem::OutOfDate
        }
        _ => TlsProblem::BadCertificate,
    }
}
