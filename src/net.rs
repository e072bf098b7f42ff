//! The only way out: who a name leads to.
//!
//! Names are resolved here and nowhere else, since the system's own resolver cannot be relied on in a static binary.

mod resolver;

pub use resolver::{ResolveError, Resolver};
