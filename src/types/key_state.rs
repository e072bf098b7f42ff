use serde::{Deserialize, Serialize};

/// What a key of the server may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Signs new associations.
    Current,
    /// Signs no more, but signatures by it hold.
    Valid,
    /// No longer trusted.
    Revoked,
}
