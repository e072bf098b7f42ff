use std::path::{Path, PathBuf};

/// `[keys]`: the files of the server's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The signing keys.
    pub file: PathBuf,
    /// The secret that tokens are derived from.
    pub secret: PathBuf,
}

impl Keys {
    /// The default: both beside the store.
    pub fn beside(store: &Path) -> Self {
        Self {
            file: store.join("signing.key"),
            secret: store.join("secret.key"),
        }
    }
}
