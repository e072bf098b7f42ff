//! Listing and removing associations and accounts, a step at a time.

use super::{
    AccountInfo, AccountPlace, AccountTarget, Admin, AdminAnswer, AssociationInfo,
    AssociationTarget, STEP,
};
use crate::storage::tables::{Accounts, AssociationRecord, Associations, AssociationsByUser};
use crate::storage::{StoreError, accounts, associations};
use crate::types::{AccessTokenHash, ThreePid, UserId};

impl Admin {
    /// One page of associations.
    pub(super) fn list_associations(
        &self,
        user: Option<&UserId>,
        threepid: Option<ThreePid>,
        after: Option<&ThreePid>,
    ) -> Result<AdminAnswer, StoreError> {
        let (rows, after) = self.parts.store.read(|tx| -> Result<_, StoreError> {
            if let Some(threepid) = threepid {
                let record = tx.get::<Associations>(&threepid)?;
                let wanted = record.filter(|record| user.is_none_or(|user| record.mxid == *user));
                let rows = wanted
                    .map(|record| (threepid, record))
                    .into_iter()
                    .collect();
                return Ok((rows, None));
            }
            let rows: Vec<(ThreePid, AssociationRecord)> = match user {
                Some(user) => {
                    let threepids = associations::of_user(tx, user, after, STEP)?;
                    let records = tx.get_many::<Associations>(&threepids)?;
                    let rows = threepids.into_iter().zip(records);
                    rows.filter_map(|(threepid, record)| Some((threepid, record?)))
                        .collect()
                }
                None => tx.scan::<Associations>(&[], after, STEP)?,
            };
            let last = rows.last().map(|(threepid, _)| threepid.clone());
            let after = last.filter(|_| rows.len() == STEP);
            Ok((rows, after))
        })?;
        let items = rows
            .into_iter()
            .map(|(threepid, record)| AssociationInfo {
                threepid,
                mxid: record.mxid,
                since: record.ts,
                until: record.not_after,
            })
            .collect();
        Ok(AdminAnswer::Associations { items, after })
    }

    /// Unbinds; answers how many were bound.
    pub(super) async fn remove_associations(
        &self,
        target: AssociationTarget,
    ) -> Result<usize, StoreError> {
        let mut removed = 0;
        loop {
            let target = target.clone();
            let step = self
                .parts
                .store
                .write(move |tx| -> Result<usize, StoreError> {
                    let found = match &target {
                        AssociationTarget::Threepid(threepid) => tx
                            .get::<Associations>(threepid)?
                            .map(|record| (threepid.clone(), record.mxid))
                            .into_iter()
                            .collect::<Vec<_>>(),
                        AssociationTarget::User(mxid) => {
                            associations::of_user(tx, mxid, None, STEP)?
                                .into_iter()
                                .map(|threepid| (threepid, mxid.clone()))
                                .collect()
                        }
                    };
                    for (threepid, mxid) in &found {
                        associations::remove(tx, threepid, mxid)?;
                        tx.delete::<AssociationsByUser>(&(mxid.clone(), threepid.clone()))?;
                    }
                    Ok(found.len())
                })
                .await?;
            removed += step;
            if step < STEP {
                return Ok(removed);
            }
        }
    }

    /// One page of accounts.
    pub(super) fn list_accounts(
        &self,
        user: Option<&UserId>,
        after: Option<&AccountPlace>,
    ) -> Result<AdminAnswer, StoreError> {
        let (items, after) = self.parts.store.read(|tx| -> Result<_, StoreError> {
            let places = accounts::places(tx, user, after, STEP)?;
            let tokens: Vec<AccessTokenHash> = places.iter().map(|(_, token)| *token).collect();
            let records = tx.get_many::<Accounts>(&tokens)?;
            let items = records
                .into_iter()
                .flatten()
                .map(|record| AccountInfo {
                    mxid: record.mxid,
                    created: record.created,
                    last_used: record.last_used,
                })
                .collect();
            let full = places.len() == STEP;
            Ok((items, places.into_iter().next_back().filter(|_| full)))
        })?;
        Ok(AdminAnswer::Accounts { items, after })
    }

    /// Ends accounts; answers how many there were.
    pub(super) async fn revoke_accounts(&self, target: AccountTarget) -> Result<usize, StoreError> {
        let (user, server) = match target {
            AccountTarget::User(mxid) => (Some(mxid), None),
            AccountTarget::Homeserver(name) => (None, Some(name)),
        };
        let mut revoked = 0;
        let mut after: Option<AccountPlace> = None;
        loop {
            let places = self
                .parts
                .store
                .read(|tx| accounts::places(tx, user.as_ref(), after.as_ref(), STEP))?;
            let Some(last) = places.last() else {
                return Ok(revoked);
            };
            after = Some(last.clone());
            let ended: Vec<AccessTokenHash> = places
                .into_iter()
                .filter(|(mxid, _)| {
                    let at = |name: &crate::types::ServerName| mxid.server_name() == name.as_str();
                    server.as_ref().is_none_or(at)
                })
                .map(|(_, token)| token)
                .collect();
            if ended.is_empty() {
                continue;
            }
            revoked += ended.len();
            self.parts
                .store
                .write(move |tx| {
                    ended
                        .iter()
                        .try_for_each(|token| accounts::remove(tx, token))
                })
                .await?;
        }
    }
}
