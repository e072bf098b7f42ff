//! The two files that a server cannot be moved without: its signing keys and its HMAC secret. Both are made at the first
//! start, and never again: a server whose files were lost must not quietly become another one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::random::{Random, RandomError};
use crate::signing::{KeyFileError, KeyRing, ServerKey, ServerKeys, ServerSecret};
use crate::storage::secret_file::{self, ReadError};
use crate::storage::tables::KeyStateEntry;
use crate::storage::{Store, StoreError, key_states};
use crate::types::{KeyId, KeyState};

/// Why the keys could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file is gone, but the store was used with it.
    #[error(
        "{} is missing, but this store has been used with it: put it back from your backup \
         (a new one would make every signature and token given out so far worthless)",
        .0.display()
    )]
    Lost(PathBuf),
    /// The key file lacks a key that the store knows.
    #[error("{} has no key `{key}` with the public half that this store knows: put the line back from your backup", file.display())]
    KeyLost {
        /// The key file.
        file: PathBuf,
        /// The id of the key.
        key: String,
    },
    /// Others can read a secret.
    #[error("{} can be read by everybody: run `chmod 600` on it", .0.display())]
    Exposed(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", file.display())]
    File {
        /// `read` or `create`.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file does not have the right form.
    #[error("{}: {source}", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// The line and what is wrong with it.
        source: KeyFileError,
    },
    /// No randomness for a new key.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys of a server.
pub struct Keys {
    /// The ed25519 keys with their states.
    pub server: Arc<ServerKeys>,
    /// What tokens are derived from.
    pub secret: ServerSecret,
}

impl Keys {
    /// Reads both files, or makes them for a store that has never been used, and brings the states in the store up to
    /// date with the key file: a key that is new in the file holds, but does not sign until it is made current.
    ///
    /// # Errors
    /// When a file is lost, exposed, or not in its form.
    pub async fn load(
        settings: &crate::config::Keys,
        store: &Store,
        random: &Random,
    ) -> Result<Self, KeysError> {
        let known = store.read(key_states::get)?;
        let first_start = known.is_empty();
        let new_ring = || {
            let seed = Zeroizing::new(random.bytes::<32>()?);
            Ok(KeyRing::generate(&seed).to_text())
        };
        let new_secret = || Ok(ServerSecret::from_bytes(random.bytes::<32>()?).to_text());
        let (ring, secret) = read(settings, first_start, new_ring, new_secret)?;

        let states = merge(&ring, &known, &settings.file)?;
        if states != known {
            let states = states.clone();
            store
                .write(move |tx| key_states::put(tx, states.clone()))
                .await?;
        }
        let server =
            assemble(ring, &states).ok_or_else(|| KeysError::Lost(settings.file.clone()))?;
        Ok(Self {
            server: Arc::new(server),
            secret,
        })
    }

    /// Looks whether [`Self::load`] would succeed on a store that has been used, and answers which key would sign.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn check(settings: &crate::config::Keys, store: &Store) -> Result<KeyId, KeysError> {
        let known = store.read(key_states::get)?;
        let unmade = || Ok(Zeroizing::new(String::new()));
        let (ring, _) = read(settings, false, unmade, unmade)?;
        let states = merge(&ring, &known, &settings.file)?;
        let server =
            assemble(ring, &states).ok_or_else(|| KeysError::Lost(settings.file.clone()))?;
        Ok(server.current().id().clone())
    }
}

/// Both files, made by these functions if this is the first start.
fn read(
    settings: &crate::config::Keys,
    first_start: bool,
    new_ring: impl FnOnce() -> Result<Zeroizing<String>, KeysError>,
    new_secret: impl FnOnce() -> Result<Zeroizing<String>, KeysError>,
) -> Result<(KeyRing, ServerSecret), KeysError> {
    let ring = read_or_create(&settings.file, first_start, new_ring)?;
    let ring = KeyRing::parse(&ring).map_err(|source| KeysError::Form {
        file: settings.file.clone(),
        source,
    })?;
    let secret = read_or_create(&settings.secret, first_start, new_secret)?;
    let secret = ServerSecret::parse(&secret).map_err(|source| KeysError::Form {
        file: settings.secret.clone(),
        source,
    })?;
    Ok((ring, secret))
}

/// The states that hold now: what the store knows, then what is new in the file.
fn merge(
    ring: &KeyRing,
    known: &[KeyStateEntry],
    file: &Path,
) -> Result<Vec<KeyStateEntry>, KeysError> {
    let in_file = |entry: &KeyStateEntry| {
        ring.keys()
            .any(|key| key.id().version() == entry.version && key.public_key() == entry.public_key)
    };
    if let Some(lost) = known
        .iter()
        .find(|entry| entry.state != KeyState::Revoked && !in_file(entry))
    {
        let key =
            KeyId::from_version(&lost.version).map_or_else(|_| String::new(), |id| id.to_string());
        return Err(KeysError::KeyLost {
            file: file.to_owned(),
            key,
        });
    }
    let mut states = known.to_vec();
    for key in ring.keys() {
        if known
            .iter()
            .any(|entry| entry.version == key.id().version())
        {
            continue;
        }
        let has_current = states.iter().any(|entry| entry.state == KeyState::Current);
        states.push(KeyStateEntry {
            version: key.id().version().to_owned(),
            public_key: key.public_key(),
            state: if has_current {
                KeyState::Valid
            } else {
                KeyState::Current
            },
        });
    }
    Ok(states)
}

fn assemble(ring: KeyRing, states: &[KeyStateEntry]) -> Option<ServerKeys> {
    let state_of = |key: &ServerKey| {
        let entry = states
            .iter()
            .find(|entry| entry.version == key.id().version());
        entry.map_or(KeyState::Valid, |entry| entry.state)
    };
    let (mut current, others): (Vec<_>, Vec<_>) = ring
        .into_keys()
        .into_iter()
        .map(|key| {
            let state = state_of(&key);
            (key, state)
        })
        .partition(|(_, state)| *state == KeyState::Current);
    let (signing, _) = current.pop()?;
    Some(ServerKeys::new(signing, others))
}

/// The text of a secret file, which is made if this is the first start.
fn read_or_create(
    file: &Path,
    first_start: bool,
    make: impl FnOnce() -> Result<Zeroizing<String>, KeysError>,
) -> Result<Zeroizing<String>, KeysError> {
    let failed = |action, source| KeysError::File {
        action,
        file: file.to_owned(),
        source,
    };
    match secret_file::read(file) {
        Ok(text) => Ok(text),
        Err(ReadError::Exposed) => Err(KeysError::Exposed(file.to_owned())),
        Err(ReadError::File(source)) => Err(failed("read", source)),
        Err(ReadError::Missing) if first_start => {
            let text = make()?;
            secret_file::write(file, &text).map_err(|source| failed("create", source))?;
            log::info!("made {}; keep a copy of it in a safe place", file.display());
            Ok(text)
        }
        Err(ReadError::Missing) => Err(KeysError::Lost(file.to_owned())),
    }
}
