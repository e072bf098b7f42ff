//! Inviting an e-mail address into a room: storing the invitation, mailing it, and signing for whoever has the mail.

mod display_name;
mod link;
mod plan;
mod policy;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Map, Value};

use self::plan::Planned;
use self::policy::Policy;
use crate::clock::Clock;
use crate::config;
use crate::limits::{Action, Limited, Limits, Subject};
use crate::mail::{Mailer, SendError};
use crate::metrics::{InviteOutcome, MailOutcome, Metrics};
use crate::random::{Random, RandomError};
use crate::signing::{CanonicalError, EphemeralKey, ServerKeys, ServerSecret, encode_base64};
use crate::storage::tables::{
    InvitationPlace, InvitationRecord, InvitationState, Invitations as InvitationsTable, OutboxItem,
};
use crate::storage::{Store, StoreError, invitations, outbox};
use crate::templates::{Invitation, Message, RenderError, Templates};
use crate::types::{
    Email, Invalid, InviteDetails, InviteToken, LookupHash, RoomId, ServerName, ThreePid, UserId,
};

/// How long whoever invites waits for the mail server; after that the mail is tried again later.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a mail that did not go out is tried again for the first time.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// What of the configuration invitations need.
#[derive(Debug, Clone)]
pub struct InvitationsSettings {
    /// The name that everything is signed under.
    pub server_name: ServerName,
    /// Scheme and authority that the URLs of keys, and the one that signs, start with.
    pub public_url: String,
    /// Where mails lead, what is revealed, what is refused.
    pub invites: config::Invites,
    /// Whose users are served.
    pub accounts: config::Accounts,
}

/// A request to invite.
#[derive(Debug)]
pub struct InviteRequest {
    /// Who is invited.
    pub email: Email,
    /// Into which room.
    pub room_id: RoomId,
    /// By whom.
    pub sender: UserId,
    /// What the mail says besides.
    pub details: InviteDetails,
    /// The language of the mail.
    pub language: Option<String>,
    /// The brand of the mail.
    pub brand: Option<String>,
}

/// An invitation as the homeserver puts it into the room (identity service, `POST store-invite`).
#[derive(Debug)]
pub struct StoredInvite {
    /// The token that names it.
    pub token: InviteToken,
    /// The server key that signs it, in unpadded base64.
    pub server_key: String,
    /// Its own key, in unpadded base64.
    pub ephemeral_key: String,
    /// The address, as far as it is revealed.
    pub display_name: String,
}

