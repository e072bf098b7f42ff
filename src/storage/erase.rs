//! Erasing all that is stored on a person.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::tables::{
    AcceptedTerms, AccountsByUser, Associations, AssociationsByUser, Budget, Budgets,
    InvitationPlace, InvitationRecord, InvitationState, Invitations, OutboxItem, OutboxPlace,
    Sessions, SessionsByThreePid,
};
use super::{
    MaintenanceError, Store, StoreError, Tx, accounts, associations, invitations, outbox, sessions,
};
use crate::storage::codec::Key as _;
use crate::types::{Sid, ThreePid, UserId};

/// Whose data is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Person {
    /// Everything on a Matrix user, with the sessions of the addresses that are bound to it.
    User(UserId),
    /// Everything on an address.
    #[serde(rename = "threepid")]
    ThreePid(ThreePid),
}

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Erased {
    /// Associations.
    pub associations: u64,
    /// Validation sessions.
    pub sessions: u64,
    /// Accounts, each with its access token.
    pub accounts: u64,
    /// Invitations, of the user or for the address.
    pub invitations: u64,
}

/// How many rows are looked at in one step, so that nobody waits behind an erasure.
const STEP: usize = 256;

/// Erases a person from the tables, and then, by two snapshots, from journal and snapshots. sled overwrites what it
/// deleted in its own time; compaction does so at once.
///
/// # Errors
/// When the store fails; what was erased stays erased, and erasing again finishes the work.
pub async fn erase(store: &Store, person: Person) -> Result<Erased, MaintenanceError> {
    let mut erased = match &person {
        Person::User(mxid) => of_user(store, mxid.clone()).await?,
        Person::ThreePid(threepid) => of_threepid(store, threepid.clone()).await?,
    };
    erased.invitations = invitations_of(store, &person).await?;
    outgoing_of(store, &person).await?;
    store.forget_deleted().await?;
    Ok(erased)
}

async fn of_user(store: &Store, mxid: UserId) -> Result<Erased, StoreError> {
    // Sessions go first: which addresses they belong to is known only as long as these are bound.
    let bound = store.read(|tx| associations::of_user(tx, &mxid, None, usize::MAX))?;
    let mut erased = Erased {
        sessions: sessions_of(store, bound.into_iter().collect()).await?,
        ..Erased::default()
    };
    loop {
        let of = mxid.clone();
        let step = store
            .write(move |tx| -> Result<u64, StoreError> {
                let rows = tx.scan::<AssociationsByUser>(&of.to_bytes(), None, STEP)?;
                for ((mxid, threepid), _) in &rows {
                    associations::remove(tx, threepid, mxid)?;
                    tx.delete::<AssociationsByUser>(&(mxid.clone(), threepid.clone()))?;
                }
                Ok(rows.len() as u64)
            })
            .await?;
        if step == 0 {
            break;
        }
        erased.associations += step;
    }
    loop {
        let of = mxid.clone();
        let step = store
            .write(move |tx| -> Result<u64, StoreError> {
                let places = accounts::places(tx, Some(&of), None, STEP)?;
                for place in &places {
                    accounts::remove(tx, &place.1)?;
                    tx.delete::<AccountsByUser>(place)?;
                }
                Ok(places.len() as u64)
            })
            .await?;
        if step == 0 {
            break;
        }
        erased.accounts += step;
    }
    store
        .write(move |tx| tx.delete::<AcceptedTerms>(&mxid))
        .await?;
    Ok(erased)
}

async fn of_threepid(store: &Store, threepid: ThreePid) -> Result<Erased, StoreError> {
    let sessions = sessions_of(store, BTreeSet::from([threepid.clone()])).await?;
    let associations = store
        .write(move |tx| -> Result<u64, StoreError> {
            let Some(record) = tx.get::<Associations>(&threepid)? else {
                return Ok(0);
            };
            associations::remove(tx, &threepid, &record.mxid)?;
            Ok(1)
        })
        .await?;
    Ok(Erased {
        associations,
        sessions,
        ..Erased::default()
    })
}

