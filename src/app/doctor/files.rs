//! Who else on this machine could read the server's secrets.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Report;
use crate::config::Loaded;

const CHECK: &str = "secret files";

/// Looks at the files of the keys and at each file that a secret of the configuration stands in.
pub(super) fn permissions(loaded: &Loaded, report: &mut Report<'_>) {
    let keys = &loaded.config.keys;
    let of_keys = [("keys.file", &keys.file), ("keys.secret", &keys.secret)];
    let of_secrets = loaded.secret_files.iter();
    let of_secrets = of_secrets.map(|(key, path)| (key.as_str(), path));
    let tls = loaded.config.tls.files.as_ref();
    let of_tls = tls.map(|files| ("tls.private_key", &files.private_key));
    let mut closed = true;
    for (key, path) in of_keys.into_iter().chain(of_tls).chain(of_secrets) {
        if let Some(problem) = problem(path) {
            closed = false;
            report.wrong(CHECK, format!("{} ({key}) {problem}", path.display()));
        }
    }
    if closed {
        report.ok(CHECK, "nobody else can read them");
    }
}

fn problem(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        // The first start makes what is not there yet; what was lost is told with the store.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!(
            "cannot be looked at ({error}): run this as the server's own user"
        )),
        Ok(metadata) if metadata.permissions().mode() & 0o007 != 0 => Some(
            "is open to everybody on this machine: run `chmod 600` on it, and `chown` it to the \
             server's own user if it is not"
                .to_owned(),
        ),
        Ok(_) => None,
    }
}
