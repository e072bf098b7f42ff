use std::fmt;

use zeroize::Zeroizing;

use super::ephemeral_key::EPHEMERAL_VERSION;
use super::{ServerKey, decode_base64, encode_base64};
use crate::types::KeyId;

/// What is wrong with a key file or secret file; never what stands in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// A line is not a key.
    #[error(
        "line {line}: expected `ed25519 <version> <seed>`, the version out of a-z A-Z 0-9 _ and the seed 32 bytes in \
         unpadded base64"
    )]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// Version 0 is taken.
    #[error(
        "line {line}: version 0 is reserved for the keys of invitations; give the key another version"
    )]
    Reserved {
        /// Its number, from 1.
        line: usize,
    },
    /// Two lines have the same version.
    #[error("line {line}: this version stands in an earlier line already")]
    Twice {
        /// Its number, from 1.
        line: usize,
    },
    /// Two lines have the same seed: to revoke one of them would revoke nothing.
    #[error("line {line}: this seed stands in an earlier line already, under another version")]
    SameSeed {
        /// Its number, from 1.
        line: usize,
    },
    /// There is no key at all.
    #[error("there is no key in it")]
    Empty,
    /// The file does not hold a secret.
    #[error("expected one line of 32 or more bytes in unpadded base64")]
    Secret,
}

/// The server's ed25519 keys as they stand in the key file: a line each, `ed25519 <version> <seed>`. Empty lines and lines
/// that begin with `#` are passed over.
pub struct KeyRing(Vec<(ServerKey, Zeroizing<Vec<u8>>)>);

impl KeyRing {
    /// The first key of a new server, with version 1.
    pub fn generate(seed: &[u8; 32]) -> Self {
        let key = KeyId::from_version("1")
            .ok()
            .and_then(|id| ServerKey::from_seed(id, seed));
        Self(
            key.map(|key| (key, Zeroizing::new(seed.to_vec())))
                .into_iter()
                .collect(),
        )
    }

    /// Adds a key with this seed, under the lowest version above all others that are numbers; `taken` are versions that the
    /// file does not have, and that must not be given again.
    ///
    /// # Errors
    /// When no such version is left, or the seed is not one.
    pub fn add(&mut self, seed: &[u8; 32], taken: &[&str]) -> Result<KeyId, KeyFileError> {
        let line = self.0.len() + 1;
        let known = self.keys().map(|key| key.id().version());
        let highest = known
            .chain(taken.iter().copied())
            .filter_map(|version| version.parse::<u64>().ok())
            .max();
        let version = highest
            .unwrap_or(0)
            .checked_add(1)
            .ok_or(KeyFileError::Line { line })?;
        let key = KeyId::from_version(&version.to_string())
            .ok()
            .and_then(|id| ServerKey::from_seed(id, seed))
            .ok_or(KeyFileError::Line { line })?;
        let id = key.id().clone();
        self.0.push((key, Zeroizing::new(seed.to_vec())));
        Ok(id)
    }

    /// The text of the file that was read, with the key that was added last on a line at its end. Remarks and order of the
    /// operator stay.
    pub fn appended_to(&self, text: &str) -> Zeroizing<String> {
        let mut file = Zeroizing::new(text.to_owned());
        if !file.is_empty() && !file.ends_with('\n') {
            file.push('\n');
        }
        if let Some((key, seed)) = self.0.last() {
            push_line(&mut file, key, seed);
        }
        file
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// Names the first line that is wrong, and says nothing of what stands in it.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut keys: Vec<(ServerKey, Zeroizing<Vec<u8>>)> = Vec::new();
        for (place, content) in text.lines().enumerate() {
            let (line, content) = (place + 1, content.trim());
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let mut words = content.split_ascii_whitespace();
            let (Some("ed25519"), Some(version), Some(seed), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(KeyFileError::Line { line });
            };
            if version == EPHEMERAL_VERSION {
                return Err(KeyFileError::Reserved { line });
            }
            let seed = decode_base64(seed)
                .map(Zeroizing::new)
                .ok_or(KeyFileError::Line { line })?;
            let key = KeyId::from_version(version)
                .ok()
                .and_then(|id| ServerKey::from_seed(id, &seed))
                .ok_or(KeyFileError::Line { line })?;
            if keys.iter().any(|(known, _)| known.id() == key.id()) {
                return Err(KeyFileError::Twice { line });
            }
            if keys
                .iter()
                .any(|(known, _)| known.public_key() == key.public_key())
            {
                return Err(KeyFileError::SameSeed { line });
            }
            keys.push((key, seed));
        }
        if keys.is_empty() {
            Err(KeyFileError::Empty)
        } else {
            Ok(Self(keys))
        }
    }

