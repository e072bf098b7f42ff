//! Everything that knows actix: the route table, how a request is read, how an answer or an error looks, and one file a
//! section of the specification. A handler extracts, calls one service function, and converts.

mod accounts;
mod answer;
mod associations;
mod auth;
mod email;
mod error;
mod hashed_lookup;
mod invitations;
mod keys;
mod lookup;
mod metrics;
mod msisdn;
mod observe;
mod pages;
mod params;
mod peer;
mod places;
mod routes;
mod state;
mod status;
mod terms;
mod validation;

pub use metrics::{Monitoring, configure_monitoring};
pub use observe::observe;
pub use peer::ProxyTrust;
pub use places::Places;
pub use routes::{Guard, Version, configure, listing};
pub use state::{BodyLimits, RequestLog, State, V1Access};
