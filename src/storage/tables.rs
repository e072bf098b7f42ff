//! The catalogue of tables: for each its keys and its record. The bytes are made in `codec`.

use serde::{Deserialize, Serialize};

use super::codec::{Key, Record};
use crate::types::{
    AccessTokenHash, ClientSecretHash, InviteDetails, InviteToken, InviteTokenHash, KeyId,
    KeyState, Pepper, RecordId, RoomId, Sid, ThreePid, Timestamp, UserId,
};

/// A table: a name, a number that stands in files, and what its rows look like.
pub trait Table: 'static {
    /// The name in messages.
    const NAME: &'static str;
    /// The number that stands for the table in files; never given twice.
    const ID: u8;
    /// What a row is found by.
    type Key: Key;
    /// What a row holds.
    type Record: Record;
}

/// One line of the catalogue.
pub(super) struct TableInfo {
    /// The number of the table.
    pub(super) id: u8,
    /// The name in messages.
    pub(super) name: &'static str,
    /// Whether a row can be read.
    pub(super) reads: fn(&[u8], &[u8]) -> bool,
}

const fn info<T: Table>() -> TableInfo {
    TableInfo {
        id: T::ID,
        name: T::NAME,
        reads: |key, record| {
            T::Key::from_bytes(key).is_some() && T::Record::from_bytes(record).is_some()
        },
    }
}

/// All tables there are.
pub(super) const TABLES: &[TableInfo] = &[
    info::<Sessions>(),
    info::<SessionsByThreePid>(),
    info::<Associations>(),
    info::<AssociationsByUser>(),
    info::<Invitations>(),
    info::<InvitationsByToken>(),
    info::<EphemeralKeys>(),
    info::<Accounts>(),
    info::<AccountsByUser>(),
    info::<AcceptedTerms>(),
    info::<Outbox>(),
    info::<Meta>(),
    info::<Budgets>(),
];

/// Validation sessions by sid.
pub enum Sessions {}

impl Table for Sessions {
    const NAME: &'static str = "sessions";
    const ID: u8 = 1;
    type Key = Sid;
    type Record = SessionRecord;
}

/// A validation session as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// What is to be proved.
    pub threepid: ThreePid,
    /// The hash of the secret of the client that asked.
    pub client_secret: ClientSecretHash,
    /// The highest `send_attempt` for which a message went out; none while none did.
    pub send_attempt: Option<u64>,
    /// How many wrong tokens were tried.
    pub wrong_tries: u32,
    /// When it was asked for.
    pub created: Timestamp,
    /// When the right token came; none while it did not.
    pub validated_at: Option<Timestamp>,
    /// When it ends: for a pending session the time to confirm, for a validated one the time to use it.
    pub expires: Timestamp,
    /// Where the user goes on after confirming.
    pub next_link: Option<String>,
    /// The language of messages and pages.
    pub language: Option<String>,
    /// The brand of messages and pages.
    pub brand: Option<String>,
}

/// The one session that a client with this secret has for a 3PID.
pub enum SessionsByThreePid {}

impl Table for SessionsByThreePid {
    const NAME: &'static str = "session by 3PID";
    const ID: u8 = 2;
    type Key = (ThreePid, ClientSecretHash);
    type Record = SidRecord;
}

/// Points to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidRecord {
    /// The session's id.
    pub sid: Sid,
}

/// Associations by 3PID: who is bound.
pub enum Associations {}

impl Table for Associations {
    const NAME: &'static str = "associations";
    const ID: u8 = 3;
    type Key = ThreePid;
    type Record = AssociationRecord;
}

/// A published association as it is stored; it is signed when it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationRecord {
    /// The user that the 3PID is bound to.
    pub mxid: UserId,
    /// When it was bound.
    pub ts: Timestamp,
    /// From when it holds.
    pub not_before: Timestamp,
    /// Until when it holds.
    pub not_after: Timestamp,
}

/// The same associations by user.
pub enum AssociationsByUser {}

impl Table for AssociationsByUser {
    const NAME: &'static str = "associations by user";
    const ID: u8 = 4;
    type Key = (UserId, ThreePid);
    type Record = Nothing;
}

/// A record without content: the key says it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// Where an invitation stands: the invited 3PID and the invitation's id.
pub type InvitationPlace = (ThreePid, RecordId);

