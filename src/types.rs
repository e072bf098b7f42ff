//! Parsed values. Each has a private field and a `parse` that is the only way in, so that whoever holds one knows that
//! it is well formed, and in canonical form where there is one.

mod email;
mod identifiers;
mod medium;
mod secrets;
mod timestamp;

pub use email::Email;
pub use identifiers::{KeyId, ServerName, Sid, UserId};
pub use medium::{Medium, Msisdn, ThreePid};
pub use secrets::{ClientSecret, ClientSecretHash, Token};
pub use timestamp::Timestamp;

/// A value was refused. Says what would have been accepted, never what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) &'static str);

impl Invalid {
    /// What would have been accepted, as the end of a sentence that starts with "must be".
    pub fn expected(self) -> &'static str {
        self.0
    }
}
