//! What is sent: the envelope and the bytes of the message.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, MultiPartKind, SinglePart};

use super::error::{SendError, SetupError, Trouble};
use crate::clock::Clock;
use crate::config;
use crate::random::Random;
use crate::templates::RenderedMail;
use crate::types::{Email, Timestamp};

/// A mail that is ready to go: envelope and bytes.
pub(super) struct Letter {
    /// Who sends it, with the domain as an A-label.
    pub(super) from: Address,
    /// Who gets it: the local part byte for byte as it is stored, the domain as an A-label.
    pub(super) to: Address,
    /// Whether the mail server must support SMTPUTF8 (RFC 6531).
    pub(super) needs_smtputf8: bool,
    /// When it was written.
    pub(super) written: SystemTime,
    /// A random name, also in its Message-ID.
    pub(super) id: String,
    /// Headers and body with CR LF line ends.
    pub(super) bytes: Vec<u8>,
}

/// Puts letters together.
pub(super) struct Writer {
    from: Mailbox,
    reply_to: Option<Mailbox>,
    smtputf8: bool,
    clock: Arc<dyn Clock>,
    random: Random,
}

impl Writer {
    pub(super) fn new(
        settings: &config::Email,
        clock: Arc<dyn Clock>,
        random: Random,
    ) -> Result<Self, SetupError> {
        let utf8 = settings.smtputf8;
        let reply_to = settings.reply_to.as_ref();
        Ok(Self {
            from: mailbox("email.from", &settings.from, utf8)?,
            reply_to: reply_to
                .map(|to| mailbox("email.reply_to", to, utf8))
                .transpose()?,
            smtputf8: utf8,
            clock,
            random,
        })
    }

    /// Whether `email.smtputf8` allows what this address needs.
    pub(super) fn check(&self, to: &Email) -> Result<(), SendError> {
        if self.needs_smtputf8(to) && !self.smtputf8 {
            return Err(SendError::NeedsSmtpUtf8);
        }
        Ok(())
    }

    fn needs_smtputf8(&self, to: &Email) -> bool {
        !to.is_ascii_local() || !self.from.email.user().is_ascii()
    }

    /// Puts a mail to one address together.
    pub(super) fn write(&self, to: &Email, mail: RenderedMail) -> Result<Letter, SendError> {
        self.check(to)?;
        let needs_smtputf8 = self.needs_smtputf8(to);
        let to = address(to.local(), &to.domain_ascii()).ok_or(SendError::Address)?;
        let id = self.random.id().map_err(Trouble::from)?;
        let boundary = self.random.id().map_err(Trouble::from)?;
        let written = system_time(self.clock.now());
        let bytes = self
            .message(&to, mail, &id, &boundary, written)
            .map_err(|error| SendError::Message(error.to_string()))?;
        Ok(Letter {
            from: self.from.email.clone(),
            to,
            needs_smtputf8,
            written,
            id,
            bytes,
        })
    }

    fn message(
        &self,
        to: &Address,
        mail: RenderedMail,
        id: &str,
        boundary: &str,
        written: SystemTime,
    ) -> Result<Vec<u8>, lettre::error::Error> {
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![to.clone()])?;
        let mut message = lettre::Message::builder()
            .envelope(envelope)
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(mail.subject)
            .date(written)
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        let body = MultiPart::builder()
            .kind(MultiPartKind::Alternative)
            .boundary(boundary)
            .singlepart(SinglePart::plain(mail.text))
            .singlepart(SinglePart::html(mail.html));
        Ok(message.multipart(body)?.formatted())
    }
}

/// A configured mailbox with its domain as an A-label.
fn mailbox(
    key: &'static str,
    configured: &config::Mailbox,
    smtputf8: bool,
) -> Result<Mailbox, SetupError> {
    let (local, domain) = configured.address().rsplit_once('@').unwrap_or_default();
    let domain = idna::domain_to_ascii(domain).unwrap_or_default();
    let address = address(local, &domain).ok_or(SetupError::NotAnAddress(key))?;
    if !local.is_ascii() && !smtputf8 {
        return Err(SetupError::NotAscii(key));
    }
    Ok(Mailbox::new(
        configured.name().map(ToOwned::to_owned),
        address,
    ))
}

/// An address for the envelope. Both parts were checked when they were parsed; what could end a line or a path of the
/// envelope is looked for once more, since here it would reach another mailbox.
fn address(local: &str, domain: &str) -> Option<Address> {
    let harmless = |c: char| {
        !c.is_control() && !c.is_whitespace() && !matches!(c, '@' | '<' | '>' | ',' | '"' | '\\')
    };
    let whole = |part: &str| !part.is_empty() && part.chars().all(harmless);
    (whole(local) && domain.is_ascii() && whole(domain))
        .then(|| Address::new_dangerous(local, domain))
}

/// The end of the year 9999, after which neither RFC 5322 nor RFC 3339 can write a date.
const LAST_SECOND: u64 = 253_402_300_799;

fn system_time(moment: Timestamp) -> SystemTime {
    let since_epoch = Duration::from_millis(moment.as_millis());
    UNIX_EPOCH + since_epoch.min(Duration::from_secs(LAST_SECOND))
}