/// Invitations by whom they are for.
pub enum Invitations {}

impl Table for Invitations {
    const NAME: &'static str = "invitations";
    const ID: u8 = 5;
    type Key = InvitationPlace;
    type Record = InvitationRecord;
}

/// An invitation as it is stored. Its private key is derived when a mail needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationRecord {
    /// The token that stands in the room.
    pub token: InviteToken,
    /// Who invites.
    pub sender: UserId,
    /// Into which room.
    pub room_id: RoomId,
    /// What the request said besides, by the names of the specification; for the mail alone.
    pub details: InviteDetails,
    /// The language of the mail.
    pub language: Option<String>,
    /// The brand of the mail.
    pub brand: Option<String>,
    /// The public half of the invitation's own key.
    pub public_key: [u8; 32],
    /// The server key that the answer to the invitation named, and that signs it.
    pub server_key: KeyId,
    /// When it was stored.
    pub stored: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// How far it has come.
    pub state: InvitationState,
}

/// How far an invitation has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvitationState {
    /// Waits for somebody to bind the address.
    Pending,
    /// Somebody has, and their homeserver is being told.
    Bound {
        /// Who.
        mxid: UserId,
    },
    /// The homeserver has taken it.
    Delivered {
        /// For whom.
        mxid: UserId,
        /// When.
        at: Timestamp,
    },
    /// The homeserver would not take it, and is not told again.
    Failed {
        /// For whom.
        mxid: UserId,
        /// Since when.
        at: Timestamp,
    },
}

/// The same invitations by their tokens.
pub enum InvitationsByToken {}

impl Table for InvitationsByToken {
    const NAME: &'static str = "invitation by token";
    const ID: u8 = 6;
    type Key = InviteTokenHash;
    type Record = InvitationPlaceRecord;
}

/// Points to an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationPlaceRecord {
    /// Whom it is for.
    pub threepid: ThreePid,
    /// Its id.
    pub invite: RecordId,
}

/// Public halves of ephemeral keys that this server vouches for.
pub enum EphemeralKeys {}

impl Table for EphemeralKeys {
    const NAME: &'static str = "ephemeral keys";
    const ID: u8 = 7;
    type Key = [u8; 32];
    type Record = EphemeralKeyRecord;
}

/// An ephemeral key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EphemeralKeyRecord {
    /// Since when the key is valid.
    pub valid_since: Timestamp,
    /// The invitation that it belongs to; none for an imported key.
    pub invite: Option<InvitationPlaceRecord>,
}

/// Accounts by access token.
pub enum Accounts {}

impl Table for Accounts {
    const NAME: &'static str = "accounts";
    const ID: u8 = 8;
    type Key = AccessTokenHash;
    type Record = AccountRecord;
}

/// An account as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// The user that the token stands for.
    pub mxid: UserId,
    /// When the token was given out.
    pub created: Timestamp,
    /// When it was last used, give or take a day.
    pub last_used: Timestamp,
}

/// The same accounts by user.
pub enum AccountsByUser {}

impl Table for AccountsByUser {
    const NAME: &'static str = "accounts by user";
    const ID: u8 = 9;
    type Key = (UserId, AccessTokenHash);
    type Record = Nothing;
}

/// What each user has accepted.
pub enum AcceptedTerms {}

impl Table for AcceptedTerms {
    const NAME: &'static str = "accepted terms";
    const ID: u8 = 10;
    type Key = UserId;
    type Record = AcceptedTermsRecord;
}

/// What a user has accepted, in the order of acceptance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedTermsRecord {
    /// The policies, each in every version and under every URL that was accepted.
    pub policies: Vec<AcceptedPolicy>,
}

/// One policy that a user has accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedPolicy {
    /// The name of the policy.
    pub policy: String,
    /// Its version.
    pub version: String,
    /// Where the user read it.
    pub url: String,
    /// When it was accepted first.
    pub when: Timestamp,
}

/// What is to be sent, by when.
pub enum Outbox {}

impl Table for Outbox {
    const NAME: &'static str = "outbox";
    const ID: u8 = 11;
    type Key = OutboxPlace;
    type Record = OutboxRecord;
}

/// Where a piece of outgoing work stands: when it is due ([`Timestamp::NEVER`] once it has failed for good), and its id.
pub type OutboxPlace = (Timestamp, RecordId);

