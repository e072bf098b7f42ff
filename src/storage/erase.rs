//! Erasing all that is stored on a person.

use super::tables::{
    AcceptedTerms, AccountsByUser, Associations, AssociationsByUser, Sessions, SessionsByThreePid,
};
use super::{MaintenanceError, Store, StoreError, Tx, accounts, associations, sessions};
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
            Ok(())
        })
        .await?;
    Ok(erased)
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
