use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{CanonicalError, ServerKey, ServerSecret, decode_base64};
use crate::types::{Invalid, KeyId, RecordId, ServerName, ThreePid};

/// The version that signatures by ephemeral keys have, and no key of a server.
pub(super) const EPHEMERAL_VERSION: &str = "0";

/// The key pair of one invitation: its public half stands in the room, its private half in the invitation's mail, so that
/// whoever has the mail can have a signature made (identity service, "Ephemeral invitation signing").
pub struct EphemeralKey {
    seed: Zeroizing<[u8; 32]>,
    key: ServerKey,
}

impl EphemeralKey {
    /// The key of an invitation, which is made again whenever a mail needs it.
    ///
    /// # Errors
    /// None with what is derived here; the type of the library asks for it.
    pub fn of_invitation(
        secret: &ServerSecret,
        threepid: &ThreePid,
        invite: &RecordId,
    ) -> Result<Self, Invalid> {
        let seed = secret.derive(
            "ephemeral key of an invitation",
            &[
                threepid.medium().as_str().as_bytes(),
                threepid.address().as_bytes(),
                invite.as_bytes(),
            ],
        );
        Self::from_seed(Zeroizing::new(seed))
    }

    /// Reads the private half as somebody shows it: 32 bytes in either base64 alphabet, padded or not.
    ///
    /// # Errors
    /// Anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: Invalid = Invalid::expecting("a private key: 32 bytes in base64");
        let bytes = decode_base64(text).map(Zeroizing::new).ok_or(EXPECTED)?;
        let mut seed = Zeroizing::new([0; 32]);
        if bytes.len() != seed.len() {
            return Err(EXPECTED);
        }
        seed.copy_from_slice(&bytes);
        Self::from_seed(seed)
    }

    /// The public half.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.public_key()
    }

    /// The private half in the alphabet that needs no escapes in a URL, for the mail alone.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.seed))
    }

    /// Signs under the server's name, with the id that all of these keys have.
    ///
    /// # Errors
    /// When the object has no canonical form.
    pub fn sign_json(
        &self,
        server: &ServerName,
        object: &mut Map<String, Value>,
    ) -> Result<(), CanonicalError> {
        self.key.sign_json(server, object)
    }

    fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, Invalid> {
        let id = KeyId::from_version(EPHEMERAL_VERSION)?;
        let key = ServerKey::from_seed(id, &*seed)
            .ok_or(Invalid::expecting("the seed of an ed25519 key"))?;
        Ok(Self { seed, key })
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::encode_base64;
    use crate::types::Medium;
    use serde_json::json;

    const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";

    fn of(address: &str, invite: u8) -> EphemeralKey {
        let secret = ServerSecret::from_bytes([1; 32]);
        let threepid = ThreePid::parse(Medium::Email, address).unwrap();
        EphemeralKey::of_invitation(&secret, &threepid, &RecordId::from_bytes([invite; 16]))
            .unwrap()
    }

    #[test]
    fn every_invitation_has_a_key_of_its_own_that_can_be_made_again() {
        let key = of("a@b.example", 1);
        assert_eq!(key.public_key(), of("a@b.example", 1).public_key());
        assert_ne!(key.public_key(), of("a@b.example", 2).public_key());
        assert_ne!(key.public_key(), of("c@b.example", 1).public_key());
    }

    #[test]
    fn the_private_half_reads_in_every_spelling() {
        let key = EphemeralKey::parse(SEED).unwrap();
        let mailed = key.expose();
        assert!(!mailed.contains(['+', '/', '=']));
        for spelling in [
            mailed.to_string(),
            format!("{}=", *mailed),
            format!("{SEED}="),
        ] {
            let read = EphemeralKey::parse(&spelling).unwrap();
            assert_eq!(read.public_key(), key.public_key());
        }
        for text in [
            "",
            "AAAA",
            "no base64!",
            &encode_base64(&[1; 31]),
            &encode_base64(&[1; 33]),
        ] {
            assert!(EphemeralKey::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn it_signs_as_version_0() {
        let mut object =
            json!({ "mxid": "@foo:bar.com", "sender": "@baz:bar.com", "token": "abc123" });
        let object = object.as_object_mut().unwrap();
        let server = ServerName::parse("domain").unwrap();
        EphemeralKey::parse(SEED)
            .unwrap()
            .sign_json(&server, object)
            .unwrap();
        assert_eq!(
            object["signatures"]["domain"]["ed25519:0"],
            "m6rWIAk7XyOljo72hR/3FbuNaq4j8B3FLzrskNgvdOYnXquLyCkljF+40RewSZbMKfF8FugVJOn8SVZxhgahCQ"
        );
    }

    #[test]
    fn it_does_not_show_itself() {
        assert_eq!(format!("{:?}", of("a@b.example", 1)), "EphemeralKey(…)");
    }
}
