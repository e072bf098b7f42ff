//! The three rows of an invitation, which change together, and what a bind and an unbind do to invitations.

use super::codec::Key as _;
use super::tables::{
    Associations, EphemeralKeyRecord, EphemeralKeys, InvitationPlace, InvitationPlaceRecord,
    InvitationRecord, InvitationState, Invitations, InvitationsByToken,
};
use super::{StoreError, Tx};
use crate::types::{InviteTokenHash, RoomId, ThreePid, Timestamp, UserId};

/// Writes a new invitation, with the way its token finds it and the key that this server vouches for.
///
/// # Errors
/// When the store fails.
pub fn put(
    tx: &mut Tx<'_>,
    place: &InvitationPlace,
    record: &InvitationRecord,
) -> Result<(), StoreError> {
    let to = InvitationPlaceRecord {
        threepid: place.0.clone(),
        invite: place.1,
    };
    let key = EphemeralKeyRecord {
        valid_since: record.stored,
        invite: Some(to.clone()),
    };
    tx.put::<Invitations>(place, record)?;
    tx.put::<InvitationsByToken>(&record.token.hash(), &to)?;
    tx.put::<EphemeralKeys>(&record.public_key, &key)
}

/// At most `limit` invitations, all or those for a 3PID, in the order of their addresses, those after `after`.
///
/// # Errors
/// When the store fails.
pub fn list(
    tx: &Tx<'_>,
    threepid: Option<&ThreePid>,
    after: Option<&InvitationPlace>,
    limit: usize,
) -> Result<Vec<(InvitationPlace, InvitationRecord)>, StoreError> {
    let prefix = threepid.map(ThreePid::to_bytes).unwrap_or_default();
    tx.scan::<Invitations>(&prefix, after, limit)
}

/// The invitations for a 3PID, whatever their state.
///
/// # Errors
/// When the store fails.
pub fn of_threepid(
    tx: &Tx<'_>,
    threepid: &ThreePid,
) -> Result<Vec<(InvitationPlace, InvitationRecord)>, StoreError> {
    tx.scan::<Invitations>(&threepid.to_bytes(), None, usize::MAX)
}

/// The invitations of this sender into this room that wait for the 3PID already.
///
/// # Errors
/// When the store fails.
pub fn same(
    tx: &Tx<'_>,
    threepid: &ThreePid,
    room_id: &RoomId,
    sender: &UserId,
    now: Timestamp,
) -> Result<Vec<(InvitationPlace, InvitationRecord)>, StoreError> {
    let mut found = of_threepid(tx, threepid)?;
    found.retain(|(_, record)| {
        record.state == InvitationState::Pending
            && now < record.expires
            && record.room_id == *room_id
            && record.sender == *sender
    });
    Ok(found)
}

/// The invitation that a token belongs to, until it ends.
///
/// # Errors
/// When the store fails.
pub fn by_token(
    tx: &Tx<'_>,
    token: &InviteTokenHash,
    now: Timestamp,
) -> Result<Option<(InvitationPlace, InvitationRecord)>, StoreError> {
    let Some(found) = tx.get::<InvitationsByToken>(token)? else {
        return Ok(None);
    };
    let place = (found.threepid, found.invite);
    let record = tx.get::<Invitations>(&place)?;
    let living = record.filter(|record| now < record.expires);
    Ok(living.map(|record| (place, record)))
}

/// Removes an invitation: its token finds nothing from then on, and its key is vouched for no longer. Answers whether
/// there was one.
///
/// # Errors
/// When the store fails.
pub fn remove(tx: &mut Tx<'_>, place: &InvitationPlace) -> Result<bool, StoreError> {
    let Some(record) = tx.get::<Invitations>(place)? else {
        return Ok(false);
    };
    tx.delete::<InvitationsByToken>(&record.token.hash())?;
    tx.delete::<EphemeralKeys>(&record.public_key)?;
    tx.delete::<Invitations>(place)?;
    Ok(true)
}

/// The invitations whose homeserver is to be told that they are this user's.
///
/// # Errors
/// When the store fails.
pub fn bound_to(
    tx: &Tx<'_>,
    threepid: &ThreePid,
    mxid: &UserId,
    now: Timestamp,
) -> Result<Vec<(InvitationPlace, InvitationRecord)>, StoreError> {
    let mut found = of_threepid(tx, threepid)?;
    found.retain(|(_, record)| {
        now < record.expires
            && matches!(&record.state, InvitationState::Bound { mxid: bound } if bound == mxid)
    });
    Ok(found)
}

/// Writes how far an invitation has come, if it is bound to this user still.
///
/// # Errors
/// When the store fails.
pub fn settle(
    tx: &mut Tx<'_>,
    place: &InvitationPlace,
    mxid: &UserId,
    state: InvitationState,
) -> Result<(), StoreError> {
    if let Some(mut record) = tx.get::<Invitations>(place)?
        && matches!(&record.state, InvitationState::Bound { mxid: bound } if bound == mxid)
    {
        record.state = state;
        tx.put::<Invitations>(place, &record)?;
    }
    Ok(())
}

/// What the user's homeserver would not take is to be told again, if the 3PID is this user's still.
pub(super) fn reopen(
    tx: &mut Tx<'_>,
    threepid: &ThreePid,
    mxid: &UserId,
) -> Result<(), StoreError> {
    let association = tx.get::<Associations>(threepid)?;
    if association.is_none_or(|association| association.mxid != *mxid) {
        return Ok(());
    }
    for (place, mut record) in of_threepid(tx, threepid)? {
        if matches!(&record.state, InvitationState::Failed { mxid: then, .. } if then == mxid) {
            record.state = InvitationState::Bound { mxid: mxid.clone() };
            tx.put::<Invitations>(&place, &record)?;
        }
    }
    Ok(())
}

/// The 3PID was bound: all of its invitations that no homeserver has taken are this user's now.
pub(super) fn hand_over(
    tx: &mut Tx<'_>,
    threepid: &ThreePid,
    mxid: &UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (place, mut record) in of_threepid(tx, threepid)? {
        let delivered = matches!(record.state, InvitationState::Delivered { .. });
        if !delivered && now < record.expires {
            record.state = InvitationState::Bound { mxid: mxid.clone() };
            tx.put::<Invitations>(&place, &record)?;
        }
    }
    Ok(())
}

/// The 3PID is bound no longer: what no homeserver has taken waits for the next one who binds it.
pub(super) fn take_back(tx: &mut Tx<'_>, threepid: &ThreePid) -> Result<(), StoreError> {
    for (place, mut record) in of_threepid(tx, threepid)? {
        if matches!(record.state, InvitationState::Bound { .. }) {
            record.state = InvitationState::Pending;
            tx.put::<Invitations>(&place, &record)?;
        }
    }
    Ok(())
}