/// Erases all sessions of some addresses, and what was counted for them; answers how many sessions there were.
async fn sessions_of(store: &Store, threepids: BTreeSet<ThreePid>) -> Result<u64, StoreError> {
    if threepids.is_empty() {
        return Ok(0);
    }
    let mut erased = 0;
    // Sessions that were replaced by newer ones are found only by looking at all of them.
    let mut after: Option<Sid> = None;
    loop {
        let rows = store.read(|tx| tx.scan::<Sessions>(&[], after.as_ref(), STEP))?;
        let Some((last, _)) = rows.last() else {
            break;
        };
        after = Some(last.clone());
        let sids: Vec<Sid> = rows
            .into_iter()
            .filter(|(_, record)| threepids.contains(&record.threepid))
            .map(|(sid, _)| sid)
            .collect();
        if !sids.is_empty() {
            erased += store.write(move |tx| remove_sessions(tx, &sids)).await?;
        }
    }
    for threepid in threepids {
        store
            .write(move |tx| -> Result<(), StoreError> {
                let rows = tx.scan::<SessionsByThreePid>(&threepid.to_bytes(), None, usize::MAX)?;
                for (key, _) in rows {
                    tx.delete::<SessionsByThreePid>(&key)?;
                }
                tx.delete::<Budgets>(&Budget::CodesFor(threepid.clone()))?;
                tx.delete::<Budgets>(&Budget::WrongCodesFor(threepid.clone()))
            })
            .await?;
    }
    Ok(erased)
}

/// Removes the invitations that a user sent or got, or that are for an address.
async fn invitations_of(store: &Store, person: &Person) -> Result<u64, MaintenanceError> {
    let prefix = match person {
        Person::User(_) => Vec::new(),
        Person::ThreePid(threepid) => threepid.to_bytes(),
    };
    let mut erased = 0;
    let mut after: Option<InvitationPlace> = None;
    loop {
        let rows = store.read(|tx| tx.scan::<Invitations>(&prefix, after.as_ref(), STEP))?;
        let Some((last, _)) = rows.last() else {
            return Ok(erased);
        };
        after = Some(last.clone());
        let places: Vec<InvitationPlace> = rows
            .into_iter()
            .filter(|(_, record)| match person {
                Person::User(mxid) => concerns(record, mxid),
                Person::ThreePid(_) => true,
            })
            .map(|(place, _)| place)
            .collect();
        if places.is_empty() {
            continue;
        }
        erased += places.len() as u64;
        store
            .write(move |tx| -> Result<(), StoreError> {
                for place in &places {
                    invitations::remove(tx, place)?;
                }
                Ok(())
            })
            .await?;
    }
}

/// Whether an invitation is by a user, or has come to them.
fn concerns(record: &InvitationRecord, mxid: &UserId) -> bool {
    let invitee = match &record.state {
        InvitationState::Pending => None,
        InvitationState::Bound { mxid }
        | InvitationState::Delivered { mxid, .. }
        | InvitationState::Failed { mxid, .. } => Some(mxid),
    };
    record.sender == *mxid || invitee == Some(mxid)
}

/// Removes what was to be sent about a user or an address.
async fn outgoing_of(store: &Store, person: &Person) -> Result<(), MaintenanceError> {
    let mut after: Option<OutboxPlace> = None;
    loop {
        let rows = store.read(|tx| outbox::list(tx, after.as_ref(), STEP))?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        after = Some(*last);
        let places: Vec<OutboxPlace> = rows
            .into_iter()
            .filter(|(_, record)| match (&record.item, person) {
                (OutboxItem::Onbind { mxid, .. }, Person::User(user)) => mxid == user,
                (
                    OutboxItem::Onbind { threepid, .. } | OutboxItem::Invitation { threepid, .. },
                    Person::ThreePid(of),
                ) => threepid == of,
                // What finds no session or invitation any more is dropped by whoever would send it.
                _ => false,
            })
            .map(|(place, _)| place)
            .collect();
        if places.is_empty() {
            continue;
        }
        store
            .write(move |tx| -> Result<(), StoreError> {
                for place in &places {
                    outbox::remove(tx, place)?;
                }
                Ok(())
            })
            .await?;
    }
}

fn remove_sessions(tx: &mut Tx<'_>, sids: &[Sid]) -> Result<u64, StoreError> {
    let mut removed = 0;
    for sid in sids {
        if let Some(record) = tx.get::<Sessions>(sid)? {
            sessions::remove(tx, sid, &record)?;
            removed += 1;
        }
    }
    Ok(removed)
}
