//! What a client and a homeserver would see of this server: every check is "ok", or one sentence that says what to change.
//!
//! Without `online` nothing leaves this machine. With it, everything that leaves it goes through [`crate::net`].

mod files;
mod homeservers;
mod local;
mod mailing;
mod outside;
mod sender;
mod well_known;

use serde::Serialize;

use self::local::Running;
use super::{Deps, StartError};
use crate::config::{Config, Loaded};
use crate::net::{Client, Resolver};
use crate::types::ServerName;

/// What is looked at besides the machine itself.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// Whether others are asked: DNS, the own public URL, the mail server, homeservers.
    pub online: bool,
    /// The homeservers to try; those of `accounts.allow_homeservers` if there are none.
    pub homeservers: Vec<ServerName>,
    /// The selector that the mail server signs with, whose DKIM record is to be looked for.
    pub dkim_selector: Option<String>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but not for everybody, or not for long.
    Warning,
    /// Something does not work.
    Wrong,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was seen, or one sentence that says what to change.
    pub text: String,
}

/// Takes what the checks find, one after the other.
struct Report<'a> {
    tell: &'a mut (dyn FnMut(Finding) + Send),
}

impl Report<'_> {
    fn say(&mut self, check: &'static str, verdict: Verdict, text: impl Into<String>) {
        (self.tell)(Finding {
            check,
            verdict,
            text: text.into(),
        });
    }

    fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.say(check, Verdict::Ok, text);
    }

    fn warn(&mut self, check: &'static str, text: impl Into<String>) {
        self.say(check, Verdict::Warning, text);
    }

    fn wrong(&mut self, check: &'static str, text: impl Into<String>) {
        self.say(check, Verdict::Wrong, text);
    }
}

/// What the checks look with.
struct Look<'a> {
    config: &'a Config,
    deps: &'a Deps,
    resolver: Resolver,
    client: Client,
}

/// Makes all checks that are asked for, and tells what each found as soon as it is known.
///
/// # Errors
/// When the means to look with cannot be set up.
pub async fn examine(
    loaded: &Loaded,
    deps: &Deps,
    questions: &Questions,
    tell: &mut (dyn FnMut(Finding) + Send),
) -> Result<(), StartError> {
    let config = &loaded.config;
    let mut report = Report { tell };
    local::configuration(loaded, &mut report);
    files::permissions(loaded, &mut report);
    local::clock(config, &*deps.clock, &mut report);
    let mailer = local::texts_and_mail(config, deps, &mut report);
    local::sms(config, deps, &mut report);
    local::certificate(config, deps, &mut report);
    let mut running = Running::find(config).await;
    local::store(config, &running, &mut report).await;
    local::listeners(config, &running, &mut report);
    if !questions.online {
        return Ok(());
    }
    let resolver = if config.federation.dns.is_empty() {
        Resolver::system()?
    } else {
        Resolver::with_servers(&config.federation.dns)?
    };
    let look = Look {
        config,
        deps,
        client: Client::new(&config.federation, resolver.clone())?,
        resolver,
    };
    outside::look(&look, &mut running, &mut report).await;
    well_known::look(&look, &mut report).await;
    if let Some(mailer) = mailer {
        mailing::look(&look, &mailer, questions, &mut report).await;
    }
    let asked = if questions.homeservers.is_empty() {
        &config.accounts.allow_homeservers
    } else {
        &questions.homeservers
    };
    homeservers::look(config, deps, asked, &mut report).await
}
