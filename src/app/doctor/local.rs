//! What can be seen without asking anybody: the configuration, the clock, the store, the listeners.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::Report;
use crate::app::admin::{CallError, Caller};
use crate::app::{CheckedStore, Deps, check_certificate, check_content, mail};
use crate::clock::Clock;
use crate::config::{Config, Listen, Loaded, SmsProvider};
use crate::mail::Mailer;
use crate::services::admin::{AdminAnswer, AdminRequest, KeyInfo, Sighting, Status};
use crate::types::{KeyState, Timestamp};

/// No clock that goes right shows an earlier time: 2026-01-01.
const EARLIEST: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// How far clocks may be apart before somebody notices.
pub(super) const TOLERANCE: Duration = Duration::from_mins(1);

/// A server that runs with this configuration, as far as it can be told.
pub(super) enum Running {
    /// It answers on the socket.
    Yes { caller: Caller, status: Box<Status> },
    /// It does not answer, for all that can be seen.
    No,
    /// It cannot be asked.
    Hidden(String),
}

impl Running {
    /// Asks the socket for commands.
    pub(super) async fn find(config: &Config) -> Self {
        let socket = &config.admin.socket;
        let mut caller = match Caller::connect(socket).await {
            Ok(caller) => caller,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Self::Hidden(format!(
                    "you may not use {} (admin.socket): run this as root or as the server's own user",
                    socket.display()
                ));
            }
            Err(_) => return Self::No,
        };
        match caller.ask(&AdminRequest::Status, &mut |_| {}).await {
            Ok(AdminAnswer::Status(status)) => Self::Yes {
                caller,
                status: Box::new(status),
            },
            Ok(_) => Self::Hidden(CallError::Unintelligible.to_string()),
            Err(error) => Self::Hidden(error.to_string()),
        }
    }

    /// The key that signs.
    pub(super) fn key(&self) -> Option<&KeyInfo> {
        let Self::Yes { status, .. } = self else {
            return None;
        };
        let mut keys = status.keys.iter();
        keys.find(|key| key.state == KeyState::Current)
    }

    /// Lets the server await a request.
    pub(super) async fn expect(&mut self, nonce: &str) -> bool {
        let nonce = nonce.to_owned();
        let Self::Yes { caller, .. } = self else {
            return false;
        };
        let asked = caller
            .ask(&AdminRequest::ProbeExpect { nonce }, &mut |_| {})
            .await;
        matches!(asked, Ok(AdminAnswer::Probe(_)))
    }

    /// How it arrived, if it did.
    pub(super) async fn sighting(&mut self, nonce: &str) -> Option<Sighting> {
        let nonce = nonce.to_owned();
        let Self::Yes { caller, .. } = self else {
            return None;
        };
        match caller
            .ask(&AdminRequest::ProbeTake { nonce }, &mut |_| {})
            .await
        {
            Ok(AdminAnswer::Probe(sighting)) => sighting,
            _ => None,
        }
    }
}

/// The configuration was read; what of it is rarely meant is told.
pub(super) fn configuration(loaded: &Loaded, report: &mut Report<'_>) {
    const CHECK: &str = "configuration";
    match &loaded.file {
        Some(file) => report.ok(CHECK, file.display().to_string()),
        None => report.ok(CHECK, "no file: the built-in defaults hold"),
    }
    let url = &loaded.config.server.public_url;
    for advice in loaded.config.advice() {
        report.warn(CHECK, advice);
    }
    if url.is_https() {
        report.ok("public_url", url.as_str());
    } else if !url.is_local() {
        report.wrong(
            "public_url",
            format!(
                "{url} is not https, and browsers let no client use it: get a certificate, and set \
                 server.public_url to the https URL"
            ),
        );
    }
}

/// The clock against what it showed before: nothing in the store can be from later.
pub(super) fn clock(config: &Config, clock: &dyn Clock, report: &mut Report<'_>) {
    const CHECK: &str = "clock";
    const SET_IT: &str =
        "set this machine's clock, and let it be kept right (such as by systemd-timesyncd)";
    let now = clock.now();
    if now < EARLIEST {
        return report.wrong(CHECK, format!("it shows a time long past: {SET_IT}"));
    }
    let latest = latest(&config.store.path.join("journal"));
    let ahead = latest.map(|latest| latest.since(now)).unwrap_or_default();
    if ahead > TOLERANCE {
        return report.wrong(
            CHECK,
            format!(
                "the store was written {} later than it is by the clock: {SET_IT}",
                humantime::format_duration(Duration::from_secs(ahead.as_secs()))
            ),
        );
    }
    report.ok(CHECK, "it goes on from what it showed before");
}

