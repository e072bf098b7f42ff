//! The parts of a server, put together from its configuration.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::messages::Writers;
use super::{Deps, Keys, Reloader, StartError};
use crate::config::Config;
use crate::federation::Federation;
use crate::http::{BodyLimits, ProxyTrust, RequestLog, State, V1Access};
use crate::limits::{Action, Limits, Subject};
use crate::mail::Mailer;
use crate::metrics::Metrics;
use crate::net::Resolver;
use crate::services::accounts::Accounts;
use crate::services::associations::{Associations, AssociationsParts, AssociationsSettings};
use crate::services::lookup::{Lookup, LookupParts, LookupSettings};
use crate::services::outbox::{Outbox, OutboxParts, OutboxSettings};
use crate::services::pubkeys::Pubkeys;
use crate::services::terms::Terms;
use crate::services::validation::{Validation, ValidationParts, ValidationSettings};
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

/// The parts of a server that take a new configuration.
pub(super) fn reloader(config: &Config, state: &State) -> Reloader {
    Reloader {
        limits: Arc::clone(&state.limits),
        templates: Arc::clone(&state.templates),
        validation: Arc::clone(&state.validation),
        accounts: Arc::clone(&state.accounts),
        terms: Arc::clone(&state.terms),
        metrics: Arc::clone(&state.metrics),
        running: Mutex::new(config.clone()),
    }
}

/// Everything that requests are served from, and what does the outgoing work that they leave.
pub(super) fn parts(
    config: &Config,
    deps: &Deps,
    store: &Store,
    keys: Keys,
) -> Result<(State, Outbox), StartError> {
    let Deps { clock, random, .. } = deps;
    let (mailer, templates) = mail(config, deps)?;
    let (keys, secret) = (keys.server, Arc::new(keys.secret));
    let templates = Arc::new(templates);
    let limits = Arc::new(Limits::new(&config.limits, Arc::clone(clock), random)?);
    let metrics = Arc::new(Metrics::new(Action::ALL.map(Action::name))?);
    let server_name = &config.server.name;
    let validation = Arc::new(Validation::new(
        ValidationParts {
            store: store.clone(),
            mailer,
            templates: Arc::clone(&templates),
            limits: Arc::clone(&limits),
            secret,
            clock: Arc::clone(clock),
            random: random.clone(),
            metrics: Arc::clone(&metrics),
        },
        ValidationSettings {
            server_name: server_name.clone(),
            public_url: config.server.public_url.to_string(),
            email_lifetime: config.sessions.email_lifetime,
            validated_lifetime: config.sessions.validated_lifetime,
            email_tries: config.sessions.email_tries,
            next_link_hosts: config.api.next_link_hosts.clone(),
        },
    ));
    let federation = federation(config, deps, &limits)?;
    let outbox = Outbox::new(
        OutboxParts {
            store: store.clone(),
            keys: Arc::clone(&keys),
            federation: federation.clone(),
            messages: Box::new(Writers {
                validation: Arc::clone(&validation),
            }),
            clock: Arc::clone(clock),
            random: random.clone(),
            metrics: Arc::clone(&metrics),
        },
        OutboxSettings {
            server_name: server_name.clone(),
        },
    );
    let accounts = Accounts::new(
        store.clone(),
        federation.clone(),
        Arc::clone(&limits),
        Arc::clone(clock),
        random.clone(),
        Arc::clone(&metrics),
        config.accounts.clone(),
    );
    let associations = Associations::new(
        AssociationsParts {
            store: store.clone(),
            keys: Arc::clone(&keys),
            federation,
            limits: Arc::clone(&limits),
            clock: Arc::clone(clock),
            random: random.clone(),
            metrics: Arc::clone(&metrics),
        },
        AssociationsSettings {
            server_name: server_name.clone(),
            lifetime: config.associations.lifetime,
            accounts: config.accounts.clone(),
            our_names: our_names(config),
        },
    );
    let terms = Terms::new(
        store.clone(),
        Arc::clone(clock),
        config.server.public_url.clone(),
        &config.terms,
    );
    let lookup = lookup(config, deps, store, &limits, &metrics);
    let state = State {
        server_name: server_name.clone(),
        v1: Arc::new(V1Access {
            level: config.api.v1,
            sources: config.api.v1_sources.clone(),
        }),
        accounts: Arc::new(accounts),
        validation,
        associations: Arc::new(associations),
        terms: Arc::new(terms),
        lookup: Arc::new(lookup),
        pubkeys: Arc::new(Pubkeys::new(store.clone(), keys)),
        templates,
        limits,
        body_limits: BodyLimits {
            max_body: usize::try_from(config.api.max_body).unwrap_or(usize::MAX),
            max_addresses: config.lookup.max_addresses,
        },
        places: Arc::new(Semaphore::new(config.api.max_requests)),
        metrics,
        request_log: Arc::new(RequestLog {
            random: random.clone(),
            clock: Arc::clone(clock),
            trust: ProxyTrust::new(
                config.server.trusted_proxies.networks.clone(),
                config.server.trusted_proxies.unix,
            ),
            client_ip: config.log.client_ip,
        }),
    };
    Ok((state, outbox))
}

fn lookup(
    config: &Config,
    deps: &Deps,
    store: &Store,
    limits: &Arc<Limits>,
    metrics: &Arc<Metrics>,
) -> Lookup {
    Lookup::new(
        LookupParts {
            store: store.clone(),
            limits: Arc::clone(limits),
            clock: Arc::clone(&deps.clock),
            random: deps.random.clone(),
            metrics: Arc::clone(metrics),
        },
        LookupSettings {
            algorithms: config.lookup.algorithms.clone(),
            rotate_every: config.lookup.rotate_pepper_every,
            grace: config.lookup.grace,
        },
    )
}

fn federation(
    config: &Config,
    deps: &Deps,
    limits: &Arc<Limits>,
) -> Result<Federation, StartError> {
    let limits = Arc::clone(limits);
    let key_fetches = Box::new(move |server: &ServerName| {
        limits
            .take(Action::KeyFetchesByServer, Subject::Server(server))
            .map_err(|limited| limited.retry_after)
    });
    Ok(Federation::with_ports(
        &config.federation,
        Arc::clone(&deps.clock),
        key_fetches,
        tokio::runtime::Handle::current(),
        deps.homeserver_ports,
    )?)
}

/// The names that homeservers may call this server by.
fn our_names(config: &Config) -> Vec<String> {
    let names = std::iter::once(&config.server.name).chain(&config.server.aliases);
    let authority = config.server.public_url.authority().to_owned();
    names.map(ToString::to_string).chain([authority]).collect()
}
