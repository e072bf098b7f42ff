use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What all variables of this server start with.
const PREFIX: &str = "BINDERY_";
/// The variable that names the configuration file; the only one that is not a key.
const CONFIG: &str = "BINDERY_CONFIG";

/// What the process was given besides its arguments, as far as settings are concerned.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The variables that stand for keys, by name.
    pub(super) keys: BTreeMap<String, Setting>,
    pub(super) config_file: Option<PathBuf>,
    pub(super) state_directory: Option<PathBuf>,
    pub(super) credentials_directory: Option<PathBuf>,
}

/// The value of a variable. It may be a secret, so it does not show itself.
#[derive(Clone)]
pub(super) struct Setting(OsString);

impl Setting {
    /// The value, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.0.to_str()
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Setting(…)")
    }
}

impl Environment {
    /// The environment of this process. Everything else takes it as a value.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The variable that stands for a key: `BINDERY_EMAIL__SMTP__HOST` for `email.smtp.host`.
    pub(super) fn variable(key: &str) -> String {
        format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let (name, value) = (name.into(), value.into());
            // A name that is not UTF-8 still has to be found unknown if it starts like ours.
            let name = name.to_string_lossy();
            match name.as_ref() {
                CONFIG => environment.config_file = path(&value),
                // systemd gives several folders with colons in between; the first is the main one.
                "STATE_DIRECTORY" => {
                    environment.state_directory = value
                        .to_str()
                        .and_then(|all| all.split(':').next())
                        .and_then(path);
                }
                "CREDENTIALS_DIRECTORY" => environment.credentials_directory = path(&value),
                name if name.starts_with(PREFIX) => {
                    environment.keys.insert(name.to_owned(), Setting(value));
                }
                _ => {}
            }
        }
        environment
    }
}

/// An empty variable counts as one that is not set.
fn path<P: AsRef<std::ffi::OsStr> + ?Sized>(value: &P) -> Option<PathBuf> {
    let value = value.as_ref();
    (!value.is_empty()).then(|| Path::new(value).to_owned())
}
