//! What of the configuration can change while the server runs, and what waits for the next start.

use std::sync::{Arc, Mutex, PoisonError};

use super::certificates::{CertificateError, Certificates};
use crate::config::Config;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::services::accounts::Accounts;
use crate::services::terms::Terms;
use crate::services::validation::Validation;
use crate::templates::{TemplateError, Templates};

/// The parts of a running server that take a new configuration.
pub struct Reloader {
    pub(super) limits: Arc<Limits>,
    pub(super) templates: Arc<Templates>,
    pub(super) validation: Arc<Validation>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) terms: Arc<Terms>,
    pub(super) metrics: Arc<Metrics>,
    /// None while no listener speaks TLS.
    pub(super) certificates: Option<Arc<Certificates>>,
    /// What holds now.
    pub(super) running: Mutex<Config>,
}

impl Reloader {
    /// Lets the parts of `new` that can change while the server runs hold from now on. Answers the keys and tables that
    /// differ from what runs, but wait for the next start. Blocks on the file system.
    ///
    /// # Errors
    /// When the certificate or the templates cannot be used; nothing was changed then.
    pub fn reload(&self, new: &Config) -> Result<Vec<&'static str>, ReloadError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // TLS begins and ends with a start.
        let tls = self.certificates.as_ref().zip(new.tls.files.as_ref());
        let renewal = tls.map(|(certificates, files)| {
            let read = certificates.read(files);
            read.inspect_err(|_| certificates.refuse())
        });
        let renewal = renewal.transpose()?;
        self.templates.reload(&new.templates)?;
        if let Some(((certificates, _), renewal)) = tls.zip(renewal) {
            certificates.take(renewal);
            running.tls.files.clone_from(&new.tls.files);
        }
        self.limits.reload(&new.limits);
        self.validation
            .allow_next_link_hosts(new.api.next_link_hosts.clone());
        self.accounts.reload(new.accounts.clone());
        self.terms.reload(&new.terms);
        running.accounts = new.accounts.clone();
        running.templates = new.templates.clone();
        running.sms.message.clone_from(&new.sms.message);
        running.terms = new.terms.clone();
        running.limits = new.limits.clone();
        running
            .api
            .next_link_hosts
            .clone_from(&new.api.next_link_hosts);
        running.log.level.clone_from(&new.log.level);
        Ok(waiting(&running, new))
    }

    /// Counts what became of a reload.
    pub fn count(&self, carried_out: bool) {
        self.metrics.reloaded(carried_out);
    }
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

/// What differs. Both are taken apart to the last table, so that none that is added later can be forgotten.
fn waiting(running: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        server,
        tls,
        store,
        api,
        keys,
        email,
        sms,
        federation,
        sessions,
        accounts,
        associations,
        lookup,
        terms,
        templates,
        limits,
        metrics,
        admin,
        log,
    } = running;
    let differences = [
        ("[server]", *server != new.server),
        ("[tls]", *tls != new.tls),
        ("[store]", *store != new.store),
        ("[api]", *api != new.api),
        ("[keys]", *keys != new.keys),
        ("[email]", *email != new.email),
        ("[sms]", *sms != new.sms),
        ("[federation]", *federation != new.federation),
        ("[sessions]", *sessions != new.sessions),
        ("[accounts]", *accounts != new.accounts),
        ("[associations]", *associations != new.associations),
        ("[lookup]", *lookup != new.lookup),
        ("[terms]", *terms != new.terms),
        ("[templates]", *templates != new.templates),
        ("[limits]", *limits != new.limits),
        ("[metrics]", *metrics != new.metrics),
        ("[admin]", *admin != new.admin),
        ("[log]", *log != new.log),
    ];
    let differing = differences.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_next_start_is_named() {
        let running = Config::default();
        let mut new = Config::default();
        assert!(waiting(&running, &new).is_empty());
        new.api.max_requests += 1;
        new.log.client_ip = false;
        assert_eq!(waiting(&running, &new), ["[api]", "[log]"]);
    }
}
