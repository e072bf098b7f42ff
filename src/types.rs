//! Parsed values. Each has a private field and a `parse` that is the only way in, so that whoever holds one knows that
//! it is well formed, and in canonical form where there is one.

mod access_token;
mod email;
mod identifiers;
mod invite_details;
mod invite_token;
mod key_state;
mod lookup;
mod medium;
mod next_link;
mod phone;
mod record_id;
mod room_id;
mod secrets;
mod timestamp;

pub use access_token::{AccessToken, AccessTokenHash};
pub use email::Email;
pub use identifiers::{KeyId, ServerName, Sid, UserId};
pub use invite_details::{InviteDetails, is_invisible, one_line};
pub use invite_token::{InviteToken, InviteTokenHash};
pub use key_state::KeyState;
pub use lookup::{LookupAlgorithm, LookupHash, Pepper};
pub use medium::{Medium, Msisdn, ThreePid};
pub use next_link::NextLink;
pub use phone::{Country, PhoneKind, PhoneNumber};
pub use record_id::RecordId;
pub use room_id::RoomId;
pub use secrets::{ClientSecret, ClientSecretHash, Token};
pub use timestamp::Timestamp;

/// A value was refused. Says what would have been accepted, never what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(&'static str);

impl Invalid {
    /// A refusal that says what would have been accepted, as the end of a sentence that starts with "must be".
    pub const fn expecting(expected: &'static str) -> Self {
        Self(expected)
    }

    /// What would have been accepted.
    pub fn expected(self) -> &'static str {
        self.0
    }
}