/// A piece of outgoing work as it is stored. What is sent is made when it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxRecord {
    /// What is to be done.
    pub item: OutboxItem,
    /// Since when.
    pub queued: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed, in a sentence without addresses or secrets.
    pub last_error: Option<String>,
    /// Since when it has failed for good; it is kept for the operator to see.
    pub failed: Option<Timestamp>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutboxItem {
    /// Tell a user's homeserver that a 3PID is bound to them, with the invitations that are bound with it.
    Onbind {
        /// What is bound.
        threepid: ThreePid,
        /// To whom.
        mxid: UserId,
        /// Whether the homeserver has taken the association itself already.
        announced: bool,
    },
    /// Send the message that asks to confirm an address.
    Verification {
        /// The session; its 3PID is the address.
        sid: Sid,
        /// The attempt that it was sent for; a higher one has sent another message.
        send_attempt: u64,
    },
    /// Send the mail of an invitation.
    Invitation {
        /// Whom it is for.
        threepid: ThreePid,
        /// Its id.
        invite: RecordId,
    },
}

impl OutboxItem {
    /// Its name where it is listed and counted.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Onbind { .. } => "onbind",
            Self::Verification { .. } => "verification",
            Self::Invitation { .. } => "invitation",
        }
    }
}

/// Facts about the server itself, by name.
pub enum Meta {}

impl Table for Meta {
    const NAME: &'static str = "meta";
    const ID: u8 = 12;
    type Key = MetaName;
    type Record = MetaRecord;
}

/// The name of a meta row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetaName {
    /// Version of the schema, written by the store itself.
    Schema,
    /// The server name that all data belongs to.
    ServerName,
    /// The state of each server key.
    KeyStates,
    /// The peppers of lookups.
    Peppers,
    /// That no SMS are sent for now.
    SmsStopped,
}

impl MetaName {
    pub(super) const ALL: [Self; 5] = [
        Self::Schema,
        Self::ServerName,
        Self::KeyStates,
        Self::Peppers,
        Self::SmsStopped,
    ];

    /// The name as it stands in the key.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::ServerName => "server_name",
            Self::KeyStates => "key_states",
            Self::Peppers => "peppers",
            Self::SmsStopped => "sms_stopped",
        }
    }
}

/// What a meta row holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaRecord {
    /// Under [`MetaName::Schema`].
    Schema(u32),
    /// Under [`MetaName::ServerName`].
    ServerName(String),
    /// Under [`MetaName::KeyStates`].
    KeyStates(Vec<KeyStateEntry>),
    /// Under [`MetaName::Peppers`].
    Peppers(PeppersRecord),
    /// Under [`MetaName::SmsStopped`]; without the row they are sent.
    SmsStopped {
        /// Since when the operator has stopped them.
        since: Timestamp,
    },
}

/// The state of one server key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStateEntry {
    /// The version part of the key id.
    pub version: String,
    /// The public key, so that a key file that was swapped is noticed.
    pub public_key: [u8; 32],
    /// What the key may still do.
    pub state: KeyState,
}

/// The peppers of lookups as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeppersRecord {
    /// The pepper that clients are told.
    pub current: Pepper,
    /// When it was brought in.
    pub since: Timestamp,
    /// The one before it, which answers a while longer.
    pub previous: Option<PreviousPepper>,
}

/// A pepper that clients are no longer told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousPepper {
    /// The pepper.
    pub pepper: Pepper,
    /// Until when it answers.
    pub until: Timestamp,
}

/// What may be spent of something in a time, however often the server is started meanwhile.
pub enum Budgets {}

impl Table for Budgets {
    const NAME: &'static str = "budgets";
    const ID: u8 = 13;
    type Key = Budget;
    type Record = BudgetRecord;
}

/// What is counted durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Budget {
    /// SMS to anybody.
    Sms,
    /// Codes that are sent to a number.
    CodesFor(ThreePid),
    /// Wrong codes that are tried for a number, in whatever session.
    WrongCodesFor(ThreePid),
}

/// What was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRecord {
    /// When the first was spent.
    pub since: Timestamp,
    /// How much was spent since then.
    pub spent: u32,
    /// When all of it is forgotten.
    pub until: Timestamp,
}
