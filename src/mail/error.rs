use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::metrics::MailOutcome;
use crate::net::ResolveError;
use crate::random::RandomError;

/// Settings of `[email]` that no mail can be sent with.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `email.from` or `email.reply_to` cannot be used.
    #[error(
        "{0} has a local part that is not ASCII: use another address, or set email.smtputf8 = true if the mail \
             server supports it"
    )]
    NotAscii(&'static str),
    /// `email.from` or `email.reply_to` is no address.
    #[error("{0} is not a mail address")]
    NotAnAddress(&'static str),
    /// `email.smtp.hello_name` cannot be used.
    #[error("email.smtp.hello_name must be a host name or a bracketed address")]
    HelloName,
    /// `email.smtp.ca_file` cannot be read.
    #[error("email.smtp.ca_file: cannot read `{}`: {source}", path.display())]
    UnreadableCaFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `email.smtp.ca_file` has no usable certificate.
    #[error("email.smtp.ca_file: `{}` must have one or more certificates in PEM form", .0.display())]
    BadCaFile(PathBuf),
    /// No TLS configuration could be made.
    #[error("TLS could not be set up for email.smtp")]
    Tls,
}

/// Why a mail did not go out. Each is one sentence that tells the operator what to change. None has the address or the
/// words of the mail server, which may repeat the address.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Mail is switched off.
    #[error("no mail can be sent while email.transport is \"none\"")]
    NoTransport,
    /// The mail server will not take this mail, now or later.
    #[error("the mail server {host} refused {step} for good ({reply}){}", hint(*step, *reply))]
    Refused {
        /// The mail server.
        host: String,
        /// What it refused.
        step: Step,
        /// Its code.
        reply: Reply,
    },
    /// The local part of the address is not ASCII, which `email.smtputf8` does not allow.
    #[error(
        "the address has a local part that is not ASCII: set email.smtputf8 = true if the mail server supports it"
    )]
    NeedsSmtpUtf8,
    /// The local part of the address is not ASCII, which the mail server does not support.
    #[error(
        "the address has a local part that is not ASCII, and the mail server {host} does not support SMTPUTF8"
    )]
    NoSmtpUtf8 {
        /// The mail server.
        host: String,
    },
    /// The address cannot stand in an envelope.
    #[error("the address cannot be written into an envelope")]
    Address,
    /// The message could not be put together. A mistake of ours.
    #[error("the message could not be put together: {0}")]
    Message(String),
    /// It did not work now, and may work later.
    #[error(transparent)]
    Temporary(#[from] Trouble),
}

impl SendError {
    /// What is counted for it.
    pub const fn outcome(&self) -> MailOutcome {
        match self {
            Self::Temporary(_) => MailOutcome::Temporary,
            Self::Message(_) | Self::NoTransport => MailOutcome::Failed,
            Self::Refused { .. }
            | Self::NeedsSmtpUtf8
            | Self::NoSmtpUtf8 { .. }
            | Self::Address => MailOutcome::Refused,
        }
    }

    /// Whether sending this mail to this address again cannot succeed.
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Temporary(_) | Self::Message(_))
    }

    /// Whether another mail to another address could be taken now.
    pub const fn is_of_this_mail(&self) -> bool {
        let deferred = matches!(
            self,
            Self::Temporary(Trouble::Deferred {
                step: Step::Recipient | Step::Content,
                ..
            })
        );
        deferred || !matches!(self, Self::Temporary(_) | Self::NoTransport)
    }
}

