//! What the store takes on disk.

use std::fs;
use std::path::Path;

/// The bytes of all files below a folder. Files come and go meanwhile; what cannot be looked at counts as nothing. Blocks.
pub fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() {
                size(&entry.path())
            } else {
                metadata.len()
            })
        })
        .sum()
}
