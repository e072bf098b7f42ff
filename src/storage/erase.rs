//! Erasing all that is stored on a person.

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
#[derive(Debug, Clone)]
pub enum Person {
    /// Everything on a Matrix user.
    User(UserId),
    /// Everything on an address.
    ThreePid(ThreePid),
}

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    let mut erased = Erased::default();
    let of_user = match &person {
        Person::User(mxid) => mxid.clone(),
        Person::ThreePid(threepid) => {
            erased = of_threepid(store, threepid).await?;
            erased.invitations = invitations_of(store, &person).await?;
            outgoing_of(store, &person).await?;
            store.forget_deleted().await?;
            return Ok(erased);
        }
    };
    loop {
        let mxid = of_user.clone();
        let step = store
            .write(move |tx| -> Result<u64, StoreError> {
                let rows = tx.scan::<AssociationsByUser>(&mxid.to_bytes(), None, STEP)?;
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
        let mxid = of_user.clone();
        let step = store
            .write(move |tx| -> Result<u64, StoreError> {
                let places = accounts::places(tx, Some(&mxid), None, STEP)?;
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
    let mxid = of_user.clone();
    store
        .write(move |tx| tx.delete::<AcceptedTerms>(&mxid))
        .await?;
    erased.invitations = invitations_of(store, &person).await?;
    outgoing_of(store, &person).await?;
    store.forget_deleted().await?;
    Ok(erased)
}

async fn of_threepid(store: &Store, threepid: &ThreePid) -> Result<Erased, MaintenanceError> {
    let of = threepid.clone();
    let associations = store
        .write(move |tx| -> Result<u64, StoreError> {
            let Some(record) = tx.get::<Associations>(&of)? else {
                return Ok(0);
            };
            associations::remove(tx, &of, &record.mxid)?;
            Ok(1)
        })
        .await?;
    let mut erased = Erased {
        associations,
        ..Erased::default()
    };
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
            .filter(|(_, record)| record.threepid == *threepid)
            .map(|(sid, _)| sid)
            .collect();
        if !sids.is_empty() {
            erased.sessions += store.write(move |tx| remove_sessions(tx, &sids)).await?;
        }
    }
    let of = threepid.clone();
    store
        .write(move |tx| -> Result<(), StoreError> {
            for (key, _) in tx.scan::<SessionsByThreePid>(&of.to_bytes(), None, usize::MAX)? {
                tx.delete::<SessionsByThreePid>(&key)?;
            }
            tx.delete::<Budgets>(&Budget::CodesFor(of.clone()))?;
            tx.delete::<Budgets>(&Budget::WrongCodesFor(of.clone()))
        })
        .await?;
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