/// What kept a mail from going out this time.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The mail server has no address.
    #[error("cannot find the mail server: {0}; check email.smtp.host and the DNS of this machine")]
    Resolve(#[from] ResolveError),
    /// No connection.
    #[error(
        "cannot connect to the mail server {host} on port {port}: {source}; check email.smtp.host and email.smtp.port, \
             and that no firewall is in between"
    )]
    Connect {
        /// The mail server.
        host: String,
        /// Its port.
        port: u16,
        /// What the system said of the last address that was tried.
        source: io::Error,
    },
    /// STARTTLS is not offered, and without it nothing is sent.
    #[error(
        "the mail server {host} offers no STARTTLS on this port: use its submission port (often 587), or set \
             email.smtp.security = \"tls\" for one that starts with TLS (often 465)"
    )]
    NoStartTls {
        /// The mail server.
        host: String,
    },
    /// TLS did not come about.
    #[error("no secure connection to the mail server {host}: {problem}")]
    Tls {
        /// The mail server.
        host: String,
        /// Why.
        problem: TlsProblem,
    },
    /// No way to log in that we know.
    #[error(
        "the mail server {host} offers neither AUTH PLAIN nor AUTH LOGIN: remove email.smtp.username and password if it \
             needs no login"
    )]
    NoLogin {
        /// The mail server.
        host: String,
    },
    /// The login is refused.
    #[error(
        "the mail server {host} refused the login ({reply}): check email.smtp.username and email.smtp.password"
    )]
    Login {
        /// The mail server.
        host: String,
        /// Its code.
        reply: Reply,
    },
    /// The server wants a login or TLS first.
    #[error(
        "the mail server {host} wants a login before it takes mail ({reply}): set email.smtp.username and password"
    )]
    LoginRequired {
        /// The mail server.
        host: String,
        /// Its code.
        reply: Reply,
    },
    /// The server refused for now.
    #[error("the mail server {host} did not take {step} now ({reply}){}", hint(*step, *reply))]
    Deferred {
        /// The mail server.
        host: String,
        /// What it did not take.
        step: Step,
        /// Its code.
        reply: Reply,
    },
    /// The connection ended, or what came was no SMTP.
    #[error(
        "the mail server {host} ended the connection or did not speak SMTP at {step}; check email.smtp.port and \
             email.smtp.security"
    )]
    Dropped {
        /// The mail server.
        host: String,
        /// Where.
        step: Step,
    },
    /// Time is up.
    #[error("the mail server {host} did not answer {step} within {} s{}", after.as_secs(), waiting_hint(*step))]
    TimedOut {
        /// The mail server.
        host: String,
        /// Where.
        step: Step,
        /// The time that the whole conversation may take.
        after: Duration,
    },
    /// The mail could not be written to a file.
    #[error("cannot write a mail into email.directory `{}`: {source}", directory.display())]
    File {
        /// The folder.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No randomness for the names of things.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The server is stopping.
    #[error("the server stopped before the mail was sent")]
    Stopped,
}

/// Why TLS with the mail server did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsProblem {
    /// The certificate is for other names.
    WrongName,
    /// Nobody whom we trust signed the certificate.
    UnknownIssuer,
    /// The certificate's time is over, or not yet come.
    OutOfDate,
    /// The certificate is refused for another reason.
    BadCertificate,
    /// There was no TLS at the other end, or none that we speak.
    Handshake,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongName => {
                "its certificate is not valid for that name; set email.smtp.host to a name in the certificate"
            }
            Self::UnknownIssuer => {
                "its certificate is not signed by a known authority; if it is your own, set email.smtp.ca_file"
            }
            Self::OutOfDate => "its certificate is expired or not yet valid; check it and this machine's clock",
            Self::BadCertificate => {
                "its certificate is not one for a server (a self-signed one is often made as an authority's); use one by \
                 a public authority, or by your own with email.smtp.ca_file"
            }
            Self::Handshake => {
                "it did not answer with TLS that we speak; check email.smtp.port and email.smtp.security"
            }
        })
    }
}

/// A step of the conversation with a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Opening the connection.
    Connection,
    /// Its greeting and EHLO.
    Greeting,
    /// STARTTLS and the EHLO after it.
    StartTls,
    /// AUTH.
    Login,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// DATA and the message.
    Content,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "the connection",
            Self::Greeting => "the greeting",
            Self::StartTls => "STARTTLS",
            Self::Login => "the login",
            Self::Sender => "the sender",
            Self::Recipient => "the recipient",
            Self::Content => "the message",
        })
    }
}

/// The code of a mail server's reply, and its enhanced status code (RFC 3463) where it gave one; never its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, such as 550.
    pub code: u16,
    /// Such as 5.1.1.
    pub status: Option<(u8, u16, u16)>,
}

impl Reply {
    /// From a code, and the words after it, of which only a leading enhanced status code is kept.
    pub(super) fn new(code: u16, words: &str) -> Self {
        let status = words.split_whitespace().next().and_then(|first| {
            let mut numbers = first.split('.');
            let class: u8 = numbers.next()?.parse().ok()?;
            let subject: u16 = numbers.next()?.parse().ok()?;
            let detail: u16 = numbers.next()?.parse().ok()?;
            let plausible = matches!(class, 2 | 4 | 5) && subject < 1000 && detail < 1000;
            (plausible && numbers.next().is_none()).then_some((class, subject, detail))
        });
        Self { code, status }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        match self.status {
            Some((class, subject, detail)) => write!(f, " {class}.{subject}.{detail}"),
            None => Ok(()),
        }
    }
}

/// What an operator can do about a refusal.
const fn hint(step: Step, reply: Reply) -> &'static str {
    match (step, reply.status) {
        (Step::Sender, _) => "; check that email.from is an address that this server may send from",
        (Step::Recipient | Step::Content, Some((_, 7, _))) => {
            "; its policy forbids it: check email.from, and whether it wants a login (email.smtp.username)"
        }
        (Step::Recipient, Some((_, 1, _))) => ": there is no such mailbox",
        _ => "",
    }
}

/// What an operator can do when no answer comes.
const fn waiting_hint(step: Step) -> &'static str {
    match step {
        Step::Connection => {
            "; check email.smtp.host and email.smtp.port, and that no firewall is in between"
        }
        Step::Greeting => {
            "; a port that starts with TLS (often 465) needs email.smtp.security = \"tls\""
        }
        _ => "",
    }
}
