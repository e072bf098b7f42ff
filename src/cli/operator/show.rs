//! What a command answers, for people or for programs.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;
use serde::Serialize;

use crate::cli::{CliError, say};
use crate::services::admin::{
    AdminAnswer, Erased, InviteInfo, InviteState, KeyInfo, OutboxInfo, SmsStatus, Status,
};
use crate::types::{KeyState, Timestamp};

/// How answers are printed.
pub(super) struct Show {
    /// An object a line, instead of text.
    pub(super) json: bool,
}

impl Show {
    /// Prints an answer.
    pub(super) fn answer(&self, answer: &AdminAnswer) -> Result<(), CliError> {
        match answer {
            AdminAnswer::Status(status) => self.row(status, || status_text(status)),
            AdminAnswer::Associations { items, .. } => items.iter().try_for_each(|item| {
                self.row(item, || {
                    let (medium, address) = (item.threepid.medium(), item.threepid.address());
                    format!("{medium} {address} {} since {}", item.mxid, day(item.since))
                })
            }),
            AdminAnswer::Accounts { items, .. } => items.iter().try_for_each(|item| {
                self.row(item, || {
                    format!(
                        "{} since {}, last used {}",
                        item.mxid,
                        day(item.created),
                        day(item.last_used)
                    )
                })
            }),
            AdminAnswer::Invites { items, .. } => items
                .iter()
                .try_for_each(|item| self.row(item, || invite_text(item))),
            AdminAnswer::Changed { rows } => {
                let changed = serde_json::json!({ "changed": rows });
                self.row(&changed, || match rows {
                    0 => "Nothing was there to be changed.".to_owned(),
                    1 => "1 changed.".to_owned(),
                    more => format!("{more} changed."),
                })
            }
            AdminAnswer::BackedUp { changes, keys } => {
                let done = serde_json::json!({ "changes": changes, "keys": keys });
                self.row(&done, || {
                    let files: Vec<String> =
                        keys.iter().map(|file| file.display().to_string()).collect();
                    format!(
                        "The backup holds everything up to change {changes}, but not the keys: keep copies \
                         of {} in another safe place.",
                        files.join(" and ")
                    )
                })
            }
            AdminAnswer::Erased(erased) => self.row(erased, || {
                let Erased {
                    associations,
                    sessions,
                    accounts,
                    invitations,
                } = erased;
                format!(
                    "Erased {associations} associations, {sessions} sessions, {accounts} accounts and {invitations} \
                     invitations, from the journal and its snapshots too. The index overwrites them in its own time, or at once by \
                     `bindery compact`; older backups and mails in the folder of `email.directory` are yours to remove."
                )
            }),
            AdminAnswer::Outbox { items, .. } => items
                .iter()
                .try_for_each(|item| self.row(item, || outbox_text(item))),
            AdminAnswer::Pepper { previous_until } => {
                let changed = serde_json::json!({ "previous_until": previous_until });
                self.row(&changed, || {
                    let until = day(*previous_until);
                    format!("Lookups have a new pepper; the previous one answers until {until}.")
                })
            }
            AdminAnswer::Sms(sms) => self.row(sms, || format!("SMS are {}.", sms_text(sms))),
            // Asked for by `bindery doctor` alone, which says in its own words what it means.
            AdminAnswer::Probe(_) => Ok(()),
            AdminAnswer::Keys(keys) => keys
                .iter()
                .try_for_each(|key| self.row(key, || key_text(key))),
        }
    }

    fn row(&self, row: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), CliError> {
        let json = || serde_json::to_string(row).map_err(std::io::Error::from);
        let line = if self.json {
            json().map_err(CliError::Output)?
        } else {
            text()
        };
        say(&line)
    }
}

fn status_text(status: &Status) -> String {
    let mut text = format!(
        "version       {}\nserver        {}\nsessions      {}\nassociations  {}\naccounts      {}\n\
         invitations   {}\nstore         change {}, journal {}, snapshots {}, index {}\nsnapshot      {}",
        status.version,
        status.server_name,
        status.sessions,
        status.associations,
        status.accounts,
        status.invitations,
        status.changes,
        ByteSize(status.journal_bytes),
        ByteSize(status.snapshot_bytes),
        ByteSize(status.index_bytes),
        status.snapshot_made.map_or("none yet".to_owned(), day),
    );
    let outbox = &status.outbox;
    let (waiting, failed) = (outbox.waiting, outbox.failed);
    let _ = write!(text, "\noutbox        {waiting} waiting, {failed} given up");
    if let Some(oldest) = outbox.oldest {
        let _ = write!(text, ", the oldest since {}", day(oldest));
    }
    if let Some(since) = status.pepper_since {
        text.push_str("\npepper        since ");
        text.push_str(&day(since));
    }
    text.push_str("\nsms           ");
    text.push_str(&sms_text(&status.sms));
    for key in &status.keys {
        text.push_str("\nkey           ");
        text.push_str(&key_text(key));
    }
    text
}

fn sms_text(sms: &SmsStatus) -> String {
    let state = match sms.stopped {
        Some(since) => format!("off since {}", day(since)),
        None => "on".to_owned(),
    };
    let SmsStatus {
        spent,
        daily_budget,
        ..
    } = sms;
    format!("{state}, {spent} of {daily_budget} sent in the last day")
}

fn invite_text(invite: &InviteInfo) -> String {
    let (medium, address) = (invite.threepid.medium(), invite.threepid.address());
    let whom = invite.mxid.as_ref().map(ToString::to_string);
    let (whom, at) = (
        whom.unwrap_or_default(),
        invite.at.map(day).unwrap_or_default(),
    );
    let state = match invite.state {
        InviteState::Pending => format!("waits until {}", day(invite.expires)),
        InviteState::Bound => format!("is being delivered to {whom}"),
        InviteState::Delivered => format!("delivered to {whom} on {at}"),
        InviteState::Failed => format!("not taken for {whom}, given up on {at}"),
        InviteState::Expired => format!("ended on {}", day(invite.expires)),
    };
    format!(
        "{} {medium} {address} by {} into {} on {}: {state}",
        invite.id,
        invite.sender,
        invite.room_id,
        day(invite.stored),
    )
}

fn outbox_text(item: &OutboxInfo) -> String {
    let mut text = format!("{} {} to {}", item.id, item.kind, item.destination);
    if let Some(threepid) = &item.threepid {
        let _ = write!(text, ": {} {}", threepid.medium(), threepid.address());
    }
    if let Some(mxid) = &item.mxid {
        let _ = write!(text, " {mxid}");
    }
    let (since, attempts) = (day(item.queued), item.attempts);
    let _ = write!(text, " since {since}, tried {attempts} times");
    if let Some(failed) = item.failed {
        let _ = write!(text, ", given up {}", day(failed));
    }
    if let Some(due) = item.due {
        let _ = write!(text, ", next {}", day(due));
    }
    if let Some(error) = &item.last_error {
        let _ = write!(text, ": {error}");
    }
    text
}

fn key_text(key: &KeyInfo) -> String {
    let state = match key.state {
        KeyState::Current => "signs",
        KeyState::Valid => "valid",
        KeyState::Revoked => "revoked",
    };
    format!("{} {state} {}", key.id, key.public_key)
}

fn day(time: Timestamp) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(time.as_millis()));
    let text = time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    text.unwrap_or_default()
}
