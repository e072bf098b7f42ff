//! The file provider: each SMS is a text file beside the mails, so that a first try needs no provider.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::SmsMessage;
use super::error::{SendError, Trouble};
use crate::clock::Clock;
use crate::random::Random;

pub(super) struct FileProvider {
    directory: PathBuf,
    clock: Arc<dyn Clock>,
    random: Random,
    /// Keeps the order of SMS of the same millisecond.
    written: AtomicU32,
}

impl FileProvider {
    pub(super) fn new(directory: PathBuf, clock: Arc<dyn Clock>, random: Random) -> Self {
        Self {
            directory,
            clock,
            random,
            written: AtomicU32::new(0),
        }
    }

    /// Writes an SMS into a file of its own, whose name sorts by time: two lines that say who gets it, an empty one, and
    /// the text.
    pub(super) async fn write(&self, message: &SmsMessage) -> Result<(), SendError> {
        let now = UNIX_EPOCH + Duration::from_millis(self.clock.now().as_millis());
        let time = humantime::format_rfc3339_millis(now)
            .to_string()
            .replace(':', "");
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let id = self.random.id().map_err(Trouble::from)?;
        let path = self.directory.join(format!("{time}-{number:06}-{id}.sms"));
        let content = format!(
            "To: {}\nCountry: {}\n\n{}\n",
            message.international(),
            message.country,
            message.text
        );
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || {
            put(&directory, &path, content.as_bytes())
                .map_err(|source| Trouble::File { directory, source })?;
            log::info!("an SMS was written to `{}`", path.display());
            Ok(())
        })
        .await
        .map_err(|_| Trouble::Stopped)?
    }
}

/// Writes under a temporary name and renames, so that whoever watches the folder sees whole SMS only.
fn put(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let unfinished = path.with_extension("sms.tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
