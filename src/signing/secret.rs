use std::fmt;

use ring::hmac;
use zeroize::Zeroizing;

use super::{KeyFileError, decode_base64, encode_base64};

/// The secret that tokens are derived from, so that they can be made again and need not be stored.
pub struct ServerSecret {
    bytes: Zeroizing<Vec<u8>>,
    key: hmac::Key,
}

impl ServerSecret {
    /// A secret of 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::of(Zeroizing::new(bytes.to_vec()))
    }

    /// Reads a secret file: one line of base64.
    ///
    /// # Errors
    /// When it does not hold 32 to 128 bytes.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let bytes = decode_base64(text.trim())
            .map(Zeroizing::new)
            .ok_or(KeyFileError::Secret)?;
        if (32..=128).contains(&bytes.len()) {
            Ok(Self::of(bytes))
        } else {
            Err(KeyFileError::Secret)
        }
    }

    /// The text of a secret file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(encode_base64(&self.bytes));
        // A text that grows would leave the secret behind where it stood before.
        let mut text = Zeroizing::new(String::with_capacity(encoded.len() + 1));
        text.push_str(&encoded);
        text.push('\n');
        text
    }

    /// HMAC-SHA256 over a purpose and parts, each with its length before it, so that no two inputs read alike.
    pub fn derive(&self, purpose: &'static str, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let mut derived = [0; 32];
        derived.copy_from_slice(context.sign().as_ref());
        derived
    }

    fn of(bytes: Zeroizing<Vec<u8>>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Self { bytes, key }
    }
}

impl fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_depends_on_everything() {
        let secret = ServerSecret::from_bytes([1; 32]);
        let derived = [
            secret.derive("a", &[b"bc"]),
            secret.derive("a", &[b"b", b"c"]),
            secret.derive("ab", &[b"c"]),
            secret.derive("a", &[b"bc", b""]),
            ServerSecret::from_bytes([2; 32]).derive("a", &[b"bc"]),
        ];
        for (place, one) in derived.iter().enumerate() {
            assert!(derived.iter().skip(place + 1).all(|other| other != one));
        }
        let again = ServerSecret::parse(&secret.to_text()).unwrap();
        assert_eq!(again.derive("a", &[b"bc"]), derived[0]);
    }

    #[test]
    fn what_is_derived_is_hmac_sha256_with_lengths() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let expected = hmac::sign(&key, b"\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\x02bc");
        let derived = ServerSecret::from_bytes([1; 32]).derive("a", &[b"bc"]);
        assert_eq!(derived, expected.as_ref());
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = ServerSecret::from_bytes([1; 32]);
        assert_eq!(format!("{secret:?}"), "ServerSecret(…)");
    }

    #[test]
    fn a_file_that_holds_no_secret_is_refused() {
        for text in ["", "AAAA", "not base64 at all!", &"A".repeat(1000)] {
            assert_eq!(ServerSecret::parse(text).unwrap_err(), KeyFileError::Secret);
        }
    }
}
