use std::path::{Path, PathBuf};

use super::reader::Reader;
use super::{Store, values};

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

impl Keys {
    pub(super) fn read(reader: &mut Reader<'_>, store: &Store) -> Self {
        let default = Self::beside(&store.path);
        let mut section = reader.section("keys");
        Self {
            file: section.value("file", default.file, values::path),
            secret: section.value("secret", default.secret, values::path),
        }
    }
}