/// Why an invitation was refused.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// An account invites for another user.
    #[error("the sender is not the account's own user")]
    OtherUser,
    /// The sender's homeserver is not served here.
    #[error("users of this homeserver are not served")]
    NotServed,
    /// The operator does not want it.
    #[error("the invitation is blocked")]
    Blocked,
    /// The address is bound to this user, who can be invited without our help.
    #[error("the address is bound already")]
    InUse(UserId),
    /// Too many.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The mail was refused.
    #[error("the mail could not be sent")]
    Send(#[from] SendError),
    /// Our templates failed.
    #[error("the mail could not be written")]
    Template(#[from] RenderError),
    /// The mail cannot be written again.
    #[error("the server's secret is another one than when the invitation was stored")]
    OtherSecret,
    /// The invitation's key could not be made.
    #[error("the invitation's key could not be made: it must be {0}")]
    Key(#[from] Invalid),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No invitation has this token, or it has ended.
    #[error("there is no such invitation")]
    Unknown,
    /// The key is not the invitation's.
    #[error("the private key is not the invitation's")]
    NotItsKey,
    /// What was to be signed has no canonical form.
    #[error("the invitation could not be signed")]
    Sign(#[from] CanonicalError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What invitations are put together from.
pub struct InvitationsParts {
    /// The store.
    pub store: Store,
    /// Sends the mails.
    pub mailer: Mailer,
    /// Writes the mails.
    pub templates: Arc<Templates>,
    /// Counts invitations, and what they tell of who is bound.
    pub limits: Arc<Limits>,
    /// The server's keys, of which an invitation names one.
    pub keys: Arc<ServerKeys>,
    /// The keys of invitations are derived from it.
    pub secret: Arc<ServerSecret>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and tokens.
    pub random: Random,
    /// Counts invitations and mails.
    pub metrics: Arc<Metrics>,
}

/// The service.
pub struct Invitations {
    parts: InvitationsParts,
    server_name: ServerName,
    public_url: String,
    rules: ArcSwap<Rules>,
}

/// What can change while the server runs.
struct Rules {
    invites: config::Invites,
    accounts: config::Accounts,
    policy: Policy,
}

impl Rules {
    fn new(invites: config::Invites, accounts: config::Accounts) -> Self {
        Self {
            policy: Policy::new(&invites),
            invites,
            accounts,
        }
    }
}

impl Invitations {
    /// The service over its parts.
    pub fn new(parts: InvitationsParts, settings: InvitationsSettings) -> Self {
        let InvitationsSettings {
            server_name,
            public_url,
            invites,
            accounts,
        } = settings;
        Self {
            parts,
            server_name,
            public_url,
            rules: ArcSwap::from_pointee(Rules::new(invites, accounts)),
        }
    }

    /// From now on these settings hold; how long an invitation lasts, for new ones.
    pub fn reload(&self, invites: config::Invites, accounts: config::Accounts) {
        self.rules.store(Arc::new(Rules::new(invites, accounts)));
    }

    /// Stores an invitation and mails it. The one that waits already, of the same sender into the same room, is mailed again
    /// instead (identity service, `POST store-invite`). On v2 an `account` invites for itself only.
    ///
    /// # Errors
    /// Nothing is stored or mailed then; only one that was there before stays.
    pub async fn store(
        &self,
        request: InviteRequest,
        account: Option<&UserId>,
        peer: Option<IpAddr>,
    ) -> Result<StoredInvite, InviteError> {
        let stored = self.try_to_store(request, account, peer).await;
        self.parts.metrics.invited(match &stored {
            Ok((_, true)) => InviteOutcome::Stored,
            Ok((_, false)) => InviteOutcome::Resent,
            Err(_) => InviteOutcome::Refused,
        });
        Ok(stored?.0)
    }

    /// Answers also whether the invitation is a new one.
    async fn try_to_store(
        &self,
        request: InviteRequest,
        account: Option<&UserId>,
        peer: Option<IpAddr>,
    ) -> Result<(StoredInvite, bool), InviteError> {
        let (rules, parts) = (self.rules.load_full(), &self.parts);
        if account.is_some_and(|account| *account != request.sender) {
            return Err(InviteError::OtherUser);
        }
        if !rules.accounts.allows(request.sender.server_name()) {
            return Err(InviteError::NotServed);
        }
        if !rules.policy.allows(&request) {
            return Err(InviteError::Blocked);
        }
        let threepid = ThreePid::from(request.email.clone());
        let now = parts.clock.now();
        self.count_lookup(account, &threepid, peer)?;
        if let Some(mxid) = parts.store.read(|tx| plan::bound(tx, &threepid, now))? {
            return Err(InviteError::InUse(mxid));
        }
        parts.mailer.check(&request.email)?;
        self.take_limits(&request.sender, account, &threepid, peer)?;

        let display_name = display_name::shorten(
            &request.email,
            rules.invites.reveal_username,
            rules.invites.reveal_domain,
        );
        let invite = parts.random.record_id()?;
        let place = (threepid, invite);
        let key = EphemeralKey::of_invitation(&parts.secret, &place.0, &invite)?;
        let wanted = InvitationRecord {
            token: parts.random.invite_token()?,
            sender: request.sender,
            room_id: request.room_id,
            details: request.details,
            language: request.language,
            brand: request.brand,
            public_key: key.public_key(),
            server_key: parts.keys.current().id().clone(),
            stored: now,
            expires: now.plus(rules.invites.expire_after),
            state: InvitationState::Pending,
        };
        let (keys, secret) = (Arc::clone(&parts.keys), Arc::clone(&parts.secret));
        let planned = parts
            .store
            .write(move |tx| plan::carry_out(tx, &place, &wanted, &keys, &secret, now))
            .await?;
        if let Err(error) = self.mail_or_queue(&planned).await {
            if planned.created {
                let place = planned.place.clone();
                parts
                    .store
                    .write(move |tx| invitations::remove(tx, &place))
                    .await?;
            }
            return Err(error);
        }
        let Planned {
            record,
            server_key,
            created,
            ..
        } = planned;
        let stored = StoredInvite {
            token: record.token,
            server_key: encode_base64(&server_key),
            ephemeral_key: encode_base64(&record.public_key),
            display_name,
        };
        Ok((stored, created))
    }

    /// Signs, by the private key that the mail carries, that a user has the invitation with this token (identity service,
    /// `POST sign-ed25519`). The key stays valid: homeservers ask for it afterwards.
    ///
    /// # Errors
    /// When there is no such invitation, or the key is another one's.
    pub fn sign(
        &self,
        mxid: &UserId,
        token: &InviteToken,
        key: &EphemeralKey,
    ) -> Result<Map<String, Value>, SignError> {
        let now = self.parts.clock.now();
        let found = self
            .parts
            .store
            .read(|tx| invitations::by_token(tx, &token.hash(), now))?;
        let (_, record) = found.ok_or(SignError::Unknown)?;
        // Both are public halves: whoever has the private one may know.
        if record.public_key != key.public_key() {
            return Err(SignError::NotItsKey);
        }
        let mut object = Map::new();
        object.insert("mxid".to_owned(), mxid.as_str().into());
        object.insert("sender".to_owned(), record.sender.as_str().into());
        object.insert("token".to_owned(), token.expose().into());
        key.sign_json(&self.server_name, &mut object)?;
        Ok(object)
    }

    /// Mails an invitation that could not be mailed at once, or is to be mailed again, if it still waits for somebody to bind
    /// the address. Answers whether it does.
    ///
    /// # Errors
    /// When the mail was not taken.
    pub async fn send_queued(&self, place: &InvitationPlace) -> Result<bool, InviteError> {
        let now = self.parts.clock.now();
        let found = self
            .parts
            .store
            .read(|tx| tx.get::<InvitationsTable>(place))?;
        match found {
            Some(record) if record.state == InvitationState::Pending && now < record.expires => {
                self.mail(place, &record).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The URL under which homeservers ask whether the key of the server holds.
    pub fn server_key_url(&self) -> String {
        format!("{}/_matrix/identity/v2/pubkey/isvalid", self.public_url)
    }

    /// The URL under which homeservers ask whether the key of an invitation holds.
    pub fn ephemeral_key_url(&self) -> String {
        format!(
            "{}/_matrix/identity/v2/pubkey/ephemeral/isvalid",
            self.public_url
        )
    }

    /// To learn that an address is bound is to look it up, and counts as that.
    fn count_lookup(
        &self,
        account: Option<&UserId>,
        threepid: &ThreePid,
        peer: Option<IpAddr>,
    ) -> Result<(), InviteError> {
        let Some(account) = account else {
            if let Some(ip) = peer {
                self.parts
                    .limits
                    .take(Action::LookupsByIp, Subject::Ip(ip))?;
            }
            return Ok(());
        };
        let peppers = self
            .parts
            .store
            .read(|tx| Ok::<_, StoreError>(tx.peppers()))?;
        if let Some(peppers) = peppers {
            let hash = LookupHash::of(threepid.address(), threepid.medium(), &peppers.current);
            self.parts
                .limits
                .take_lookups(account, std::iter::once(&hash))?;
        }
        Ok(())
    }

    fn take_limits(
        &self,
        sender: &UserId,
        account: Option<&UserId>,
        threepid: &ThreePid,
        peer: Option<IpAddr>,
    ) -> Result<(), Limited> {
        let limits = &self.parts.limits;
        let address = Subject::ThreePid(threepid);
        limits.peek(Action::InvitesByAddress, address)?;
        limits.peek(Action::InvitesBySender, Subject::User(sender))?;
        // On v2 the source is a homeserver, which asks for all of its users.
        if let (None, Some(ip)) = (account, peer) {
            limits.take(Action::EmailByIp, Subject::Ip(ip))?;
        }
        limits.take(Action::InvitesBySender, Subject::User(sender))?;
        limits.take(Action::InvitesByAddress, address)
    }

    /// Tries the mail now; what fails for the moment is tried again later, also after a restart.
    async fn mail_or_queue(&self, planned: &Planned) -> Result<(), InviteError> {
        let mailing = self.mail(&planned.place, &planned.record);
        match tokio::time::timeout(PATIENCE, mailing).await {
            Ok(Err(InviteError::Send(SendError::Temporary(trouble)))) => {
                log::warn!("the mail of an invitation is tried again later: {trouble}");
            }
            Ok(mailed) => return mailed,
            Err(_) => log::warn!("the mail of an invitation takes long, and is tried again later"),
        }
        let (threepid, invite) = planned.place.clone();
        let (id, now) = (self.parts.random.record_id()?, self.parts.clock.now());
        self.parts
            .store
            .write(move |tx| -> Result<(), StoreError> {
                let item = OutboxItem::Invitation {
                    threepid: threepid.clone(),
                    invite,
                };
                outbox::queue(tx, id, item, now.plus(FIRST_PAUSE), now)
            })
            .await?;
        Ok(())
    }

    async fn mail(
        &self,
        place: &InvitationPlace,
        record: &InvitationRecord,
    ) -> Result<(), InviteError> {
        let (rules, parts) = (self.rules.load_full(), &self.parts);
        let ThreePid::Email(email) = &place.0 else {
            return Err(SendError::Address.into());
        };
        let key = EphemeralKey::of_invitation(&parts.secret, &place.0, &place.1)?;
        if key.public_key() != record.public_key {
            return Err(InviteError::OtherSecret);
        }
        let client = link::client(&rules.invites, &record.details);
        let inviter = policy::inviter(&record.sender, &record.details);
        let link = link::join(&client, &self.public_url, email, record, &key);
        let message = Message::Invitation {
            server: &self.server_name,
            invitation: Invitation {
                inviter,
                room: record.details.get("room_name"),
                is_space: record.details.get("room_type") == Some("m.space"),
                link: &link,
                lifetime: record.expires.since(parts.clock.now()),
                details: &record.details,
            },
        };
        let mail = parts.templates.render_mail(
            message,
            record.language.as_deref(),
            record.brand.as_deref(),
        )?;
        let sent = parts.mailer.send(email, mail).await;
        let outcome = sent
            .as_ref()
            .map_or_else(SendError::outcome, |()| MailOutcome::Sent);
        parts.metrics.mail(outcome);
        Ok(sent?)
    }
}
