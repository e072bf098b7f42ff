//! Mails and SMS of other services, which the outbox sends without knowing how.

use std::pin::Pin;

use super::Failure;
use crate::storage::tables::InvitationPlace;
use crate::types::Sid;

/// What sending comes to.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Sent, Failure>> + Send + 'a>>;

/// Writes and sends messages anew. Whoever puts a server together knows which service does so.
pub trait Messages: Send + Sync {
    /// Sends the message of a session that was asked for with this attempt, if it is still wanted: the session waits for
    /// its token, and has had no higher attempt.
    fn verification(&self, sid: Sid, send_attempt: u64) -> Sending<'_>;

    /// Sends the mail of an invitation, if it is still wanted.
    fn invitation(&self, place: InvitationPlace) -> Sending<'_>;
}

/// A message that is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It was taken for delivery.
    Taken,
    /// Nobody wants it any more, and it was not sent.
    NotWanted,
}
