//! What the handlers share. It is made once and cloned into each worker.

use std::sync::Arc;

use ipnet::IpNet;

use super::error::{ApiError, ErrCode};
use super::peer::ProxyTrust;
use super::places::Places;
use super::routes::Route;
use crate::config::V1;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::random::Random;
use crate::services::accounts::Accounts;
use crate::services::admin::Probes;
use crate::services::associations::Associations;
use crate::services::invitations::Invitations;
use crate::services::lookup::Lookup;
use crate::services::pubkeys::Pubkeys;
use crate::services::terms::Terms;
use crate::services::validation::Validation;
use crate::templates::Templates;
use crate::types::ServerName;

/// Everything that requests are served from.
#[derive(Clone)]
pub struct State {
    /// The name that pages show.
    pub server_name: ServerName,
    /// How much of version 1 is served, and to whom.
    pub v1: Arc<V1Access>,
    /// Accounts.
    pub accounts: Arc<Accounts>,
    /// Sessions and tokens.
    pub validation: Arc<Validation>,
    /// Associations.
    pub associations: Arc<Associations>,
    /// Invitations.
    pub invitations: Arc<Invitations>,
    /// Policies, and who has accepted them.
    pub terms: Arc<Terms>,
    /// Lookups by hash.
    pub lookup: Arc<Lookup>,
    /// Public keys.
    pub pubkeys: Arc<Pubkeys>,
    /// Pages.
    pub templates: Arc<Templates>,
    /// Request limits.
    pub limits: Arc<Limits>,
    /// How large a body may be.
    pub body_limits: BodyLimits,
    /// A place for each request that may be answered at once.
    pub places: Arc<Places>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Requests whose way an operator wants to know.
    pub probes: Arc<Probes>,
    /// How requests are logged.
    pub request_log: Arc<RequestLog>,
}

/// How much of version 1 is served, and to whom.
pub struct V1Access {
    /// How much.
    pub level: V1,
    /// The networks of homeservers that call it.
    pub sources: Vec<IpNet>,
}

/// What the request line in the log needs.
pub struct RequestLog {
    /// Request ids.
    pub random: Random,
    /// Durations.
    pub clock: Arc<dyn crate::clock::Clock>,
    /// Whose word on the client's address counts.
    pub trust: ProxyTrust,
    /// Whether the client's address stands in the line.
    pub client_ip: bool,
}

/// How large a body may be, in bytes, and how many addresses a lookup may ask for.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Any body.
    pub max_body: usize,
    /// Addresses in one lookup.
    pub max_addresses: usize,
}

impl BodyLimits {
    /// The longest entry of a lookup: an address of 254 octets, each perhaps escaped, a medium, and punctuation.
    const LOOKUP_ENTRY: usize = 512;

    /// Refuses to look up so many addresses at once.
    pub(super) fn check_addresses(&self, addresses: usize) -> Result<(), ApiError> {
        if addresses <= self.max_addresses {
            return Ok(());
        }
        Err(ApiError::bad_request(
            ErrCode::TooLarge,
            format!(
                "At most {} addresses can be looked up at once.",
                self.max_addresses
            ),
        ))
    }

    /// The limit for a route; lookups get what `max_addresses` needs.
    pub(super) fn for_route(&self, route: Option<&Route>) -> usize {
        if route.is_some_and(Route::is_lookup) {
            self.max_body
                .max(self.max_addresses.saturating_mul(Self::LOOKUP_ENTRY))
        } else {
            self.max_body
        }
    }
}
