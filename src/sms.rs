//! SMS: one `Sms` that hands a message to a file, a webhook, a provider's HTTP interface, or nobody.

mod error;
mod file;
mod preset;
mod verdict;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{self, SmsProvider};
use crate::net::{Gateways, Resolver};
use crate::random::Random;
use crate::types::{Msisdn, Token};

pub use error::{SendError, SetupError, Trouble};

use file::FileProvider;
use preset::Preset;
use webhook::Webhook;

/// Sends SMS. Clones share one provider.
#[derive(Clone)]
pub struct Sms {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    provider: Provider,
    fallback: Option<Provider>,
    timeout: Duration,
}

enum Provider {
    None,
    File(Box<FileProvider>),
    Webhook(Box<Webhook>),
    Preset(Box<Preset>),
}

/// An SMS. It carries a number and its secret code, so `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SmsMessage {
    /// Who gets it.
    pub to: Msisdn,
    /// The country of the number, as two capital letters.
    pub country: String,
    /// What it says, the code included.
    pub text: String,
    /// The code by itself, for those who put it into a text of their own.
    pub token: Token,
}

impl SmsMessage {
    /// The number as E.164 writes it, with `+`.
    fn international(&self) -> String {
        format!("+{}", self.to.as_str())
    }
}

impl fmt::Debug for SmsMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmsMessage(…)")
    }
}

impl Sms {
    /// What sends SMS with these settings.
    ///
    /// Whoever calls [`Sms::send`] may do so on any runtime: sockets live on `runtime`. Reads `sms.ca_file`, which blocks.
    ///
    /// # Errors
    /// When a template of a preset does not work, a URL may not be asked, or `sms.ca_file` has no certificates.
    pub fn new(
        settings: &config::Sms,
        resolver: Resolver,
        clock: &Arc<dyn Clock>,
        random: &Random,
        runtime: Handle,
    ) -> Result<Self, SetupError> {
        let gateways = Gateways::new(resolver, "sms.ca_file", settings.ca_file.as_deref())?;
        let open = |provider: &SmsProvider| -> Result<Provider, SetupError> {
            let gateways = gateways.clone();
            Ok(match provider {
                SmsProvider::None => Provider::None,
                SmsProvider::File => Provider::File(Box::new(FileProvider::new(
                    settings.directory.clone(),
                    Arc::clone(clock),
                    random.clone(),
                ))),
                SmsProvider::Webhook => {
                    Provider::Webhook(Box::new(Webhook::new(&settings.webhook, gateways)?))
                }
                SmsProvider::Preset(name) => {
                    Provider::Preset(Box::new(Preset::new(name, settings, gateways)?))
                }
            })
        };
        let shared = Shared {
            provider: open(&settings.provider)?,
            fallback: settings.fallback.as_ref().map(open).transpose()?,
            timeout: settings.timeout,
        };
        Ok(Self {
            shared: Arc::new(shared),
            runtime,
        })
    }

    /// Whether SMS are sent at all, before anything is stored for one.
    ///
    /// # Errors
    /// [`SendError::NoTransport`].
    pub fn check(&self) -> Result<(), SendError> {
        match self.shared.provider {
            Provider::None => Err(SendError::NoTransport),
            _ => Ok(()),
        }
    }

    /// Sends one SMS and waits until it was taken: by the provider for delivery, or by the disk. Where the provider fails
    /// for a reason that is not the number's, the fallback is tried.
    ///
    /// Sending goes on when the caller goes away. `sms.timeout` bounds the whole of it; with a fallback, the provider has
    /// half of that time.
    ///
    /// # Errors
    /// [`SendError::is_final`] tells whether trying again can help, [`SendError::refuses_number`] whether it is the number
    /// that gets no SMS. Each error is one sentence for the operator, without the number and the code. Nothing is logged
    /// here but the failure of a provider whose fallback took the message.
    pub async fn send(&self, message: SmsMessage) -> Result<(), SendError> {
        self.check()?;
        let shared = Arc::clone(&self.shared);
        let sending = self
            .runtime
            .spawn(async move { shared.send(&message).await });
        sending.await.map_err(|_| Trouble::Stopped)?
    }
}

impl Shared {
    async fn send(&self, message: &SmsMessage) -> Result<(), SendError> {
        let Some(fallback) = &self.fallback else {
            return self.provider.send(message, self.timeout).await;
        };
        let started = Instant::now();
        let first = match self.provider.send(message, self.timeout / 2).await {
            Err(error) if !error.refuses_number() => error,
            done => return done,
        };
        let left = self.timeout.saturating_sub(started.elapsed());
        match fallback.send(message, left).await {
            Ok(()) => {
                log::warn!("{first}; the fallback took the SMS");
                Ok(())
            }
            Err(second) => Err(SendError::Both {
                first: Box::new(first),
                second: Box::new(second),
            }),
        }
    }
}

impl Provider {
    async fn send(&self, message: &SmsMessage, patience: Duration) -> Result<(), SendError> {
        match self {
            Self::None => Err(SendError::NoTransport),
            Self::File(file) => file.write(message).await,
            Self::Webhook(webhook) => webhook.send(message, patience).await,
            Self::Preset(preset) => preset.send(message, patience).await,
        }
    }
}

impl fmt::Debug for Sms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shared.provider {
            Provider::None => f.write_str("Sms(none)"),
            Provider::File(_) => f.write_str("Sms(file)"),
            Provider::Webhook(_) => f.write_str("Sms(webhook)"),
            Provider::Preset(preset) => write!(f, "Sms({})", preset.name()),
        }
    }
}
