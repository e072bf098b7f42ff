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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_secret_is_known_by_its_hash() {
        let secret = ClientSecret::parse("abc").unwrap();
        // SHA-256 of `abc`, FIPS 180-2.
        assert_eq!(secret.hash().as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(secret.hash(), ClientSecret::parse("abc").unwrap().hash());
        assert_ne!(secret.hash(), ClientSecret::parse("abd").unwrap().hash());
        for text in ["", "a b", "a\0", "ä", &"a".repeat(256)] {
            assert!(ClientSecret::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_equal_only_to_all_of_itself() {
        let token = Token::parse("abc").unwrap();
        assert_eq!(token, Token::from_derived("abc"));
        for other in ["ab", "abcd", "abC"] {
            assert_ne!(token, Token::parse(other).unwrap());
        }
        assert!(Token::parse("").is_err());
        assert!(Token::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn secrets_do_not_show_themselves() {
        let secret = ClientSecret::parse("s3cret").unwrap();
        let shown = format!(
            "{secret:?} {:?} {:?}",
            secret.hash(),
            Token::from_derived("t0ken")
        );
        assert_eq!(shown, "ClientSecret(…) ClientSecretHash(…) Token(…)");
    }
}