/// When a file of a folder was changed last.
fn latest(folder: &Path) -> Option<Timestamp> {
    let changed = |entry: io::Result<fs::DirEntry>| {
        let since = entry.ok()?.metadata().ok()?.modified().ok()?;
        let since = since.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    };
    let files = fs::read_dir(folder).ok()?;
    files.filter_map(changed).max().map(Timestamp::from_millis)
}

/// The templates, and what mails are sent with; the latter for whoever tries it.
pub(super) fn texts_and_mail(
    config: &Config,
    deps: &Deps,
    report: &mut Report<'_>,
) -> Option<Mailer> {
    const CHECK: &str = "templates, mail";
    match mail(config, deps) {
        Ok((mailer, _)) => {
            report.ok(CHECK, "they can be used");
            Some(mailer)
        }
        Err(error) => {
            report.wrong(CHECK, error.to_string());
            None
        }
    }
}

/// Who would send SMS, as far as it shows without sending one.
pub(super) fn sms(config: &Config, deps: &Deps, report: &mut Report<'_>) {
    const CHECK: &str = "sms";
    match (&config.sms.provider, crate::app::sms(config, deps)) {
        (_, Err(error)) => report.wrong(CHECK, error.to_string()),
        (SmsProvider::None, Ok(_)) => report.ok(CHECK, "none are sent (sms.provider)"),
        (_, Ok(_)) => report.ok(CHECK, "everything is set; `bindery test-sms` tries it"),
    }
}

/// The certificate of the listeners that speak TLS by themselves.
pub(super) fn certificate(config: &Config, deps: &Deps, report: &mut Report<'_>) {
    const CHECK: &str = "certificate";
    match check_certificate(config, deps) {
        Ok(None) => {}
        Err(error) => report.wrong(CHECK, error.to_string()),
        Ok(Some((ends, advice))) => {
            report.ok(CHECK, format!("it ends {ends}"));
            for advice in advice {
                report.warn(CHECK, advice);
            }
        }
    }
}

/// The store, or the server that has it open.
pub(super) async fn store(config: &Config, running: &Running, report: &mut Report<'_>) {
    const CHECK: &str = "store";
    let path = config.store.path.display();
    match running {
        Running::Yes { status, .. } if status.server_name != config.server.name => report.wrong(
            CHECK,
            format!(
                "the running server is `{}`, and server.name is `{}`: restart it, or name its own \
                 configuration by --config",
                status.server_name, config.server.name
            ),
        ),
        Running::Yes { status, .. } if status.version != env!("CARGO_PKG_VERSION") => report.warn(
            CHECK,
            format!(
                "the running server is bindery {}, and this is {}: restart it to run this version",
                status.version,
                env!("CARGO_PKG_VERSION")
            ),
        ),
        Running::Yes { status, .. } => report.ok(
            CHECK,
            format!("{path}: a server has it open, at change {}", status.changes),
        ),
        Running::Hidden(reason) => report.wrong(CHECK, reason.clone()),
        Running::No => match check_content(config).await {
            Ok(CheckedStore::New) => {
                report.ok(CHECK, format!("{path}: none yet, it is made at the first start"));
            }
            Ok(CheckedStore::InUse) => report.wrong(
                CHECK,
                format!(
                    "a server has {path} open, but does not answer on {} (admin.socket): is this its \
                     configuration?",
                    config.admin.socket.display()
                ),
            ),
            Ok(CheckedStore::Good { key }) => report.ok(CHECK, format!("{path}: whole, {key} signs")),
            Err(error) => report.wrong(CHECK, error.to_string()),
        },
    }
}

/// Whether the server listens, or could.
pub(super) fn listeners(config: &Config, running: &Running, report: &mut Report<'_>) {
    const CHECK: &str = "listeners";
    let places: Vec<String> = config
        .server
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    let places = places.join(", ");
    match running {
        Running::Yes { .. } => return report.ok(CHECK, format!("the server runs ({places})")),
        Running::Hidden(_) => return,
        Running::No => {}
    }
    let mut free = true;
    for listen in &config.server.listen {
        let Listen::Tcp(address) = listen else {
            continue;
        };
        if let Err(error) = TcpListener::bind(address) {
            free = false;
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => "end what listens there, or name another port",
                io::ErrorKind::AddrNotAvailable => "name an address that this machine has",
                io::ErrorKind::PermissionDenied => {
                    "name a port from 1024 on, or let systemd open it"
                }
                _ => "name another place",
            };
            report.wrong(
                CHECK,
                format!("{address} (server.listen) cannot be listened on ({error}): {advice}"),
            );
        }
    }
    if free {
        report.warn(
            CHECK,
            format!("no server runs; it could ({places}): start it"),
        );
    }
}
