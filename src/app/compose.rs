//! The parts of a server, put together from its configuration.

use std::sync::Arc;

use super::certificates::{CertificateError, Certificates};
use super::messages::Writers;
use super::{Deps, Keys, Reloader, StartError};
use crate::config::Config;
use crate::federation::Federation;
use crate::http::{BodyLimits, Places, ProxyTrust, RequestLog, State, V1Access};
use crate::limits::{Action, Limits, Subject};
use crate::mail::Mailer;
use crate::metrics::Metrics;
use crate::net::Resolver;
use crate::services::accounts::Accounts;
use crate::services::admin::Probes;
use crate::services::associations::{Associations, AssociationsParts, AssociationsSettings};
use crate::services::invitations::{Invitations, InvitationsParts, InvitationsSettings};
use crate::services::lookup::{Lookup, LookupParts, LookupSettings};
use crate::services::outbox::{Outbox, OutboxParts, OutboxSettings};
use crate::services::pubkeys::Pubkeys;
use crate::services::terms::Terms;
use crate::services::validation::{PhoneSettings, Validation, ValidationParts, ValidationSettings};
use crate::signing::{ServerKeys, ServerSecret};
use crate::sms::Sms;
use crate::storage::Store;
use crate::templates::Templates;
use crate::types::ServerName;

/// What mails are written and sent with. Must be called within a tokio runtime, on which they are sent.
///
/// # Errors
/// One sentence that says what the operator is to change.
pub fn mail(config: &Config, deps: &Deps) -> Result<(Mailer, Templates), StartError> {
    let mailer = Mailer::new(
        &config.email,
        Resolver::system()?,
        Arc::clone(&deps.clock),
        deps.random.clone(),
        tokio::runtime::Handle::current(),
    )?;
    Ok((mailer, Templates::load(&config.templates)?))
}

/// What SMS are sent with. Must be called within a tokio runtime, on which they are sent.
///
/// # Errors
/// One sentence that says what the operator is to change.
pub fn sms(config: &Config, deps: &Deps) -> Result<Sms, StartError> {
    Ok(Sms::new(
        &config.sms,
        Resolver::system()?,
        &deps.clock,
        &deps.random,
        tokio::runtime::Handle::current(),
    )?)
}

/// The parts of a server that take a new configuration.
pub(super) fn reloader(state: &State, certificates: Option<Arc<Certificates>>) -> Reloader {
    Reloader {
        limits: Arc::clone(&state.limits),
        templates: Arc::clone(&state.templates),
        validation: Arc::clone(&state.validation),
        accounts: Arc::clone(&state.accounts),
        invitations: Arc::clone(&state.invitations),
        terms: Arc::clone(&state.terms),
        metrics: Arc::clone(&state.metrics),
        certificates,
    }
}

/// The certificate of the listeners that speak TLS, if there is one.
pub(super) fn certificates(
    config: &Config,
    deps: &Deps,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Certificates>>, CertificateError> {
    let load = |files| {
        let (clock, metrics) = (Arc::clone(&deps.clock), Arc::clone(metrics));
        Certificates::load(files, clock, metrics).map(Arc::new)
    };
    config.tls.files.as_ref().map(load).transpose()
}

/// Everything that requests are served from, and what does the outgoing work that they leave.
pub(super) fn parts(
    config: &Config,
    deps: &Deps,
    store: &Store,
    keys: Keys,
    probes: Arc<Probes>,
) -> Result<(State, Outbox), StartError> {
    let (mailer, templates) = mail(config, deps)?;
    let templates = Arc::new(templates);
    let limits = Limits::new(&config.limits, Arc::clone(&deps.clock), &deps.random)?;
    let metrics = Arc::new(Metrics::new(Action::ALL.map(Action::name))?);
    let counted = Arc::clone(&metrics);
    store.observe_syncs(move |took| counted.synced(took));
    let base = Base {
        config,
        deps,
        store,
        keys: keys.server,
        secret: Arc::new(keys.secret),
        limits: Arc::new(limits),
        metrics,
    };
    let federation = base.federation()?;
    let sms = sms(config, deps)?;
    let invitations = Arc::new(base.invitations(mailer.clone(), &templates));
    let validation = Arc::new(base.validation(mailer, sms, &templates));
    let writers = Writers {
        validation: Arc::clone(&validation),
        invitations: Arc::clone(&invitations),
    };
    let outbox = base.outbox(&federation, writers);
    let state = State {
        server_name: config.server.name.clone(),
        v1: Arc::new(V1Access {
            level: config.api.v1,
            sources: config.api.v1_sources.clone(),
        }),
        accounts: Arc::new(base.accounts(&federation)),
        validation,
        associations: Arc::new(base.associations(federation)),
        invitations,
        terms: Arc::new(base.terms()),
        lookup: Arc::new(base.lookup()),
        pubkeys: Arc::new(Pubkeys::new(
            store.clone(),
            base.keys,
            Arc::clone(&deps.clock),
        )),
        templates,
        limits: base.limits,
        body_limits: BodyLimits {
            max_body: usize::try_from(config.api.max_body).unwrap_or(usize::MAX),
            max_addresses: config.lookup.max_addresses,
        },
        places: Arc::new(Places::new(config.api.max_requests)),
        metrics: base.metrics,
        probes,
        request_log: Arc::new(RequestLog {
            random: deps.random.clone(),
            clock: Arc::clone(&deps.clock),
            trust: ProxyTrust::new(
                config.server.trusted_proxies.networks.clone(),
                config.server.trusted_proxies.unix,
            ),
            client_ip: config.log.client_ip,
        }),
    };
    Ok((state, outbox))
}

/// What most services are made of.
struct Base<'a> {
    config: &'a Config,
    deps: &'a Deps,
    store: &'a Store,
    keys: Arc<ServerKeys>,
    secret: Arc<ServerSecret>,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
}

