use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::{Map, Value};

use super::canonical::canonical_object;
use super::{CanonicalError, decode_base64, encode_base64};
use crate::types::{KeyId, ServerName};

/// What a signature does not cover (specification, appendix "Signing JSON").
const UNSIGNED: [&str; 2] = ["signatures", "unsigned"];

/// An ed25519 key pair with its id.
pub struct ServerKey {
    id: KeyId,
    pair: Ed25519KeyPair,
}

/// A signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// There is none by this entity and key.
    #[error("there is no signature by this key")]
    Missing,
    /// It is not the key's, or not over this object.
    #[error("the signature is wrong")]
    Wrong,
    /// The object has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

impl ServerKey {
    /// The key of a seed of 32 bytes; none for any other length.
    pub fn from_seed(id: KeyId, seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(Self { id, pair })
    }

    /// The id, `ed25519:<version>`.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The public half.
    pub fn public_key(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        bytes
    }

    /// The public half as unpadded base64.
    pub fn public_key_base64(&self) -> String {
        encode_base64(self.pair.public_key().as_ref())
    }

    /// Adds this key's signature under the server's name; what others signed stays (specification, appendix "Signing
    /// JSON").
    ///
    /// # Errors
    /// When the object has no canonical form.
    pub fn sign_json(
        &self,
        server: &ServerName,
        object: &mut Map<String, Value>,
    ) -> Result<(), CanonicalError> {
        let text = canonical_object(object, &UNSIGNED)?;
        let signature = encode_base64(self.pair.sign(text.as_bytes()).as_ref());
        let mut signatures = taken_object(object, "signatures");
        let mut own = taken_object(&mut signatures, server.as_str());
        own.insert(self.id.to_string(), signature.into());
        signatures.insert(server.to_string(), own.into());
        object.insert("signatures".to_owned(), signatures.into());
        Ok(())
    }
}

/// Takes out the object under a key; an empty one if there is none.
fn taken_object(object: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match object.remove(key) {
        Some(Value::Object(found)) => found,
        _ => Map::new(),
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKey({})", self.id)
    }
}

/// Checks one signature of an object (specification, appendix "Checking for a Signature").
///
/// # Errors
/// When it is missing, or does not hold.
pub fn verify_json(
    object: &Map<String, Value>,
    entity: &str,
    key_id: &KeyId,
    public_key: &[u8],
) -> Result<(), VerifyError> {
    let signature = object
        .get("signatures")
        .and_then(|signatures| signatures.get(entity)?.get(key_id.as_str())?.as_str())
        .ok_or(VerifyError::Missing)?;
    let signature = decode_base64(signature).ok_or(VerifyError::Wrong)?;
    let text = canonical_object(object, &UNSIGNED)?;
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(text.as_bytes(), &signature)
        .map_err(|_| VerifyError::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";

    fn key() -> ServerKey {
        ServerKey::from_seed(
            KeyId::parse("ed25519:1").unwrap(),
            &decode_base64(SEED).unwrap(),
        )
        .unwrap()
    }

    fn signed(value: Value) -> Map<String, Value> {
        let Value::Object(mut object) = value else {
            panic!("{value} is no object");
        };
        key()
            .sign_json(&ServerName::parse("domain").unwrap(), &mut object)
            .unwrap();
        object
    }

    #[test]
    fn signatures_are_those_of_the_specification() {
        assert_eq!(
            key().public_key_base64(),
            "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"
        );
        let unbind = |destination: &str| {
            json!({
                "content": { "mxid": "@alice:origin.example", "threepid": { "address": "Alice@Example.org", "medium": "email" } },
                destination: "id.example.org",
                "method": "POST",
                "origin": "origin.example",
                "uri": "/_matrix/identity/v2/3pid/unbind",
            })
        };
        for (object, expected) in [
            (
                json!({}),
                "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ",
            ),
            (
                json!({ "one": 1, "two": "Two" }),
                "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
            ),
            (
                unbind("destination_is"),
                "//wzNuQFBi0M3kg5UA+vjlkwpj/uVO45fC0JZzgGxfwhkbfS15AHskSCMYn59sVfV3ieAg5mz1CBvwSKcEpeDw",
            ),
            (
                unbind("destination"),
                "RoZzCfXEUQ+yw1xJBctLIF1Dx9661d3h4gf1N4F2hw+tCxUEDna5EgFnp8BOwb0XB4O6K3kryXgYH3kxdRMvCw",
            ),
            (
                json!({ "mxid": "@alice:origin.example", "token": "abc123" }),
                "HJZhoKs4mb8Z8K1xuoqV6xzvTLHDFR0aLyqgIo4xzW1zp6xQBehTYfHQMkqLAg1QCMBvNgHxfaF4NqCaeUyyBg",
            ),
            (
                json!({ "mxid": "@foo:bar.com", "sender": "@baz:bar.com", "token": "abc123" }),
                "m6rWIAk7XyOljo72hR/3FbuNaq4j8B3FLzrskNgvdOYnXquLyCkljF+40RewSZbMKfF8FugVJOn8SVZxhgahCQ",
            ),
        ] {
            let object = signed(object);
            assert_eq!(object["signatures"]["domain"]["ed25519:1"], expected);
            verify_json(&object, "domain", key().id(), &key().public_key()).unwrap();
        }
    }

    #[test]
    fn what_others_signed_stays_and_unsigned_is_not_covered() {
        let plain = signed(json!({ "one": 1, "two": "Two" }));
        let object = signed(json!({
            "one": 1, "two": "Two", "unsigned": { "age": 1 }, "signatures": { "other": { "ed25519:x": "y" } },
        }));
        assert_eq!(object["signatures"]["other"]["ed25519:x"], "y");
        assert_eq!(
            object["signatures"]["domain"],
            plain["signatures"]["domain"]
        );
    }

    #[test]
    fn a_changed_object_another_key_or_a_broken_signature_does_not_verify() {
        let verify = |object: &Map<String, Value>, public_key: &[u8]| {
            verify_json(object, "domain", key().id(), public_key)
        };
        let good = signed(json!({ "a": 1 }));
        let mut changed = good.clone();
        changed.insert("a".to_owned(), json!(2));
        assert_eq!(
            verify(&changed, &key().public_key()),
            Err(VerifyError::Wrong)
        );
        assert_eq!(verify(&good, &[0; 32]), Err(VerifyError::Wrong));
        assert_eq!(verify(&good, &[]), Err(VerifyError::Wrong));
        for signature in [json!("AAAA"), json!("no base64!"), json!("")] {
            let mut broken = good.clone();
            broken.insert(
                "signatures".to_owned(),
                json!({ "domain": { "ed25519:1": signature } }),
            );
            assert_eq!(
                verify(&broken, &key().public_key()),
                Err(VerifyError::Wrong)
            );
        }
        for signatures in [
            json!(null),
            json!([]),
            json!({ "domain": "x" }),
            json!({ "other": {} }),
        ] {
            let mut missing = good.clone();
            missing.insert("signatures".to_owned(), signatures);
            assert_eq!(
                verify(&missing, &key().public_key()),
                Err(VerifyError::Missing)
            );
        }
    }

    #[test]
    fn a_key_does_not_show_its_seed() {
        assert_eq!(format!("{:?}", key()), "ServerKey(ed25519:1)");
    }
}
