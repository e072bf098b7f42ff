//! Outgoing work: what is due, what is tried again, what has failed for good.
//!
//! A row stands under the time when it is due, so that what is to be done next stands first. Whoever changes one names
//! its place; if it is not there any more, somebody else has done so meanwhile, and that is no error.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::tables::{InvitationState, Outbox, OutboxItem, OutboxPlace, OutboxRecord, Sessions};
use super::{Store, StoreError, Tx, invitations};
use crate::types::{Medium, RecordId, ServerName, Timestamp};

/// Whom a piece of work goes to. What goes to one destination fares alike when that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A homeserver.
    Homeserver(ServerName),
    /// Whoever takes the mails.
    Mail,
    /// Whoever takes the SMS.
    Sms,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Homeserver(name) => write!(f, "the homeserver `{name}`"),
            Self::Mail => f.write_str("the mail transport"),
            Self::Sms => f.write_str("the SMS provider"),
        }
    }
}

/// Where a piece of work goes.
///
/// # Errors
/// When the store fails.
pub fn destination(tx: &Tx<'_>, item: &OutboxItem) -> Result<Destination, StoreError> {
    Ok(match item {
        OutboxItem::Onbind { mxid, .. } => Destination::Homeserver(mxid.homeserver()),
        OutboxItem::Invitation { .. } => Destination::Mail,
        OutboxItem::Verification { sid, .. } => {
            let session = tx.get::<Sessions>(sid)?;
            match session.map(|session| session.threepid.medium()) {
                Some(Medium::Msisdn) => Destination::Sms,
                Some(Medium::Email) | None => Destination::Mail,
            }
        }
    })
}

/// Writes down work that is due at `due`.
///
/// # Errors
/// When the store fails.
pub fn queue(
    tx: &mut Tx<'_>,
    id: RecordId,
    item: OutboxItem,
    due: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let record = OutboxRecord {
        item,
        queued: now,
        attempts: 0,
        last_error: None,
        failed: None,
    };
    tx.put::<Outbox>(&(due, id), &record)
}

/// At most `limit` pieces of work, those after `after`, in the order in which they are due; what has failed for good
/// comes last.
///
/// # Errors
/// When the store fails.
pub fn list(
    tx: &Tx<'_>,
    after: Option<&OutboxPlace>,
    limit: usize,
) -> Result<Vec<(OutboxPlace, OutboxRecord)>, StoreError> {
    tx.scan::<Outbox>(&[], after, limit)
}

/// The record of a piece of work; none if it is not there any more.
///
/// # Errors
/// When the store fails.
pub fn get(tx: &Tx<'_>, place: &OutboxPlace) -> Result<Option<OutboxRecord>, StoreError> {
    tx.get::<Outbox>(place)
}

/// The work is done, or not wanted any more. Answers whether it was still there.
///
/// # Errors
/// When the store fails.
pub fn remove(tx: &mut Tx<'_>, place: &OutboxPlace) -> Result<bool, StoreError> {
    let known = tx.get::<Outbox>(place)?.is_some();
    if known {
        tx.delete::<Outbox>(place)?;
    }
    Ok(known)
}

/// Writes what has become of work, if it is still there.
///
/// # Errors
/// When the store fails.
pub fn put(tx: &mut Tx<'_>, place: &OutboxPlace, record: &OutboxRecord) -> Result<(), StoreError> {
    if tx.get::<Outbox>(place)?.is_some() {
        tx.put::<Outbox>(place, record)?;
    }
    Ok(())
}

/// Moves work to another time and writes what has become of it. Answers whether it was still there.
///
/// # Errors
/// When the store fails.
pub fn move_to(
    tx: &mut Tx<'_>,
    place: &OutboxPlace,
    due: Timestamp,
    record: &OutboxRecord,
) -> Result<bool, StoreError> {
    let known = remove(tx, place)?;
    if known {
        tx.put::<Outbox>(&(due, place.1), record)?;
    }
    Ok(known)
}

/// The work has failed for good: it is kept for the operator, and its invitations are said to have failed.
///
/// # Errors
/// When the store fails.
pub fn give_up(
    tx: &mut Tx<'_>,
    place: &OutboxPlace,
    mut record: OutboxRecord,
    now: Timestamp,
) -> Result<bool, StoreError> {
    record.failed = Some(now);
    settle_failed(tx, &record.item, now)?;
    move_to(tx, place, Timestamp::NEVER, &record)
}

