//! Files beside the store that hold a secret: of mode 0600, and whole and on disk when their name appears.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
    /// Everybody can read it.
    #[error("it can be read by everybody: run `chmod 600` on it")]
    Exposed,
    /// The system refused.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// The text of a secret file, which nobody but its owner and group may read.
///
/// # Errors
/// A missing and an exposed file are told apart from one that cannot be read.
pub fn read(file: &Path) -> Result<Zeroizing<String>, ReadError> {
    let metadata = fs::metadata(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Missing,
        _ => ReadError::File(error),
    })?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(ReadError::Exposed);
    }
    Ok(Zeroizing::new(fs::read_to_string(file)?))
}

/// Writes a secret file, in place of the one there may be. It is whole and on disk before its name leads to it.
///
/// # Errors
/// What the system says; the file is as it was then, or as it was to be.
pub fn write(file: &Path, text: &str) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&unfinished, file)?;
    File::open(folder)?.sync_all()
}
