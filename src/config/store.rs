use std::path::PathBuf;

use super::reader::Reader;
use super::values;
use crate::types::Invalid;

/// `[store]`: where and how data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The folder of the store.
    pub path: PathBuf,
    /// How much memory the database's cache may take, in bytes.
    pub cache: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data"),
            cache: 64 * 1024 * 1024,
        }
    }
}

impl Store {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const SIZE: Invalid = Invalid::expecting("a size from \"1MiB\" to \"1TiB\", in quotes");
        let default = Self::default();
        let path = reader.state_directory().unwrap_or(default.path);
        let mut section = reader.section("store");
        let sizes = 1024 * 1024..=1024 * 1024 * 1024 * 1024;
        Self {
            path: section.value("path", path, values::path),
            cache: section.value("cache", default.cache, |value| {
                values::size(value, &sizes, SIZE)
            }),
        }
    }
}
