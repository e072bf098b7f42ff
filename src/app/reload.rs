//! What of the configuration can change while the server runs, and what waits for the next start.

use std::sync::Arc;

use super::certificates::{CertificateError, Certificates};
use crate::config::Config;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::services::accounts::Accounts;
use crate::services::invitations::Invitations;
use crate::services::terms::Terms;
use crate::services::validation::Validation;
use crate::templates::{TemplateError, Templates};

/// The parts of a running server that take a new configuration.
pub struct Reloader {
    pub(super) limits: Arc<Limits>,
    pub(super) templates: Arc<Templates>,
    pub(super) validation: Arc<Validation>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) invitations: Arc<Invitations>,
    pub(super) terms: Arc<Terms>,
    pub(super) metrics: Arc<Metrics>,
    /// None while no listener speaks TLS.
    pub(super) certificates: Option<Arc<Certificates>>,
}

/// The keys that hold at once; of a name with a dot at its end, all keys that begin with it.
const AT_ONCE: [&str; 13] = [
    "accounts.",
    "api.next_link_hosts",
    "invites.",
    "limits.",
    "log.level",
    "sms.allow_countries",
    "sms.allow_types",
    "sms.home_country",
    "sms.message",
    "templates.",
    "terms.",
    "tls.certificate",
    "tls.private_key",
];

impl Reloader {
    /// Whether [`Self::reload`] lets another value of a key hold, which otherwise waits for the next start.
    pub fn takes(&self, key: &str) -> bool {
        // TLS begins and ends with a start.
        let starts = key.starts_with("tls.") && self.certificates.is_none();
        !starts && AT_ONCE.iter().any(|known| holds(key, known))
    }

    /// Lets the parts of `new` that can change while the server runs hold from now on. Blocks on the file system.
    ///
    /// # Errors
    /// When the certificate or the templates cannot be used; nothing was changed then.
    pub fn reload(&self, new: &Config) -> Result<(), ReloadError> {
        let tls = self.certificates.as_ref().zip(new.tls.files.as_ref());
        let renewal = tls.map(|(certificates, files)| {
            let read = certificates.read(files);
            read.inspect_err(|_| certificates.refuse())
        });
        let renewal = renewal.transpose()?;
        self.templates.reload(&new.templates)?;
        if let Some(((certificates, _), renewal)) = tls.zip(renewal) {
            certificates.take(renewal);
        }
        self.limits.reload(&new.limits);
        self.validation
            .allow_next_link_hosts(new.api.next_link_hosts.clone());
        self.validation.send_sms_to((&new.sms).into());
        self.accounts.reload(new.accounts.clone());
        self.invitations
            .reload(new.invites.clone(), new.accounts.clone());
        self.terms.reload(&new.terms);
        Ok(())
    }

    /// Counts what became of a reload.
    pub fn count(&self, carried_out: bool) {
        self.metrics.reloaded(carried_out);
    }
}

fn holds(key: &str, known: &str) -> bool {
    key == known || (known.ends_with('.') && key.starts_with(known))
}

/// Why a new configuration cannot hold.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The templates.
    #[error(transparent)]
    Templates(#[from] TemplateError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_at_once_are_keys_that_there_are() {
        let keys = Config::keys();
        for known in AT_ONCE {
            // Policies have the names that the operator gives them.
            let exists = known == "terms." || keys.iter().any(|key| holds(key, known));
            assert!(exists, "{known}");
        }
        assert!(!AT_ONCE.iter().any(|known| holds("server.name", known)));
        assert!(!AT_ONCE.iter().any(|known| holds("log.levels", known)));
    }
}
