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
