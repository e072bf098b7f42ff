//! Telling a homeserver that a 3PID was bound, with the invitations that waited for it.
//!
//! All invitations are told at once the first time. Homeservers refuse the whole for one invitation that they cannot use, such
//! as one into a room that is gone; so after a failure each is told alone.

use serde_json::{Map, Value};

use super::{Failure, Outbox, OutboxError, Turn};
use crate::federation::{FederationError, Outcome};
use crate::metrics::FederationCall;
use crate::storage::tables::{
    AssociationRecord, Associations, InvitationPlace, InvitationRecord, InvitationState,
    OutboxItem, OutboxPlace,
};
use crate::storage::{StoreError, associations, invitations, outbox};
use crate::types::{ThreePid, UserId};

/// What is to be told to whom.
pub(super) struct Notice {
    pub(super) place: OutboxPlace,
    pub(super) threepid: ThreePid,
    pub(super) mxid: UserId,
    /// Whether the homeserver has taken the association itself.
    pub(super) announced: bool,
    /// Whether nothing was tried yet.
    pub(super) first: bool,
}

/// An invitation, ready to be told.
struct Signed {
    place: InvitationPlace,
    json: Value,
}

/// What there is to tell about a bound 3PID.
struct Content {
    association: AssociationRecord,
    invitations: Vec<Signed>,
    /// Why others can never be told.
    unsignable: Option<String>,
}

impl Outbox {
    /// Tells the homeserver, and writes down what it has taken as soon as it has.
    pub(super) async fn tell(&self, mut notice: Notice) -> Result<Turn, OutboxError> {
        let Some(content) = self.content(&notice)? else {
            return Ok(Turn::NotWanted);
        };
        let Content {
            association,
            mut invitations,
            unsignable,
        } = content;
        let mut refusal = unsignable.map(Failure::of_good);
        if notice.first {
            let told = self.ask(&notice, &association, &invitations).await?;
            match told {
                Ok(()) => {
                    self.settle(&mut notice, &mut invitations).await?;
                }
                Err(error) if invitations.len() < 2 || !error.refuses_content() => {
                    return Ok(refused(&error, &invitations));
                }
                Err(_) => {}
            }
        }
        for invitation in invitations {
            let mut alone = vec![invitation];
            match self.ask(&notice, &association, &alone).await? {
                Ok(()) => self.settle(&mut notice, &mut alone).await?,
                Err(error) if error.refuses_content() => {
                    refusal = Some(Failure::of_this(error.to_string()));
                }
                Err(error) => return Ok(Turn::Failed(Failure::of_all(error.to_string()))),
            }
        }
        if !notice.announced {
            match self.ask(&notice, &association, &[]).await? {
                Ok(()) => self.settle(&mut notice, &mut Vec::new()).await?,
                Err(error) => {
                    return Ok(match (refused(&error, &[]), refusal) {
                        (Turn::NotWanted, Some(refusal)) => Turn::Failed(refusal),
                        (turn, _) => turn,
                    });
                }
            }
        }
        Ok(refusal.map_or(Turn::Taken, Turn::Failed))
    }

    /// What there is to tell; none if the 3PID is not this user's any more.
    fn content(&self, notice: &Notice) -> Result<Option<Content>, OutboxError> {
        let now = self.parts.clock.now();
        let (threepid, mxid) = (&notice.threepid, &notice.mxid);
        let found = self.parts.store.read(|tx| -> Result<_, StoreError> {
            let association = tx.get::<Associations>(threepid)?;
            let bound = invitations::bound_to(tx, threepid, mxid, now)?;
            Ok(association.map(|association| (association, bound)))
        })?;
        let wanted = found
            .filter(|(association, _)| association.mxid == *mxid && now < association.not_after);
        let Some((association, bound)) = wanted else {
            return Ok(None);
        };
        let mut content = Content {
            association,
            invitations: Vec::new(),
            unsignable: None,
        };
        for (place, record) in bound {
            match self.sign_invitation(threepid, mxid, &record)? {
                Ok(json) => content.invitations.push(Signed { place, json }),
                Err(reason) => content.unsignable = Some(reason),
            }
        }
        Ok(Some(content))
    }