    /// The text of a key file.
    pub fn to_text(&self) -> Zeroizing<String> {
        // Enough for all lines: a text that grows would leave seeds behind where it stood before.
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() * 128));
        for (key, seed) in &self.0 {
            push_line(&mut text, key, seed);
        }
        text
    }

    /// The keys in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &ServerKey> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The keys in the order of the file, without their seeds.
    pub fn into_keys(self) -> Vec<ServerKey> {
        self.0.into_iter().map(|(key, _)| key).collect()
    }
}

fn push_line(text: &mut Zeroizing<String>, key: &ServerKey, seed: &[u8]) {
    let seed = Zeroizing::new(encode_base64(seed));
    for part in ["ed25519 ", key.id().version(), " ", &seed, "\n"] {
        text.push_str(part);
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";

    #[test]
    fn a_key_file_is_read_line_by_line() {
        // The second seed is 32 times 0xff, in the URL-safe alphabet and padded.
        let other = format!("{}8=", "_".repeat(42));
        let text =
            format!("# made at the first start\n\ned25519 1 {SEED}\r\n  ed25519 a_B2  {other}  \n");
        let ring = KeyRing::parse(&text).unwrap();
        let ids: Vec<_> = ring.keys().map(|key| key.id().as_str()).collect();
        assert_eq!(ids, ["ed25519:1", "ed25519:a_B2"]);
        assert_eq!(
            format!("{ring:?}"),
            "[ServerKey(ed25519:1), ServerKey(ed25519:a_B2)]"
        );
    }

    #[test]
    fn mistakes_are_named_by_line_and_without_the_seed() {
        for (text, expected) in [
            (String::new(), KeyFileError::Empty),
            ("# nothing\n".to_owned(), KeyFileError::Empty),
            (
                format!("ed25519 0 {SEED}"),
                KeyFileError::Reserved { line: 1 },
            ),
            (
                format!("\ned25519 1 {SEED}\ned25519 1 {SEED}"),
                KeyFileError::Twice { line: 3 },
            ),
            (
                format!("ed25519 1 {SEED}\ned25519 2 {SEED}"),
                KeyFileError::SameSeed { line: 2 },
            ),
            (format!("rsa 1 {SEED}"), KeyFileError::Line { line: 1 }),
            (
                format!("ed25519 1 {SEED} x"),
                KeyFileError::Line { line: 1 },
            ),
            (
                format!("ed25519 a-b {SEED}"),
                KeyFileError::Line { line: 1 },
            ),
            ("ed25519 1 AAAA".to_owned(), KeyFileError::Line { line: 1 }),
            ("ed25519 1".to_owned(), KeyFileError::Line { line: 1 }),
        ] {
            let error = KeyRing::parse(&text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains(SEED));
        }
    }

    #[test]
    fn a_key_is_added_under_a_version_that_was_never_given() {
        let other = encode_base64(&[9; 32]);
        let text = format!("# mine\ned25519 7 {SEED}\ned25519 a {other}");
        let mut ring = KeyRing::parse(&text).unwrap();
        assert_eq!(
            ring.add(&[3; 32], &["9", "1"]).unwrap().as_str(),
            "ed25519:10"
        );
        let appended = ring.appended_to(&text);
        assert!(appended.starts_with(&text));
        let read = KeyRing::parse(&appended).unwrap();
        let versions: Vec<_> = read
            .keys()
            .map(|key| key.id().version().to_owned())
            .collect();
        assert_eq!(versions, ["7", "a", "10"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seed in any::<[u8; 32]>()) {
            let made = KeyRing::generate(&seed);
            let read = KeyRing::parse(&made.to_text()).unwrap();
            let public = |ring: &KeyRing| ring.keys().map(ServerKey::public_key).collect::<Vec<_>>();
            prop_assert_eq!(public(&made), public(&read));
            prop_assert_eq!(made.to_text(), read.to_text());
        }
    }
}
