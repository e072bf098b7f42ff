//! The only way out: who a name leads to, which addresses may be connected to, and the HTTP client that keeps to both.
//!
//! Names are resolved here and nowhere else, since the system's own resolver cannot be relied on in a static binary, and
//! since what was checked must be what is connected to.

mod client;
mod endpoint;
mod error;
mod guard;
mod queue;
mod resolver;
mod tls;

pub use client::{Answer, Client, Verb};
pub use endpoint::{Endpoint, Target};
pub use error::{RequestError, SetupError};
pub use guard::{Guard, Refusal};
pub use resolver::{ResolveError, Resolver, Service};
