//! The file transport: each mail is an `.eml` file, so that a first try needs no mail server.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::{SendError, Trouble};
use super::message::Letter;

pub(super) struct FileTransport {
    directory: PathBuf,
    /// Keeps the order of mails of the same millisecond.
    written: AtomicU32,
}

impl FileTransport {
    pub(super) const fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            written: AtomicU32::new(0),
        }
    }

    /// Writes a mail into a file of its own, whose name sorts by time.
    pub(super) async fn write(&self, letter: Letter) -> Result<(), SendError> {
        let time = humantime::format_rfc3339_millis(letter.written)
            .to_string()
            .replace(':', "");
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let path = self
            .directory
            .join(format!("{time}-{number:06}-{}.eml", letter.id));
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || {
            put(&directory, &path, &letter.bytes)
                .map_err(|source| Trouble::File { directory, source })?;
            log::info!("a mail was written to `{}`", path.display());
            Ok(())
        })
        .await
        .map_err(|_| Trouble::Stopped)?
    }
}

/// Writes under a temporary name and renames, so that whoever watches the folder sees whole mails only.
fn put(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let unfinished = path.with_extension("eml.tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
