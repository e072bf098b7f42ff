use std::path::PathBuf;

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
