//! What the server does, free of HTTP. No service names another; what two of them need lives in `storage`.

pub mod accounts;
pub mod admin;
pub mod associations;
pub mod health;
pub mod invitations;
pub mod jobs;
pub mod lookup;
pub mod outbox;
pub mod pubkeys;
pub mod terms;
pub mod validation;

pub use crate::federation::{FederationError, Outcome, SignedRequest};
pub use crate::mail::SendError;
pub use crate::sms::SendError as SmsError;
pub use crate::storage::sessions::ValidatedSession;
pub use crate::storage::{MaintenanceError, StoreError};
