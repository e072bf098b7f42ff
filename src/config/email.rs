use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Mailbox, Secret};
use crate::types::ServerName;

/// `[email]`: how mail goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// Where mail goes.
    pub transport: MailTransport,
    /// Where the file transport writes its `.eml` files.
    pub directory: PathBuf,
    /// The sender of every mail.
    pub from: Mailbox,
    /// Where answers to a mail go, if not to the sender.
    pub reply_to: Option<Mailbox>,
    /// Whether local parts that are not ASCII are allowed; the mail server must support SMTPUTF8.
    pub smtputf8: bool,
    /// `[email.smtp]`: the mail server.
    pub smtp: Smtp,
}

/// Where mail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTransport {
    /// Into files, for a first try.
    File,
    /// To a mail server.
    Smtp,
    /// Nowhere: e-mail addresses cannot be validated.
    None,
}

/// `[email.smtp]`: the mail server that takes mail for delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// Host name or address. Empty only while the transport is another one.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// The user name to log in with; set together with the password.
    pub username: Option<String>,
    /// The password to log in with.
    pub password: Option<Secret>,
    /// What the server calls itself in EHLO: a host name or a bracketed address.
    pub hello_name: Option<String>,
    /// A PEM file of further root certificates.
    pub ca_file: Option<PathBuf>,
    /// How long each step of a conversation may take.
    pub timeout: Duration,
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// Upgraded to TLS before anything is said; a server that cannot is left.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Not at all.
    None,
}

impl SmtpSecurity {
    /// The usual port.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

impl Email {
    /// The defaults of a server of this name that keeps its data here.
    pub fn of(name: &ServerName, store: &Path) -> Self {
        Self {
            transport: MailTransport::File,
            directory: store.join("outbox"),
            from: Mailbox::of(name),
            reply_to: None,
            smtputf8: false,
            smtp: Smtp::of(name),
        }
    }
}

impl Smtp {
    /// The defaults of a server of this name.
    pub fn of(name: &ServerName) -> Self {
        let security = SmtpSecurity::StartTls;
        Self {
            host: String::new(),
            port: security.default_port(),
            security,
            username: None,
            password: None,
            hello_name: Some(hello_name(name)),
            ca_file: None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// The host of the server's name, spelled as EHLO has it (RFC 5321, section 4.1.3).
fn hello_name(name: &ServerName) -> String {
    let host = name.host();
    match host.strip_prefix('[') {
        Some(v6) => format!("[IPv6:{v6}"),
        None if host.parse::<Ipv4Addr>().is_ok() => format!("[{host}]"),
        None => host.to_owned(),
    }
}
