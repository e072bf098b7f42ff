//! The keys that homeservers sign with (server-server API, "Retrieving server keys").

use std::num::NonZeroUsize;
use std::time::Duration;

use serde_json::{Map, Value};

use super::cache::Cache;
use crate::net::Answer;
use crate::signing::{VerifyError, decode_base64, verify_json};
use crate::types::{KeyId, ServerName, Timestamp};

/// Servers whose keys are remembered.
const SERVERS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Keys of one server; who has more has none.
const MOST_KEYS: usize = 32;

/// Keys are fetched again after this long, whatever they say of themselves.
const AT_MOST: Duration = Duration::from_hours(7 * 24);

/// What is wrong with the keys of a homeserver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// The answer is no object of keys.
    #[error("the answer is no object of keys")]
    Unreadable,
    /// They are another server's.
    #[error("they are another server's")]
    OtherServer,
    /// They are no longer valid.
    #[error("they have expired")]
    Expired,
    /// No key of the server signed them.
    #[error("none of them signed the answer")]
    Unsigned,
    /// A key of the server signed something else.
    #[error("a signature over them does not hold")]
    BadSignature,
}

/// The keys of a homeserver at one time.
pub(super) struct RemoteKeys {
    keys: Vec<(KeyId, [u8; 32])>,
    valid_until: Timestamp,
}

/// Keys by server.
pub(super) type KeyCache = Cache<RemoteKeys>;

pub(super) fn cache() -> KeyCache {
    Cache::new(SERVERS)
}

impl RemoteKeys {
    /// Reads a homeserver's answer about its own keys. Only `verify_keys` count: an old key signed what is old.
    pub fn read(answer: &Answer, server: &ServerName, now: Timestamp) -> Result<Self, KeyProblem> {
        let Some(Value::Object(object)) = answer.json() else {
            return Err(KeyProblem::Unreadable);
        };
        Self::of_object(&object, server, now)
    }

    fn of_object(
        object: &Map<String, Value>,
        server: &ServerName,
        now: Timestamp,
    ) -> Result<Self, KeyProblem> {
        let name = object.get("server_name").and_then(Value::as_str);
        if name.ok_or(KeyProblem::Unreadable)? != server.as_str() {
            return Err(KeyProblem::OtherServer);
        }
        let valid_until = object.get("valid_until_ts").and_then(Value::as_u64);
        let valid_until = valid_until.ok_or(KeyProblem::Unreadable)?;
        if valid_until <= now.as_millis() {
            return Err(KeyProblem::Expired);
        }
        let most = u64::try_from(AT_MOST.as_millis()).unwrap_or(u64::MAX);
        let valid_until = valid_until.min(now.as_millis().saturating_add(most));
        let keys = object.get("verify_keys").and_then(Value::as_object);
        let keys = keys.ok_or(KeyProblem::Unreadable)?;
        if keys.len() > MOST_KEYS {
            return Err(KeyProblem::Unreadable);
        }
        // Keys of other algorithms are not known here, and do no harm.
        let keys: Vec<_> = keys
            .iter()
            .filter_map(|(id, key)| key_of(id, key))
            .collect();
        let mut signed = false;
        for (id, key) in &keys {
            match verify_json(object, server.as_str(), id, key) {
                Ok(()) => signed = true,
                Err(VerifyError::Missing) => {}
                Err(VerifyError::Canonical(_)) => return Err(KeyProblem::Unreadable),
                Err(VerifyError::Wrong) => return Err(KeyProblem::BadSignature),
            }
        }
        if !signed {
            return Err(KeyProblem::Unsigned);
        }
        Ok(Self {
            keys,
            valid_until: Timestamp::from_millis(valid_until),
        })
    }

    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.valid_until
    }

    pub fn get(&self, id: &KeyId) -> Option<[u8; 32]> {
        let found = self.keys.iter().find(|(known, _)| known == id);
        found.map(|(_, key)| *key)
    }
}

