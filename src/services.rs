//! What the server does, free of HTTP. No service names another; what two of them need lives in `storage`.

pub mod associations;
pub mod jobs;
pub mod pubkeys;
pub mod validation;
