//! `bindery check`: looks whether the server could start, without starting it.

use super::{CliError, say};
use crate::app::{self, CheckedStore, Deps};
use crate::config::Loaded;

/// Looks at configuration, templates, mail settings, store and keys, and says what it found.
///
/// # Errors
/// The first thing that would keep the server from starting.
pub fn run(loaded: &Loaded) -> Result<(), CliError> {
    let config = &loaded.config;
    let checked = super::runtime()?.block_on(app::check(config, Deps::system()))?;
    match &loaded.file {
        Some(file) => say(&format!("configuration  {}", file.display()))?,
        None => say("configuration  no file: the built-in defaults hold")?,
    }
    for advice in config.advice() {
        say(&format!("               {advice}"))?;
    }
    say("templates      ok")?;
    say("mail           ok")?;
    say("sms            ok")?;
    if let Some((ends, advice)) = checked.certificate {
        say(&format!("certificate    ok, until {ends}"))?;
        for advice in advice {
            say(&format!("               {advice}"))?;
        }
    }
    let store = config.store.path.display();
    match checked.store {
        CheckedStore::New => say(&format!(
            "store          {store}: none yet, it is made at the first start"
        )),
        CheckedStore::InUse => say(&format!(
            "store          {store}: in use by a running server, not looked at"
        )),
        CheckedStore::Good { key } => {
            say(&format!("store          {store}: ok"))?;
            say(&format!("keys           ok, {key} signs"))
        }
    }
}
