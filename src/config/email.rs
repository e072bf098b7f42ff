use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::reader::{Reader, Section};
use super::{Mailbox, Secret, Server, Store, values};
use crate::types::{Invalid, ServerName};

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

const MAILBOX: Invalid = Invalid::expecting("a mailbox such as \"bindery@example.org\", in quotes");

impl Email {
    pub(super) fn read(reader: &mut Reader<'_>, server: &Server, store: &Store) -> Self {
        const TRANSPORTS: Invalid = Invalid::expecting("\"file\", \"smtp\" or \"none\"");
        let transports = [
            ("file", MailTransport::File),
            ("smtp", MailTransport::Smtp),
            ("none", MailTransport::None),
        ];
        let mailbox = |value: &Value| values::text(value, Mailbox::parse, MAILBOX);
        let default = Self::of(&server.name, &store.path);
        let mut section = reader.section("email");
        let mut email = Self {
            transport: section.value("transport", default.transport, |value| {
                values::word(value, &transports, TRANSPORTS)
            }),
            directory: section.value("directory", default.directory, values::path),
            from: section.value("from", default.from, mailbox),
            reply_to: section.optional("reply_to", mailbox),
            smtputf8: section.value("smtputf8", default.smtputf8, values::boolean),
            smtp: default.smtp,
        };
        if email.transport == MailTransport::Smtp && !section.is_set("from") {
            section.refuse(
                "from",
                "must be set when mail goes out by SMTP: the sender of all mails",
            );
        }
        email.smtp = Smtp::read(reader, email.smtp, email.transport);
        email
    }
}

impl Smtp {
    fn read(reader: &mut Reader<'_>, default: Self, transport: MailTransport) -> Self {
        const HOST: Invalid = Invalid::expecting("a host name or an IP address, without a port");
        const PORT: Invalid = Invalid::expecting("a port from 1 to 65535");
        const SECURITIES: Invalid = Invalid::expecting("\"starttls\", \"tls\" or \"none\"");
        let securities = [
            ("starttls", SmtpSecurity::StartTls),
            ("tls", SmtpSecurity::Tls),
            ("none", SmtpSecurity::None),
        ];
        let mut section = reader.section("email.smtp");
        let host = section.optional("host", |value| {
            values::text(value, |text| host(text).ok_or(HOST), HOST)
        });
        let security = section.value("security", default.security, |value| {
            values::word(value, &securities, SECURITIES)
        });
        let smtp = Self {
            port: section.value("port", security.default_port(), |value| {
                values::whole(value, &(1..=u16::MAX), PORT)
            }),
            security,
            username: section.optional("username", values::line),
            password: section.secret("password"),
            hello_name: section
                .optional("hello_name", values::line)
                .or(default.hello_name),
            ca_file: section.optional("ca_file", values::path),
            timeout: section.value("timeout", default.timeout, values::duration),
            host: host.unwrap_or_default(),
        };
        smtp.refuse_contradictions(&mut section, transport);
        smtp
    }

    fn refuse_contradictions(&self, section: &mut Section<'_, '_>, transport: MailTransport) {
        if transport == MailTransport::Smtp && !section.is_set("host") {
            section.refuse("host", "must be set when `email.transport` is \"smtp\"");
        }
        if self.username.is_some() && !section.has_secret("password") {
            section.refuse(
                "password",
                "must be set together with `email.smtp.username`",
            );
        }
        if self.password.is_some() && !section.is_set("username") {
            section.refuse(
                "username",
                "must be set together with `email.smtp.password`",
            );
        }
        let in_the_clear = self.security == SmtpSecurity::None && self.password.is_some();
        if in_the_clear && !is_loopback(&self.host) {
            section.refuse(
                "security",
                "must be \"starttls\" or \"tls\": the password would cross the network unprotected",
            );
        }
    }
}

/// A host name or an address, brackets of an IPv6 address taken off.
fn host(text: &str) -> Option<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let is_name = !bare.is_empty() && bare.bytes().all(known);
    (is_name || bare.parse::<IpAddr>().is_ok()).then(|| bare.to_owned())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
