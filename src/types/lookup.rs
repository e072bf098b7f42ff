use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{Invalid, Medium};

/// How the addresses of a lookup are written (identity service, "Association lookup").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupAlgorithm {
    /// Each as its [`LookupHash`].
    Sha256,
    /// Each as it is, with its medium after a space.
    Plain,
}

impl LookupAlgorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Plain];

    /// Reads `sha256` or `none`.
    ///
    /// # Errors
    /// Anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or(Invalid::expecting("`sha256` or `none`"))
    }

    /// The word of the specification.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Plain => "none",
        }
    }
}

/// What is hashed with every address, so that nobody has the hashes in store. Every account is told it, nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pepper(String);

impl Pepper {
    /// Reads 1 to 255 letters and digits.
    ///
    /// # Errors
    /// Anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let alphanumeric = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if alphanumeric && (1..=255).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::expecting("1 to 255 characters out of 0-9 a-z A-Z"))
        }
    }

    /// The text, for the client that asks for it and for the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Pepper> for String {
    fn from(pepper: Pepper) -> Self {
        pepper.0
    }
}

impl TryFrom<String> for Pepper {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(…)")
    }
}

/// An address as `sha256` lookups ask for it: SHA-256 of address, medium and pepper, with a space between each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LookupHash([u8; 32]);

impl LookupHash {
    /// The hash of a canonical address.
    pub fn of(address: &str, medium: Medium, pepper: &Pepper) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [address, " ", medium.as_str(), " ", pepper.as_str()] {
            context.update(part.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }

    /// Reads 43 characters of unpadded URL-safe base64.
    ///
    /// # Errors
    /// Anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        // The decoder wants room for as much as so many characters could hold.
        let mut bytes = [0; 33];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => {
                let [hash @ .., _] = bytes;
                Ok(Self(hash))
            }
            _ => Err(Invalid::expecting(
                "a SHA-256 as 43 characters of unpadded URL-safe base64",
            )),
        }
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for LookupHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookupHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_specification() {
        let pepper = Pepper::parse("matrixrocks").unwrap();
        for (address, medium, expected) in [
            (
                "alice@example.com",
                Medium::Email,
                "4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUc",
            ),
            (
                "bob@example.com",
                Medium::Email,
                "LJwSazmv46n0hlMlsb_iYxI0_HXEqy_yj6Jm636cdT8",
            ),
            (
                "18005552067",
                Medium::Msisdn,
                "nlo35_T5fzSGZzJApqu8lgIudJvmOQtDaHtr-I4rU7I",
            ),
            (
                "strauss@example.com",
                Medium::Email,
                "Wvo9OL_UvrDZsRecvnhshdTeilXXGbhk0J5l5rX55Ok",
            ),
        ] {
            let hash = LookupHash::of(address, medium, &pepper);
            assert_eq!(LookupHash::parse(expected).unwrap(), hash, "{address}");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let hash = "4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUc";
        assert!(LookupHash::parse(hash).is_ok());
        for text in [
            "",
            "4ken",
            &format!("{hash}="),
            &format!("{hash}A"),
            &format!("{hash}AAAA"),
            &hash.repeat(100),
            &hash.replace('4', "+"),
            &hash.replace('4', "/"),
            &hash.replace('4', " "),
            &hash.replace('4', "é"),
            hash.strip_prefix("4").unwrap(),
        ] {
            assert!(LookupHash::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_pepper_is_letters_and_digits() {
        for text in ["a", "Z9", &"x".repeat(255)] {
            assert_eq!(Pepper::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "a b", "a-b", "ä", &"x".repeat(256)] {
            assert!(Pepper::parse(text).is_err(), "{text:?}");
        }
        let shown = format!(
            "{:?} {:?}",
            Pepper::parse("matrixrocks").unwrap(),
            LookupHash([7; 32])
        );
        assert_eq!(shown, "Pepper(…) LookupHash(…)");
    }
}
