//! The catalogue of tables: for each its keys and its record. The bytes are made in `codec`.

use serde::{Deserialize, Serialize};

use super::codec::{Key, Record};
use crate::types::{
    AccessTokenHash, ClientSecretHash, KeyState, Pepper, Sid, ThreePid, Timestamp, UserId,
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
    info::<EphemeralKeys>(),
    info::<Accounts>(),
    info::<AccountsByUser>(),
    info::<AcceptedTerms>(),
    info::<Meta>(),
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
}

impl MetaName {
    pub(super) const ALL: [Self; 4] = [
        Self::Schema,
        Self::ServerName,
        Self::KeyStates,
        Self::Peppers,
    ];

    /// The name as it stands in the key.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::ServerName => "server_name",
            Self::KeyStates => "key_states",
            Self::Peppers => "peppers",
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
