use std::fmt;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The token of an invitation: it stands in the room's event and in the invitation's mail, and whoever shows it together
/// with the private key of the mail gets a signature (identity service, "Invitation storage").
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct InviteToken(Zeroizing<String>);

impl InviteToken {
    /// Takes whatever somebody shows as the token of an invitation. Whether it is one is found by its hash.
    pub fn presented(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The token itself, for the room, the mail and the homeserver that it is meant for. Nothing else may ask.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is searched for.
    pub fn hash(&self) -> InviteTokenHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        InviteTokenHash(hash)
    }
}

impl From<String> for InviteToken {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<InviteToken> for String {
    fn from(token: InviteToken) -> Self {
        token.expose().to_owned()
    }
}

impl fmt::Debug for InviteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteToken(…)")
    }
}

/// SHA-256 of the token of an invitation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InviteTokenHash([u8; 32]);

impl InviteTokenHash {
    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for InviteTokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteTokenHash(…)")
    }
}
