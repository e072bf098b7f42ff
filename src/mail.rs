//! Mail: one `Mailer` that writes a mail and hands it to a file, a mail server, or nobody.

mod error;
mod file;
mod message;
mod smtp;

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::config::{self, MailTransport};
use crate::net::Resolver;
use crate::random::Random;
use crate::templates::RenderedMail;
use crate::types::Email;

pub use error::{Reply, SendError, SetupError, Step, TlsProblem, Trouble};

use file::FileTransport;
use message::Writer;
use smtp::SmtpTransport;

/// Sends mail. Clones share one transport and its connections.
#[derive(Clone)]
pub struct Mailer {
    writer: Arc<Writer>,
    transport: Transport,
    runtime: Handle,
}

#[derive(Clone)]
enum Transport {
    File(Arc<FileTransport>),
    Smtp(Arc<SmtpTransport>),
    None,
}

impl Mailer {
    /// A mailer with these settings.
    ///
    /// Whoever calls [`Mailer::send`] may do so on any runtime: sockets live on `runtime`, so that a connection that is kept
    /// for the next mail outlives the thread that asked for it. Reads `email.smtp.ca_file`, which blocks.
    ///
    /// # Errors
    /// When the sender cannot stand in an envelope, or `email.smtp.ca_file` has no certificates.
    pub fn new(
        settings: &config::Email,
        resolver: Resolver,
        clock: Arc<dyn Clock>,
        random: Random,
        runtime: Handle,
    ) -> Result<Self, SetupError> {
        let writer = Writer::new(settings, Arc::clone(&clock), random)?;
        let transport = match settings.transport {
            MailTransport::File => {
                Transport::File(Arc::new(FileTransport::new(settings.directory.clone())))
            }
            MailTransport::Smtp => Transport::Smtp(Arc::new(SmtpTransport::new(
                &settings.smtp,
                resolver,
                clock,
            )?)),
            MailTransport::None => Transport::None,
        };
        Ok(Self {
            writer: Arc::new(writer),
            transport,
            runtime,
        })
    }

    /// Whether a mail to this address could be sent at all, before anything is stored for it.
    ///
    /// # Errors
    /// [`SendError::NoTransport`] and [`SendError::NeedsSmtpUtf8`].
    pub fn check(&self, to: &Email) -> Result<(), SendError> {
        if matches!(self.transport, Transport::None) {
            return Err(SendError::NoTransport);
        }
        self.writer.check(to)
    }

    /// Says hello to the mail server and logs in, but sends nothing. With any other transport there is nobody to talk to.
    ///
    /// # Errors
    /// As for [`Mailer::send`], as far as it comes before a mail.
    pub async fn log_in(&self) -> Result<(), SendError> {
        let Transport::Smtp(smtp) = self.transport.clone() else {
            return Ok(());
        };
        let trying = self.runtime.spawn(async move { smtp.log_in().await });
        trying.await.map_err(|_| Trouble::Stopped)?
    }

    /// Sends one mail to one address and waits until it was taken: by the mail server for delivery, or by the disk.
    ///
    /// Sending goes on when the caller goes away, so that no conversation is left half done. `email.smtp.timeout` bounds the
    /// whole of it.
    ///
    /// # Errors
    /// [`SendError::is_final`] tells whether trying again can help. Each error is one sentence for the operator, without the
    /// address; nothing is logged here.
    pub async fn send(&self, to: &Email, mail: RenderedMail) -> Result<(), SendError> {
        if matches!(self.transport, Transport::None) {
            return Err(SendError::NoTransport);
        }
        let letter = self.writer.write(to, mail)?;
        let transport = self.transport.clone();
        let sending = self.runtime.spawn(async move {
            match transport {
                Transport::File(file) => file.write(letter).await,
                Transport::Smtp(smtp) => smtp.deliver(letter).await,
                Transport::None => Err(SendError::NoTransport),
            }
        });
        sending.await.map_err(|_| Trouble::Stopped)?
    }
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.transport {
            Transport::File(_) => "Mailer(file)",
            Transport::Smtp(_) => "Mailer(smtp)",
            Transport::None => "Mailer(none)",
        })
    }
}
