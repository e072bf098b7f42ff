//! Listing, mailing again and revoking invitations, a step at a time.

use serde::{Deserialize, Serialize};

use super::{Admin, AdminAnswer, AdminError, STEP, audit};
use crate::storage::tables::{InvitationPlace, InvitationRecord, InvitationState, OutboxItem};
use crate::storage::{StoreError, Tx, invitations, outbox};
use crate::types::{KeyId, RecordId, RoomId, ThreePid, Timestamp, UserId};

/// Which invitations are taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InviteTarget {
    /// The one with this id.
    Invite(RecordId),
    /// Those of a user.
    Sender(UserId),
    /// Those for a 3PID.
    Threepid(ThreePid),
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteInfo {
    /// Its id, by which commands name it.
    pub id: RecordId,
    /// Who is invited.
    pub threepid: ThreePid,
    /// By whom.
    pub sender: UserId,
    /// Into which room.
    pub room_id: RoomId,
    /// How far it has come.
    pub state: InviteState,
    /// Who has bound the address, once somebody has.
    pub mxid: Option<UserId>,
    /// When it was stored.
    pub stored: Timestamp,
    /// When it was delivered, or given up.
    pub at: Option<Timestamp>,
    /// When it ends.
    pub expires: Timestamp,
    /// The server key that signs it.
    pub server_key: KeyId,
}

/// How far an invitation has come, as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InviteState {
    /// Waits for somebody to bind the address.
    Pending,
    /// Somebody has, and their homeserver is being told.
    Bound,
    /// The homeserver has taken it.
    Delivered,
    /// The homeserver would not take it.
    Failed,
    /// It came to its end before it was delivered.
    Expired,
}

impl Admin {
    /// One page of invitations.
    pub(super) fn list_invitations(
        &self,
        sender: Option<&UserId>,
        threepid: Option<&ThreePid>,
        after: Option<&InvitationPlace>,
    ) -> Result<AdminAnswer, StoreError> {
        let now = self.parts.clock.now();
        let (rows, after) = self.page(threepid, after)?;
        let items = rows
            .into_iter()
            .filter(|(_, record)| sender.is_none_or(|sender| record.sender == *sender))
            .map(|(place, record)| info(place, record, now))
            .collect();
        Ok(AdminAnswer::Invites { items, after })
    }

    /// Has the mail of an invitation sent again, by the server that runs or the next one that does.
    pub(super) async fn resend_invitation(
        &self,
        invite: RecordId,
        actor: &str,
    ) -> Result<usize, AdminError> {
        let now = self.parts.clock.now();
        let found = self.find_invitation(invite)?;
        let Some(((threepid, _), record)) = found else {
            return Ok(0);
        };
        if record.state != InvitationState::Pending || now >= record.expires {
            return Err(AdminError::InviteNotPending(invite));
        }
        let id = self.parts.random.record_id()?;
        self.parts
            .store
            .write(move |tx| -> Result<(), StoreError> {
                let item = OutboxItem::Invitation {
                    threepid: threepid.clone(),
                    invite,
                };
                outbox::queue(tx, id, item, now, now)
            })
            .await?;
        audit(actor, &format!("has the invitation {invite} mailed again"));
        Ok(1)
    }

    /// Takes invitations back; answers how many there were.
    pub(super) async fn revoke_invitations(
        &self,
        target: InviteTarget,
        actor: &str,
    ) -> Result<usize, AdminError> {
        let which = match &target {
            InviteTarget::Invite(invite) => format!("with the id {invite}"),
            InviteTarget::Sender(sender) => format!("of {sender}"),
            InviteTarget::Threepid(threepid) => format!("for {}", threepid.masked()),
        };
        let removed = self.remove_targeted(target).await?;
        audit(actor, &format!("revoked {removed} invitations {which}"));
        Ok(removed)
    }