fn key_of(id: &str, key: &Value) -> Option<(KeyId, [u8; 32])> {
    let id = KeyId::parse(id).ok()?;
    let key = decode_base64(key.get("key")?.as_str()?)?;
    Some((id, key.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{ServerKey, encode_base64};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const DAY: u64 = 24 * 60 * 60 * 1000;

    fn server() -> ServerName {
        ServerName::parse("a.example").unwrap()
    }

    fn key(version: &str, seed: u8) -> ServerKey {
        ServerKey::from_seed(KeyId::from_version(version).unwrap(), &[seed; 32]).unwrap()
    }

    fn answer() -> Value {
        json!({
            "server_name": "a.example",
            "valid_until_ts": NOW.as_millis() + DAY,
            "verify_keys": {
                "ed25519:1": { "key": key("1", 1).public_key_base64() },
                "ed25519:2": { "key": encode_base64(&key("2", 2).public_key()) },
                "rsa:1": { "key": "AAAA" },
                "ed25519:short": { "key": "AAAA" },
            },
            "old_verify_keys": { "ed25519:0": { "key": key("0", 3).public_key_base64(), "expired_ts": 1 } },
        })
    }

    fn read(answer: &Value) -> Result<RemoteKeys, KeyProblem> {
        RemoteKeys::of_object(answer.as_object().unwrap(), &server(), NOW)
    }

    fn signed(mut answer: Value, by: &ServerKey) -> Value {
        by.sign_json(&server(), answer.as_object_mut().unwrap())
            .unwrap();
        answer
    }

    fn with(field: &str, value: Value) -> Value {
        let mut answer = answer();
        answer[field] = value;
        signed(answer, &key("1", 1))
    }

    #[test]
    fn the_keys_in_use_count_and_old_ones_do_not() {
        let keys = read(&signed(answer(), &key("1", 1))).unwrap();
        let get = |id: &str| keys.get(&KeyId::parse(id).unwrap());
        assert_eq!(get("ed25519:1"), Some(key("1", 1).public_key()));
        assert_eq!(get("ed25519:2"), Some(key("2", 2).public_key()));
        assert_eq!(get("ed25519:0"), None);
        assert_eq!(get("ed25519:short"), None);
    }

    #[test]
    fn keys_hold_as_long_as_they_say_but_at_most_a_week() {
        let until = |ts: u64| read(&with("valid_until_ts", ts.into())).map(|k| k.valid_until);
        let now = NOW.as_millis();
        assert_eq!(until(now + DAY), Ok(Timestamp::from_millis(now + DAY)));
        for forever in [now + 8 * DAY, 9_007_199_254_740_991] {
            assert_eq!(until(forever), Ok(Timestamp::from_millis(now + 7 * DAY)));
        }
        for past in [now, now - 1, 0] {
            assert_eq!(until(past), Err(KeyProblem::Expired));
        }
        let keys = read(&signed(answer(), &key("1", 1))).unwrap();
        assert!(keys.is_valid(NOW));
        assert!(!keys.is_valid(NOW.plus(Duration::from_millis(DAY))));
    }

    #[test]
    fn what_is_not_signed_by_the_server_itself_is_refused() {
        let refused = |answer: &Value| read(answer).map(|_| ()).unwrap_err();
        assert_eq!(refused(&answer()), KeyProblem::Unsigned);
        assert_eq!(
            refused(&signed(answer(), &key("0", 3))),
            KeyProblem::Unsigned
        );
        let forged = signed(answer(), &key("1", 9));
        assert_eq!(refused(&forged), KeyProblem::BadSignature);
        let half = signed(signed(answer(), &key("1", 1)), &key("2", 9));
        assert_eq!(refused(&half), KeyProblem::BadSignature);
        let mut changed = signed(answer(), &key("1", 1));
        changed["valid_until_ts"] = (NOW.as_millis() + 2 * DAY).into();
        assert_eq!(refused(&changed), KeyProblem::BadSignature);
    }

    #[test]
    fn keys_of_another_server_or_of_no_form_are_refused() {
        for name in ["b.example", "A.example", "a.example:8448", ""] {
            let answer = with("server_name", name.into());
            assert!(matches!(read(&answer), Err(KeyProblem::OtherServer)));
        }
        let many: Map<String, Value> = (0..=MOST_KEYS)
            .map(|number| (format!("ed25519:{number}"), json!({ "key": "AAAA" })))
            .collect();
        for (field, value) in [
            ("server_name", json!(1)),
            ("valid_until_ts", json!("soon")),
            ("valid_until_ts", json!(-1)),
            ("verify_keys", json!([])),
            ("verify_keys", Value::Object(many)),
        ] {
            let answer = with(field, value);
            assert!(
                matches!(read(&answer), Err(KeyProblem::Unreadable)),
                "{field}"
            );
        }
    }
}