    /// An invitation with the one signature that its homeserver expects, by the key that was named when it was stored; or
    /// why there can be none.
    fn sign_invitation(
        &self,
        threepid: &ThreePid,
        mxid: &UserId,
        record: &InvitationRecord,
    ) -> Result<Result<Value, String>, OutboxError> {
        let Some(key) = self.parts.keys.valid(&record.server_key) else {
            return Ok(Err(format!(
                "an invitation was promised to be signed by {}, which is revoked or gone",
                record.server_key
            )));
        };
        let mut signed = object([("mxid", mxid.as_str()), ("token", record.token.expose())]);
        key.sign_json(&self.settings.server_name, &mut signed)?;
        let mut json = object([
            ("medium", threepid.medium().as_str()),
            ("address", threepid.address()),
            ("mxid", mxid.as_str()),
            ("room_id", record.room_id.as_str()),
            ("sender", record.sender.as_str()),
            ("token", record.token.expose()),
        ]);
        json.insert("signed".to_owned(), signed.into());
        Ok(Ok(json.into()))
    }

    /// Sends the association with these invitations.
    async fn ask(
        &self,
        notice: &Notice,
        association: &AssociationRecord,
        invitations: &[Signed],
    ) -> Result<Result<(), FederationError>, OutboxError> {
        let threepid = &notice.threepid;
        let mut body = associations::to_json(threepid.address(), threepid, association);
        let invites: Vec<Value> = invitations
            .iter()
            .map(|signed| signed.json.clone())
            .collect();
        body.insert("invites".to_owned(), invites.into());
        let key = self.parts.keys.current();
        key.sign_json(&self.settings.server_name, &mut body)?;
        let told = self
            .parts
            .federation
            .onbind(&notice.mxid.homeserver(), &body)
            .await;
        let outcome = told
            .as_ref()
            .map_or_else(FederationError::outcome, |()| Outcome::Success);
        self.parts
            .metrics
            .federation(FederationCall::Onbind, outcome.name());
        Ok(told)
    }

    /// Writes down that the homeserver has taken the association with these invitations.
    async fn settle(&self, notice: &mut Notice, taken: &mut Vec<Signed>) -> Result<(), StoreError> {
        notice.announced = true;
        let at = self.parts.clock.now();
        let (place, mxid) = (notice.place, notice.mxid.clone());
        let taken: Vec<InvitationPlace> = taken.drain(..).map(|signed| signed.place).collect();
        self.parts
            .store
            .write(move |tx| -> Result<(), StoreError> {
                for invitation in &taken {
                    let to = mxid.clone();
                    let state = InvitationState::Delivered { mxid: to, at };
                    invitations::settle(tx, invitation, &mxid, state)?;
                }
                let Some(mut record) = outbox::get(tx, &place)? else {
                    return Ok(());
                };
                if let OutboxItem::Onbind { announced, .. } = &mut record.item {
                    *announced = true;
                }
                outbox::put(tx, &place, &record)
            })
            .await
    }
}

/// What a refusal of the whole comes to. Without invitations it is the homeserver's own trouble, unless it has no such
/// call: then there is nothing that it could do with the word.
fn refused(error: &FederationError, invitations: &[Signed]) -> Turn {
    let reason = error.to_string();
    match error {
        FederationError::NoSuchCall(_) if invitations.is_empty() => Turn::NotWanted,
        error if error.refuses_content() && !invitations.is_empty() => {
            Turn::Failed(Failure::of_this(reason))
        }
        _ => Turn::Failed(Failure::of_all(reason)),
    }
}

fn object<const N: usize>(fields: [(&str, &str); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}
