//! Listing outgoing work, trying it at once, and dropping it.

use serde::{Deserialize, Serialize};

use super::{Admin, AdminAnswer, AdminError, STEP, audit};
use crate::storage::outbox::{self, Destination};
use crate::storage::tables::{OutboxItem, OutboxPlace, OutboxRecord, Sessions};
use crate::storage::{StoreError, Tx};
use crate::types::{RecordId, ThreePid, Timestamp, UserId};

/// What is asked of outgoing work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxRequest {
    /// What there is, from one on.
    List {
        /// Only what was given up.
        failed: bool,
        /// What stands after this.
        after: Option<OutboxPlace>,
    },
    /// To try it at once, as if it had never failed.
    Retry {
        /// Which; all if none is named.
        id: Option<RecordId>,
    },
    /// To forget it.
    Drop {
        /// Which.
        id: RecordId,
    },
}

/// A piece of outgoing work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxInfo {
    /// Its id.
    pub id: RecordId,
    /// `onbind`, `verification` or `invitation`.
    pub kind: String,
    /// Whom it goes to: a homeserver, `mail` or `sms`.
    pub destination: String,
    /// The address that it is about; none if that is not known any more.
    pub threepid: Option<ThreePid>,
    /// The user whose homeserver is told.
    pub mxid: Option<UserId>,
    /// Since when it has been tried.
    pub queued: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; none once it was given up.
    pub due: Option<Timestamp>,
    /// When it was given up.
    pub failed: Option<Timestamp>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// How much outgoing work there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// So much waits.
    pub waiting: u64,
    /// So much was given up.
    pub failed: u64,
    /// Since when the oldest of what waits has been there.
    pub oldest: Option<Timestamp>,
}

impl Admin {
    /// Carries out what is asked of outgoing work.
    pub(super) async fn outbox(
        &self,
        request: OutboxRequest,
        actor: &str,
    ) -> Result<AdminAnswer, AdminError> {
        Ok(match request {
            OutboxRequest::List { failed, after } => self.list_outbox(failed, after)?,
            OutboxRequest::Retry { id: Some(id) } => {
                let rows = self.change_outbox(id, Change::Retry).await?;
                audit(
                    actor,
                    &format!("had {id} of the outbox tried again ({rows})"),
                );
                AdminAnswer::Changed { rows }
            }
            OutboxRequest::Retry { id: None } => {
                let rows = self.retry_all().await?;
                audit(
                    actor,
                    &format!("had all of the outbox tried again ({rows})"),
                );
                AdminAnswer::Changed { rows }
            }
            OutboxRequest::Drop { id } => {
                let rows = self.change_outbox(id, Change::Drop).await?;
                audit(actor, &format!("dropped {id} of the outbox ({rows})"));
                AdminAnswer::Changed { rows }
            }
        })
    }

    /// How much there is.
    pub(super) fn outbox_status(&self) -> Result<OutboxStatus, StoreError> {
        let figures = outbox::figures(&self.parts.store)?;
        Ok(OutboxStatus {
            waiting: figures.waiting.values().sum(),
            failed: figures.failed.values().sum(),
            oldest: figures.oldest,
        })
    }

    fn list_outbox(
        &self,
        failed: bool,
        after: Option<OutboxPlace>,
    ) -> Result<AdminAnswer, StoreError> {
        // What was given up stands last.
        let from = after.or_else(|| failed.then(outbox::before_failed));
        let (items, after) = self.parts.store.read(|tx| -> Result<_, StoreError> {
            let rows = outbox::list(tx, from.as_ref(), STEP)?;
            let last = rows.last().map(|(place, _)| *place);
            let after = last.filter(|_| rows.len() == STEP);
            let items = rows
                .into_iter()
                .map(|(place, record)| info(tx, place, record));
            Ok((items.collect::<Result<Vec<_>, _>>()?, after))
        })?;
        Ok(AdminAnswer::Outbox { items, after })
    }

    /// Changes the one with this id; answers how many there were.
    async fn change_outbox(&self, id: RecordId, change: Change) -> Result<usize, StoreError> {
        let store = &self.parts.store;
        let now = self.parts.clock.now();
        // It may move between the look and the change.
        while let Some(place) = outbox::find(store, &id)? {
            let changed = store.write(move |tx| change.carry_out(tx, &place, now));
            if changed.await? {
                return Ok(1);
            }
        }
        Ok(0)
    }

    async fn retry_all(&self) -> Result<usize, StoreError> {
        let store = &self.parts.store;
        let now = self.parts.clock.now();
        let mut changed = 0;
        // What is due already is not made to wait longer.
        let mut after = Some(outbox::last_due(now));
        loop {
            let rows = store.read(|tx| outbox::list(tx, after.as_ref(), STEP))?;
            let Some((last, _)) = rows.last() else {
                return Ok(changed);
            };
            after = Some(*last);
            let places: Vec<OutboxPlace> = rows.into_iter().map(|(place, _)| place).collect();
            changed += store
                .write(move |tx| -> Result<usize, StoreError> {
                    let mut changed = 0;
                    for place in &places {
                        changed += usize::from(Change::Retry.carry_out(tx, place, now)?);
                    }
                    Ok(changed)
                })
                .await?;
        }
    }
}

/// What is done to one.
#[derive(Clone, Copy)]
enum Change {
    Retry,
    Drop,
}

impl Change {
    /// Answers whether it was still there.
    fn carry_out(
        self,
        tx: &mut Tx<'_>,
        place: &OutboxPlace,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(record) = outbox::get(tx, place)? else {
            return Ok(false);
        };
        match self {
            Self::Retry => outbox::retry(tx, place, record, now),
            Self::Drop => outbox::drop_out(tx, place, &record, now),
        }
    }
}

fn info(tx: &Tx<'_>, place: OutboxPlace, record: OutboxRecord) -> Result<OutboxInfo, StoreError> {
    let destination = match outbox::destination(tx, &record.item)? {
        Destination::Homeserver(name) => name.to_string(),
        Destination::Mail => "mail".to_owned(),
        Destination::Sms => "sms".to_owned(),
    };
    let kind = record.item.kind().to_owned();
    let (threepid, mxid) = match record.item {
        OutboxItem::Onbind { threepid, mxid, .. } => (Some(threepid), Some(mxid)),
        OutboxItem::Invitation { threepid, .. } => (Some(threepid), None),
        OutboxItem::Verification { sid, .. } => {
            let session = tx.get::<Sessions>(&sid)?;
            (session.map(|session| session.threepid), None)
        }
    };
    Ok(OutboxInfo {
        id: place.1,
        kind,
        destination,
        threepid,
        mxid,
        queued: record.queued,
        attempts: record.attempts,
        due: record.failed.is_none().then_some(place.0),
        failed: record.failed,
        last_error: record.last_error,
    })
}