/// The invitations that are still to be told with this work will not be.
fn settle_failed(tx: &mut Tx<'_>, item: &OutboxItem, now: Timestamp) -> Result<(), StoreError> {
    let OutboxItem::Onbind { threepid, mxid, .. } = item else {
        return Ok(());
    };
    for (invitation, _) in invitations::bound_to(tx, threepid, mxid, now)? {
        let to = mxid.clone();
        let state = InvitationState::Failed { mxid: to, at: now };
        invitations::settle(tx, &invitation, mxid, state)?;
    }
    Ok(())
}

/// Given-up or waiting work is to be tried at once, as if it had never failed. Answers whether it was still there.
///
/// # Errors
/// When the store fails.
pub fn retry(
    tx: &mut Tx<'_>,
    place: &OutboxPlace,
    mut record: OutboxRecord,
    now: Timestamp,
) -> Result<bool, StoreError> {
    record.attempts = 0;
    record.queued = now;
    record.failed = None;
    if let OutboxItem::Onbind { threepid, mxid, .. } = &record.item {
        invitations::reopen(tx, threepid, mxid)?;
    }
    move_to(tx, place, now, &record)
}

/// The work is not to be done; its invitations are said to have failed. Answers whether it was still there.
///
/// # Errors
/// When the store fails.
pub fn drop_out(
    tx: &mut Tx<'_>,
    place: &OutboxPlace,
    record: &OutboxRecord,
    now: Timestamp,
) -> Result<bool, StoreError> {
    settle_failed(tx, &record.item, now)?;
    remove(tx, place)
}

/// The last place that work can have that is due at this time.
pub const fn last_due(at: Timestamp) -> OutboxPlace {
    (at, RecordId::from_bytes([0xff; 16]))
}

/// The place before all work that was given up.
pub fn before_failed() -> OutboxPlace {
    last_due(Timestamp::NEVER.minus(Duration::from_millis(1)))
}

/// Where the work with this id stands, which only an operator asks for: all rows are looked at, in steps.
///
/// # Errors
/// When the store fails.
pub fn find(store: &Store, id: &RecordId) -> Result<Option<OutboxPlace>, StoreError> {
    let mut found = None;
    each(store, None, |(place, _)| {
        if place.1 == *id {
            found = Some(*place);
        }
    })?;
    Ok(found)
}

/// How much outgoing work there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// How much waits, by kind.
    pub waiting: BTreeMap<&'static str, u64>,
    /// How much was given up, by kind.
    pub failed: BTreeMap<&'static str, u64>,
    /// Since when the oldest of what waits has been there.
    pub oldest: Option<Timestamp>,
    /// When the first of it is due.
    pub due: Option<Timestamp>,
}

/// Counts outgoing work, in steps.
///
/// # Errors
/// When the store fails.
pub fn figures(store: &Store) -> Result<Figures, StoreError> {
    let mut figures = Figures::default();
    each(store, None, |(place, record)| {
        let by_kind = if record.failed.is_some() {
            &mut figures.failed
        } else {
            figures.due = figures.due.or(Some(place.0));
            let oldest = figures.oldest.into_iter().chain([record.queued]).min();
            figures.oldest = oldest;
            &mut figures.waiting
        };
        *by_kind.entry(record.item.kind()).or_default() += 1;
    })?;
    Ok(figures)
}

/// What was given up before this time; for a sweep.
///
/// # Errors
/// When the store fails.
pub fn stale(store: &Store, before: Timestamp) -> Result<Vec<OutboxPlace>, StoreError> {
    let mut stale = Vec::new();
    each(store, Some(before_failed()), |(place, record)| {
        if record.failed.is_some_and(|failed| failed <= before) {
            stale.push(*place);
        }
    })?;
    Ok(stale)
}

/// Looks at all rows after a place, in steps, so that nobody waits for it.
fn each(
    store: &Store,
    mut after: Option<OutboxPlace>,
    mut look: impl FnMut(&(OutboxPlace, OutboxRecord)),
) -> Result<(), StoreError> {
    const STEP: usize = 256;
    loop {
        let rows = store.read(|tx| list(tx, after.as_ref(), STEP))?;
        rows.iter().for_each(&mut look);
        match rows.last() {
            Some((last, _)) if rows.len() == STEP => after = Some(*last),
            Some(_) | None => return Ok(()),
        }
    }
}
