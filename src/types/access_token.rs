use std::fmt;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// An access token of this server; only its hash is stored.
pub struct AccessToken(Zeroizing<String>);

impl AccessToken {
    /// Takes whatever a client shows as its token. Whether it is one is found by its hash.
    pub fn presented(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The token itself, for the client that it is given to. Nothing else may ask.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored and searched for.
    pub fn hash(&self) -> AccessTokenHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        AccessTokenHash(hash)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

/// SHA-256 of an access token. Of a token of 256 random bits it tells nothing, not even to whoever can measure how long
/// a search for it takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessTokenHash([u8; 32]);

impl AccessTokenHash {
    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for AccessTokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessTokenHash(…)")
    }
}
