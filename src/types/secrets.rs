use std::fmt;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::Invalid;
use super::identifiers::is_opaque_id;

/// The secret that a client makes up for a session; only its hash is stored.
pub struct ClientSecret(String);

impl ClientSecret {
    /// Reads `[0-9a-zA-Z.=_-]{1,255}`.
    ///
    /// # Errors
    /// Anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if is_opaque_id(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::expecting(
                "1 to 255 characters out of 0-9 a-z A-Z . = _ -",
            ))
        }
    }

    /// What is stored and compared.
    pub fn hash(&self) -> ClientSecretHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        ClientSecretHash(hash)
    }
}

impl Drop for ClientSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// SHA-256 of a client secret. Equality takes the same time whatever differs.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientSecretHash([u8; 32]);

impl ClientSecretHash {
    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for ClientSecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ClientSecretHash {}

impl fmt::Debug for ClientSecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecretHash(…)")
    }
}

/// The token that proves that a message was received. Equality takes the same time whatever differs.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes whatever a client sends as a token: 1 to 255 bytes. A wrong one is found by comparison, not by its form.
    ///
    /// # Errors
    /// An empty or longer text is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if (1..=255).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::expecting("a text of 1 to 255 bytes"))
        }
    }

    /// A token that was derived here.
    pub fn from_derived(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The token itself, for the message that carries it. Nothing else may ask.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Token {}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