    async fn remove_targeted(&self, target: InviteTarget) -> Result<usize, StoreError> {
        let (sender, threepid) = match target {
            InviteTarget::Invite(invite) => {
                let places = self.find_invitation(invite)?.map(|(place, _)| place);
                return self.remove_invitations(places.into_iter().collect()).await;
            }
            InviteTarget::Sender(sender) => (Some(sender), None),
            InviteTarget::Threepid(threepid) => (None, Some(threepid)),
        };
        let mut removed = 0;
        let mut after: Option<InvitationPlace> = None;
        loop {
            let (rows, next) = self.page(threepid.as_ref(), after.as_ref())?;
            let rows = rows.into_iter();
            let wanted = rows.filter(|(_, record)| {
                sender
                    .as_ref()
                    .is_none_or(|sender| record.sender == *sender)
            });
            let places = wanted.map(|(place, _)| place).collect();
            removed += self.remove_invitations(places).await?;
            if next.is_none() {
                return Ok(removed);
            }
            after = next;
        }
    }

    /// How many invitations are still to be signed by a server key.
    pub(super) fn invitations_signed_by(&self, key: &KeyId) -> Result<usize, StoreError> {
        let now = self.parts.clock.now();
        let mut waiting = 0;
        let mut after: Option<InvitationPlace> = None;
        loop {
            let (rows, next) = self.page(None, after.as_ref())?;
            let waits = |record: &InvitationRecord| {
                let delivered = matches!(record.state, InvitationState::Delivered { .. });
                !delivered && now < record.expires && record.server_key == *key
            };
            waiting += rows.iter().filter(|(_, record)| waits(record)).count();
            if next.is_none() {
                return Ok(waiting);
            }
            after = next;
        }
    }

    async fn remove_invitations(&self, places: Vec<InvitationPlace>) -> Result<usize, StoreError> {
        if places.is_empty() {
            return Ok(0);
        }
        let remove = move |tx: &mut Tx<'_>| {
            places.iter().try_fold(0, |removed, place| {
                Ok(removed + usize::from(invitations::remove(tx, place)?))
            })
        };
        self.parts.store.write(remove).await
    }

    /// The invitation with this id, which only an operator asks for: all rows are looked at.
    fn find_invitation(
        &self,
        invite: RecordId,
    ) -> Result<Option<(InvitationPlace, InvitationRecord)>, StoreError> {
        let mut after: Option<InvitationPlace> = None;
        loop {
            let (rows, next) = self.page(None, after.as_ref())?;
            let found = rows.into_iter().find(|((_, id), _)| *id == invite);
            if found.is_some() || next.is_none() {
                return Ok(found);
            }
            after = next;
        }
    }

    /// Some invitations, and where they go on.
    fn page(
        &self,
        threepid: Option<&ThreePid>,
        after: Option<&InvitationPlace>,
    ) -> Result<Page, StoreError> {
        let rows = self
            .parts
            .store
            .read(|tx| invitations::list(tx, threepid, after, STEP))?;
        let last = rows.last().map(|(place, _)| place.clone());
        let next = last.filter(|_| rows.len() == STEP);
        Ok((rows, next))
    }
}

type Page = (
    Vec<(InvitationPlace, InvitationRecord)>,
    Option<InvitationPlace>,
);

fn info((threepid, id): InvitationPlace, record: InvitationRecord, now: Timestamp) -> InviteInfo {
    let (state, mxid, at) = match record.state {
        InvitationState::Pending => (InviteState::Pending, None, None),
        InvitationState::Bound { mxid } => (InviteState::Bound, Some(mxid), None),
        InvitationState::Delivered { mxid, at } => (InviteState::Delivered, Some(mxid), Some(at)),
        InvitationState::Failed { mxid, at } => (InviteState::Failed, Some(mxid), Some(at)),
    };
    InviteInfo {
        id,
        threepid,
        sender: record.sender,
        room_id: record.room_id,
        state: if now >= record.expires && state != InviteState::Delivered {
            InviteState::Expired
        } else {
            state
        },
        mxid,
        stored: record.stored,
        at,
        expires: record.expires,
        server_key: record.server_key,
    }
}
