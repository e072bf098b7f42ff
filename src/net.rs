//! The only way out: who a name leads to, which addresses may be connected to, and the HTTP clients that keep to both:
//! one for homeservers, which strangers name, and one for the gateways that the operator names.
//!
//! Names are resolved here and nowhere else, since the system's own resolver cannot be relied on in a static binary, and
//! since what was checked must be what is connected to.

mod client;
mod direct;
mod endpoint;
mod error;
mod gateway;
mod guard;
mod method;
mod queue;
mod resolver;
mod tls;

pub use client::{Answer, Client};
pub use endpoint::{Endpoint, Target};
pub use error::{CertificateFault, GatewayError, RequestError, SetupError};
pub use gateway::{GatewayAnswer, GatewayRequest, Gateways};
pub use guard::{Guard, Refusal};
pub use method::Method;
pub use resolver::{ResolveError, Resolver, Service};
