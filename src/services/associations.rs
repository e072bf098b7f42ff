//! Publishing the link between a 3PID and a user, taking it back, and answering who is bound.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::config;
use crate::federation::{Federation, FederationError, Outcome, SignedRequest};
use crate::limits::{Action, Limited, Limits, Subject};
use crate::metrics::{FederationCall, Metrics};
use crate::random::{Random, RandomError};
use crate::signing::{CanonicalError, ServerKeys};
use crate::storage::associations;
use crate::storage::sessions::{self, Session};
use crate::storage::tables::{AssociationRecord, Associations as AssociationsTable};
use crate::storage::{Store, StoreError};
use crate::types::{ClientSecret, ClientSecretHash, ServerName, Sid, ThreePid, UserId};

/// What of the configuration associations need.
#[derive(Debug, Clone)]
pub struct AssociationsSettings {
    /// The name that associations are signed under.
    pub server_name: ServerName,
    /// How long a new association promises to hold.
    pub lifetime: Duration,
    /// Whose users are served.
    pub accounts: config::Accounts,
    /// The names that homeservers may call this server by.
    pub our_names: Vec<String>,
}

/// Why a bind was refused.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No such session for this secret.
    #[error("there is no such session")]
    NoSession,
    /// The session came to its end.
    #[error("the session has expired")]
    Expired,
    /// Nobody has submitted the token yet.
    #[error("the session is not validated")]
    NotValidated,
    /// An account binds for another user.
    #[error("the user is not the account's own")]
    OtherUser,
    /// The user's homeserver is not served here.
    #[error("users of this homeserver are not served")]
    NotServed,
    /// The association could not be signed.
    #[error("the association could not be signed")]
    Sign(#[from] CanonicalError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an unbind was refused.
#[derive(Debug, thiserror::Error)]
pub enum UnbindError {
    /// No such session for this secret, or a session of another 3PID.
    #[error("the session does not prove this 3PID")]
    Forbidden,
    /// The session came to its end.
    #[error("the session has expired")]
    Expired,
    /// Nobody has submitted the token yet.
    #[error("the session is not validated")]
    NotValidated,
    /// The homeserver's signature is false, or cannot be checked.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// Too much from one source.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a lookup failed.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Too much from one source.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The association could not be signed.
    #[error("the association could not be signed")]
    Sign(#[from] CanonicalError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An association, signed: the JSON object of the specification.
pub type SignedAssociation = Map<String, Value>;

/// The service.
pub struct Associations {
    parts: AssociationsParts,
    settings: AssociationsSettings,
}

/// What associations are put together from.
pub struct AssociationsParts {
    /// The store.
    pub store: Store,
    /// What associations are signed with.
    pub keys: Arc<ServerKeys>,
    /// Checks what homeservers signed.
    pub federation: Federation,
    /// Counts unbinds.
    pub limits: Arc<Limits>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids of what is to be told to homeservers.
    pub random: Random,
    /// Counts what is done.
    pub metrics: Arc<Metrics>,
}

impl Associations {
    /// The service over its parts.
    pub fn new(parts: AssociationsParts, settings: AssociationsSettings) -> Self {
        Self { parts, settings }
    }

    /// Binds the 3PID that the session proves to the user, in place of whoever it was bound to, and answers the signed
    /// association (identity service, `POST 3pid/bind`). On v2 an `account` binds for itself only. The user's homeserver is
    /// told by the outbox, with the invitations that waited.
    ///
    /// # Errors
    /// When the session does not prove anything now, or the user is another's or not served here.
    pub async fn bind(
        &self,
        sid: Sid,
        client_secret: &ClientSecret,
        mxid: UserId,
        account: Option<&UserId>,
    ) -> Result<SignedAssociation, BindError> {
        if account.is_some_and(|account| *account != mxid) {
            return Err(BindError::OtherUser);
        }
        if !self.settings.accounts.allows(mxid.server_name()) {
            return Err(BindError::NotServed);
        }
        let now = self.parts.clock.now();
        let secret = client_secret.hash();
        let record = AssociationRecord {
            mxid,
            ts: now,
            not_before: now,
            not_after: now.plus(self.settings.lifetime),
        };
        let stored = record.clone();
        let notice = self.parts.random.record_id()?;
        let threepid = self
            .parts
            .store
            .write(move |tx| -> Result<_, BindError> {
                let session = match sessions::find(tx, &sid, &secret, now)? {
                    None => return Err(BindError::NoSession),
                    Some(Session::Expired) => return Err(BindError::Expired),
                    Some(Session::Pending(_)) => return Err(BindError::NotValidated),
                    Some(Session::Validated(session)) => session,
                };
                associations::bind(tx, &session.threepid, &stored, notice)?;
                Ok(session.threepid)
            })
            .await?;
        self.parts.metrics.bound();
        Ok(self.sign(threepid.address(), &threepid, &record)?)
    }

    /// Removes the association of the 3PID with the user, if the session proves the 3PID. Nothing bound, or somebody
    /// else, is no error: the caller does not learn which (identity service, `POST 3pid/unbind`).
    ///
    /// # Errors
    /// When the session does not prove the 3PID now.
    pub async fn unbind_by_session(
        &self,
        sid: Sid,
        client_secret: &ClientSecret,
        mxid: UserId,
        threepid: ThreePid,
    ) -> Result<(), UnbindError> {
        let now = self.parts.clock.now();
        let secret: ClientSecretHash = client_secret.hash();
        self.parts
            .store
            .write(move |tx| -> Result<(), UnbindError> {
                let session = match sessions::find(tx, &sid, &secret, now)? {
                    Some(Session::Expired) => return Err(UnbindError::Expired),
                    Some(Session::Pending(session)) if *session.threepid() == threepid => {
                        return Err(UnbindError::NotValidated);
                    }
                    Some(Session::Validated(session)) if session.threepid == threepid => session,
                    Some(_) | None => return Err(UnbindError::Forbidden),
                };
                Ok(associations::remove(tx, &session.threepid, &mxid)?)
            })
            .await?;
        self.parts.metrics.unbound();
        Ok(())
    }

    /// Removes the association of the 3PID with the user, if the user's own homeserver signed the request. The address
    /// may be none that can be bound: then there is nothing to remove (identity service, `POST 3pid/unbind`).
    ///
    /// # Errors
    /// When the signature is false, or the homeserver's keys cannot be had.
    pub async fn unbind_by_homeserver(
        &self,
        request: SignedRequest<'_>,
        mxid: UserId,
        threepid: Option<ThreePid>,
        peer: Option<IpAddr>,
    ) -> Result<(), UnbindError> {
        if let Some(ip) = peer {
            self.parts
                .limits
                .take(Action::UnbindsByIp, Subject::Ip(ip))?;
        }
        let request = SignedRequest {
            our_names: &self.settings.our_names,
            ..request
        };
        // Nobody else's keys are fetched for a user of this homeserver.
        if request.claimed_origin()?.as_str() != mxid.server_name() {
            return Err(UnbindError::Forbidden);
        }
        let verified = self.parts.federation.verify_request(&request).await;
        let outcome = verified
            .as_ref()
            .map_or_else(FederationError::outcome, |_| Outcome::Success);
        self.parts
            .metrics
            .federation(FederationCall::Signature, outcome.name());
        verified?;
        let Some(threepid) = threepid else {
            return Ok(());
        };
        self.parts
            .store
            .write(move |tx| -> Result<(), UnbindError> {
                Ok(associations::remove(tx, &threepid, &mxid)?)
            })
            .await
    }

    /// The signed association of a 3PID, with the address as it was asked for (identity service v1, `GET lookup`).
    ///
    /// # Errors
    /// When the source has asked for too much, or the store or the signing fails.
    pub fn lookup(
        &self,
        asked: &str,
        threepid: &ThreePid,
        peer: Option<IpAddr>,
    ) -> Result<Option<SignedAssociation>, LookupError> {
        self.count_lookups(1, peer)?;
        let found = self
            .parts
            .store
            .read(|tx| tx.get::<AssociationsTable>(threepid))?;
        self.parts.metrics.looked_up(1);
        let now = self.parts.clock.now();
        match found.filter(|record| now < record.not_after) {
            Some(record) => Ok(Some(self.sign(asked, threepid, &record)?)),
            None => Ok(None),
        }
    }

    /// Who each 3PID is bound to, in the order asked (identity service v1, `POST bulk_lookup`).
    ///
    /// # Errors
    /// When the source has asked for too much, or the store fails.
    pub fn lookup_many(
        &self,
        threepids: &[ThreePid],
        peer: Option<IpAddr>,
    ) -> Result<Vec<Option<UserId>>, LookupError> {
        self.count_lookups(threepids.len(), peer)?;
        let now = self.parts.clock.now();
        let records = self
            .parts
            .store
            .read(|tx| tx.get_many::<AssociationsTable>(threepids))?;
        self.parts.metrics.looked_up(threepids.len());
        let holding = |record: AssociationRecord| (now < record.not_after).then_some(record.mxid);
        Ok(records
            .into_iter()
            .map(|record| record.and_then(holding))
            .collect())
    }

    fn count_lookups(&self, addresses: usize, peer: Option<IpAddr>) -> Result<(), Limited> {
        let addresses = u32::try_from(addresses).unwrap_or(u32::MAX);
        let (Some(addresses), Some(ip)) = (NonZeroU32::new(addresses), peer) else {
            return Ok(());
        };
        self.parts
            .limits
            .take_many(Action::LookupsByIp, Subject::Ip(ip), addresses)
    }

    fn sign(
        &self,
        address: &str,
        threepid: &ThreePid,
        record: &AssociationRecord,
    ) -> Result<SignedAssociation, CanonicalError> {
        let mut object = associations::to_json(address, threepid, record);
        self.parts
            .keys
            .current()
            .sign_json(&self.settings.server_name, &mut object)?;
        Ok(object)
    }
}
