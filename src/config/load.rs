use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::file::File;
use super::reader::Reader;
use super::{
    Accounts, Admin, Api, Associations, Config, Email, Federation, Invites, Keys, Limits, Log,
    Lookup, Metrics, Problem, Said, Server, Sessions, Sms, Store, Templates, Terms, Tls,
};

/// Where a file is looked for when none is named.
const USUAL: [&str; 2] = ["identity.toml", "/etc/bindery/identity.toml"];

/// The configuration, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read; none when there is none and the built-in defaults hold.
    pub file: Option<PathBuf>,
    /// What it says, to compare with what it says later.
    pub said: Said,
    /// The files that secrets were read from, each with the key that it stands in or is named by.
    pub secret_files: Vec<(String, PathBuf)>,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {} ({named_by}): {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What made it this file.
        named_by: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Keys or values are wrong: all of them, one a line.
    #[error("{}", Lines(.0))]
    Wrong(Vec<Problem>),
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads the configuration. The file is `named`, else the one in `BINDERY_CONFIG`, else
    /// `identity.toml` in the working directory, else `/etc/bindery/identity.toml`, else none. Over it
    /// goes the environment.
    ///
    /// # Errors
    /// When a file that is named or found cannot be read, and when keys or values are wrong; the
    /// latter all at once.
    pub fn load(named: Option<&Path>, environment: &Environment) -> Result<Loaded, LoadError> {
        Self::load_from(named, environment, &USUAL.map(Path::new))
    }

    /// [`Config::load`] with other usual places.
    pub(super) fn load_from(
        named: Option<&Path>,
        environment: &Environment,
        usual: &[&Path],
    ) -> Result<Loaded, LoadError> {
        let from_environment = environment.config_file.as_deref();
        let found = match (named, from_environment) {
            (Some(path), _) => Some(read(path, "named by --config")?),
            (None, Some(path)) => Some(read(path, "named by BINDERY_CONFIG")?),
            (None, None) => read_first(usual)?,
        };
        let file = match &found {
            Some((path, text)) => Some(File::parse(path, text).map_err(LoadError::Wrong)?),
            None => None,
        };
        let mut reader = Reader::new(file.as_ref(), environment);
        let config = Self::read(&mut reader);
        let secret_files = reader.take_secret_files();
        Ok(Loaded {
            config,
            said: reader.finish().map_err(LoadError::Wrong)?,
            file: found.map(|(path, _)| path),
            secret_files,
        })
    }

    /// The dotted names of all keys, section by section.
    pub fn keys() -> Vec<String> {
        let environment = Environment::default();
        let mut reader = Reader::new(None, &environment);
        Self::read(&mut reader);
        reader.into_keys()
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let server = Server::read(reader);
        let store = Store::read(reader);
        let email = Email::read(reader, &server, &store);
        let sms = Sms::read(reader, &email);
        Self {
            tls: Tls::read(reader, &server),
            api: Api::read(reader),
            keys: Keys::read(reader, &store),
            sessions: Sessions::read(reader),
            associations: Associations::read(reader),
            accounts: Accounts::read(reader),
            invites: Invites::read(reader),
            lookup: Lookup::read(reader),
            federation: Federation::read(reader),
            terms: Terms::read(reader),
            templates: Templates::read(reader, &sms),
            limits: Limits::read(reader),
            metrics: Metrics::read(reader),
            admin: Admin::read(reader, &store),
            log: Log::read(reader),
            server,
            store,
            email,
            sms,
        }
    }
}

fn read(path: &Path, named_by: &'static str) -> Result<(PathBuf, String), LoadError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok((path.to_owned(), text)),
        Err(source) => Err(LoadError::Unreadable {
            file: path.to_owned(),
            named_by,
            source,
        }),
    }
}

/// The first of these files that there is; one that is there and cannot be read is not passed over.
fn read_first(usual: &[&Path]) -> Result<Option<(PathBuf, String)>, LoadError> {
    for path in usual {
        match read(path, "found in its usual place") {
            Err(LoadError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}
