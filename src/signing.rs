//! Canonical JSON and ed25519, as the specification signs things. Pure: no files, no clock.

mod base64;
mod canonical;
mod ephemeral_key;
mod key_ring;
mod secret;
mod server_key;
mod server_keys;

pub use self::base64::{decode_base64, encode_base64};
pub use canonical::{CanonicalError, canonical_json};
pub use ephemeral_key::EphemeralKey;
pub use key_ring::{KeyFileError, KeyRing};
pub use secret::ServerSecret;
pub use server_key::{ServerKey, VerifyError, verify_json};
pub use server_keys::ServerKeys;
