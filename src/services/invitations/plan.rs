//! What a request to invite does in the store: the invitation that waits already, or a new one.

use super::InviteError;
use crate::signing::{EphemeralKey, ServerKeys, ServerSecret};
use crate::storage::tables::{Associations, InvitationPlace, InvitationRecord, Invitations};
use crate::storage::{StoreError, Tx, invitations};
use crate::types::{ThreePid, Timestamp, UserId};

/// The invitation of a request, once it is written.
pub(super) struct Planned {
    pub(super) place: InvitationPlace,
    pub(super) record: InvitationRecord,
    /// The public half of the server key that the answer names.
    pub(super) server_key: [u8; 32],
    /// Whether it is a new one.
    pub(super) created: bool,
}

/// The user that a 3PID is bound to.
pub(super) fn bound(
    tx: &Tx<'_>,
    threepid: &ThreePid,
    now: Timestamp,
) -> Result<Option<UserId>, StoreError> {
    let record = tx.get::<Associations>(threepid)?;
    Ok(record
        .filter(|record| now < record.not_after)
        .map(|record| record.mxid))
}

/// Writes the wanted invitation, unless the same one waits already.
pub(super) fn carry_out(
    tx: &mut Tx<'_>,
    place: &InvitationPlace,
    wanted: &InvitationRecord,
    keys: &ServerKeys,
    secret: &ServerSecret,
    now: Timestamp,
) -> Result<Planned, InviteError> {
    // Somebody may have bound it since it was looked at.
    if let Some(mxid) = bound(tx, &place.0, now)? {
        return Err(InviteError::InUse(mxid));
    }
    let same = invitations::same(tx, &place.0, &wanted.room_id, &wanted.sender, now)?;
    // What was stored under another secret cannot be mailed again.
    let same = same.into_iter().find(|(place, record)| {
        EphemeralKey::of_invitation(secret, &place.0, &place.1)
            .is_ok_and(|key| key.public_key() == record.public_key)
    });
    let created = same.is_none();
    let (place, mut record) = match same {
        Some(same) => same,
        None => (place.clone(), wanted.clone()),
    };
    let current = keys.current();
    let server_key = keys.valid(&record.server_key).unwrap_or(current);
    // A key that was revoked meanwhile has a successor, which this answer names.
    record.server_key = server_key.id().clone();
    if created {
        invitations::put(tx, &place, &record)?;
    } else {
        // The mail says what the newest request says.
        record.details = wanted.details.clone();
        record.language.clone_from(&wanted.language);
        record.brand.clone_from(&wanted.brand);
        tx.put::<Invitations>(&place, &record)?;
    }
    Ok(Planned {
        place,
        record,
        server_key: server_key.public_key(),
        created,
    })
}
