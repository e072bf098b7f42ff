//! `bindery doctor`: says how the server looks to those who use it.

use clap::Args;

use super::{CliError, say};
use crate::app::{self, Deps, Finding, Questions, Verdict};
use crate::config::Loaded;
use crate::types::ServerName;

/// `bindery doctor`.
#[derive(Debug, Clone, Args)]
pub struct Doctor {
    /// Ask others too: DNS, the own public URL, the mail server, homeservers
    #[arg(long)]
    online: bool,
    /// Try this homeserver instead of those of `accounts.allow_homeservers`; may be given more than once
    #[arg(long, value_name = "NAME", value_parser = super::server, requires = "online")]
    homeserver: Vec<ServerName>,
    /// Look for the DKIM record of this selector at the sender's domain
    #[arg(long, value_name = "SELECTOR", value_parser = selector, requires = "online")]
    dkim_selector: Option<String>,
    /// Fail on warnings as well
    #[arg(long)]
    strict: bool,
}

/// Something is not as it should be; what it is was printed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{} and {}: each line above says what to change", count(*.wrong, "fault"), count(*.warnings, "warning"))]
pub struct Unwell {
    wrong: usize,
    warnings: usize,
}

fn count(number: usize, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        more => format!("{more} {word}s"),
    }
}

/// Makes the checks and prints a line for each.
///
/// # Errors
/// When something is wrong, and with `--strict` when something is to be warned of.
pub fn run(doctor: Doctor, loaded: &Loaded, json: bool) -> Result<(), CliError> {
    let questions = Questions {
        online: doctor.online,
        homeservers: doctor.homeserver,
        dkim_selector: doctor.dkim_selector,
    };
    let mut unwell = Unwell {
        wrong: 0,
        warnings: 0,
    };
    let mut printed = Ok(());
    let mut tell = |finding: Finding| {
        match finding.verdict {
            Verdict::Ok => {}
            Verdict::Warning => unwell.warnings += 1,
            Verdict::Wrong => unwell.wrong += 1,
        }
        if printed.is_ok() {
            printed = line(&finding, json).and_then(|line| say(&line));
        }
    };
    let deps = Deps::system();
    let examined = app::examine(loaded, &deps, &questions, &mut tell);
    super::runtime()?.block_on(examined)?;
    printed?;
    if unwell.wrong > 0 || (doctor.strict && unwell.warnings > 0) {
        return Err(unwell.into());
    }
    Ok(())
}

fn line(finding: &Finding, json: bool) -> Result<String, CliError> {
    if json {
        let line = serde_json::to_string(finding).map_err(std::io::Error::from);
        return line.map_err(CliError::Output);
    }
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Wrong => "wrong",
    };
    Ok(format!("{:<16}{verdict}: {}", finding.check, finding.text))
}

/// One or more labels of a domain name.
fn selector(text: &str) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(known);
    if text.len() <= 190 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err("it must be the name before ._domainkey, such as `mail`".to_owned())
    }
}
