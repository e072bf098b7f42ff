//! What of the configuration can change while the server runs, and what waits for the next start.

use std::sync::{Arc, Mutex, PoisonError};

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
    /// What holds now.
    pub(super) running: Mutex<Config>,
}

impl Reloader {
    /// Lets the parts of `new` that can change while the server runs hold from now on. Answers the keys that differ from
    /// what runs, but wait for the next start. Blocks on the file system.
    ///
    /// # Errors
    /// When the templates cannot be used; nothing was changed then.
    pub fn reload(&self, new: &Config) -> Result<Vec<&'static str>, TemplateError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.templates.reload(&new.templates)?;
        self.limits.reload(&new.limits);
        self.validation
            .allow_next_link_hosts(new.api.next_link_hosts.clone());
        self.accounts.reload(new.accounts.clone());
        self.terms.reload(&new.terms);
        running.accounts = new.accounts.clone();
        running.templates = new.templates.clone();
        running.terms = new.terms.clone();
        running.limits = new.limits.clone();
        running
            .api
            .next_link_hosts
            .clone_from(&new.api.next_link_hosts);
        running.log.level.clone_from(&new.log.level);
        Ok(running.differences(new))
    }

    /// Counts what became of a reload.
    pub fn count(&self, carried_out: bool) {
        self.metrics.reloaded(carried_out);
    }
}