impl Base<'_> {
    fn validation(&self, mailer: Mailer, sms: Sms, templates: &Arc<Templates>) -> Validation {
        let config = self.config;
        Validation::new(
            ValidationParts {
                store: self.store.clone(),
                mailer,
                sms,
                templates: Arc::clone(templates),
                limits: Arc::clone(&self.limits),
                secret: Arc::clone(&self.secret),
                clock: Arc::clone(&self.deps.clock),
                random: self.deps.random.clone(),
                metrics: Arc::clone(&self.metrics),
            },
            ValidationSettings {
                server_name: config.server.name.clone(),
                public_url: config.server.public_url.to_string(),
                email_lifetime: config.sessions.email_lifetime,
                validated_lifetime: config.sessions.validated_lifetime,
                email_tries: config.sessions.email_tries,
                next_link_hosts: config.api.next_link_hosts.clone(),
                phone: PhoneSettings {
                    lifetime: config.sessions.sms_lifetime,
                    tries: config.sessions.sms_tries,
                    destinations: (&config.sms).into(),
                    daily_budget: config.sms.daily_budget,
                },
            },
        )
    }

    fn invitations(&self, mailer: Mailer, templates: &Arc<Templates>) -> Invitations {
        let config = self.config;
        Invitations::new(
            InvitationsParts {
                store: self.store.clone(),
                mailer,
                templates: Arc::clone(templates),
                limits: Arc::clone(&self.limits),
                keys: Arc::clone(&self.keys),
                secret: Arc::clone(&self.secret),
                clock: Arc::clone(&self.deps.clock),
                random: self.deps.random.clone(),
                metrics: Arc::clone(&self.metrics),
            },
            InvitationsSettings {
                server_name: config.server.name.clone(),
                public_url: config.server.public_url.to_string(),
                invites: config.invites.clone(),
                accounts: config.accounts.clone(),
            },
        )
    }

    fn outbox(&self, federation: &Federation, writers: Writers) -> Outbox {
        Outbox::new(
            OutboxParts {
                store: self.store.clone(),
                keys: Arc::clone(&self.keys),
                federation: federation.clone(),
                messages: Box::new(writers),
                clock: Arc::clone(&self.deps.clock),
                random: self.deps.random.clone(),
                metrics: Arc::clone(&self.metrics),
            },
            OutboxSettings {
                server_name: self.config.server.name.clone(),
            },
        )
    }

    fn accounts(&self, federation: &Federation) -> Accounts {
        Accounts::new(
            self.store.clone(),
            federation.clone(),
            Arc::clone(&self.limits),
            Arc::clone(&self.deps.clock),
            self.deps.random.clone(),
            Arc::clone(&self.metrics),
            self.config.accounts.clone(),
        )
    }

    fn associations(&self, federation: Federation) -> Associations {
        Associations::new(
            AssociationsParts {
                store: self.store.clone(),
                keys: Arc::clone(&self.keys),
                federation,
                limits: Arc::clone(&self.limits),
                clock: Arc::clone(&self.deps.clock),
                random: self.deps.random.clone(),
                metrics: Arc::clone(&self.metrics),
            },
            AssociationsSettings {
                server_name: self.config.server.name.clone(),
                lifetime: self.config.associations.lifetime,
                accounts: self.config.accounts.clone(),
                our_names: our_names(self.config),
            },
        )
    }

    fn terms(&self) -> Terms {
        Terms::new(
            self.store.clone(),
            Arc::clone(&self.deps.clock),
            self.config.server.public_url.clone(),
            &self.config.terms,
        )
    }

    fn lookup(&self) -> Lookup {
        Lookup::new(
            LookupParts {
                store: self.store.clone(),
                limits: Arc::clone(&self.limits),
                clock: Arc::clone(&self.deps.clock),
                random: self.deps.random.clone(),
                metrics: Arc::clone(&self.metrics),
            },
            LookupSettings {
                algorithms: self.config.lookup.algorithms.clone(),
                rotate_every: self.config.lookup.rotate_pepper_every,
                grace: self.config.lookup.grace,
            },
        )
    }

    fn federation(&self) -> Result<Federation, StartError> {
        let limits = Arc::clone(&self.limits);
        let key_fetches = Box::new(move |server: &ServerName| {
            limits
                .take(Action::KeyFetchesByServer, Subject::Server(server))
                .map_err(|limited| limited.retry_after)
        });
        Ok(Federation::with_ports(
            &self.config.federation,
            Arc::clone(&self.deps.clock),
            key_fetches,
            tokio::runtime::Handle::current(),
            self.deps.homeserver_ports,
        )?)
    }
}

/// The names that homeservers may call this server by.
fn our_names(config: &Config) -> Vec<String> {
    let names = std::iter::once(&config.server.name).chain(&config.server.aliases);
    let authority = config.server.public_url.authority().to_owned();
    names.map(ToString::to_string).chain([authority]).collect()
}
