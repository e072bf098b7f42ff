//! What an operator may ask and is answered, as it goes over the socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Erased, InviteInfo, InviteTarget, OutboxInfo, OutboxRequest, OutboxStatus, Person, Sighting,
    SmsStatus,
};
use crate::storage::tables::{InvitationPlace, OutboxPlace};
use crate::types::{
    AccessTokenHash, KeyId, KeyState, RecordId, ServerName, ThreePid, Timestamp, UserId,
};

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminRequest {
    /// What the server is and holds.
    Status,
    /// The associations of a user, of a 3PID, or all, from one on.
    AssociationsList {
        /// Only those of this user.
        user: Option<UserId>,
        /// Only that of this 3PID.
        threepid: Option<ThreePid>,
        /// Those after this one.
        after: Option<ThreePid>,
    },
    /// Bind a 3PID to a user, in place of whoever it was bound to, without any proof.
    AssociationsAdd {
        /// What is bound.
        threepid: ThreePid,
        /// To whom.
        mxid: UserId,
    },
    /// Unbind a 3PID, or everything of a user.
    AssociationsRemove {
        /// What is unbound.
        target: AssociationTarget,
    },
    /// The accounts of a user, or all, from one on.
    AccountsList {
        /// Only those of this user.
        user: Option<UserId>,
        /// Those after this one.
        after: Option<AccountPlace>,
    },
    /// End accounts: their tokens are worth nothing from then on.
    AccountsRevoke {
        /// Whose.
        target: AccountTarget,
    },
    /// The invitations of a sender, for a 3PID, or all, from one on.
    InvitesList {
        /// Only those of this user.
        sender: Option<UserId>,
        /// Only those for this 3PID.
        threepid: Option<ThreePid>,
        /// Those after this one.
        after: Option<InvitationPlace>,
    },
    /// Mail an invitation again that waits for somebody to bind the address.
    InvitesResend {
        /// Its id.
        invite: RecordId,
    },
    /// Take invitations back: their tokens and keys are worth nothing from then on.
    InvitesRevoke {
        /// Which.
        target: InviteTarget,
    },
    /// Write a consistent copy into a new folder, while everything goes on.
    Backup {
        /// The folder, which the server makes; an absolute path.
        to: PathBuf,
    },
    /// The server's keys and what each may do.
    KeysList,
    /// Make a new key that signs from now on.
    KeysRotate,
    /// Trust a key no longer.
    KeysRevoke {
        /// Which.
        key: KeyId,
        /// Also if invitations are still to be signed by it.
        #[serde(default)]
        force: bool,
    },
    /// Bring in another pepper for lookups.
    PepperRotate,
    /// Send SMS again, or none until further notice.
    SmsSwitch {
        /// Whether they are sent.
        on: bool,
    },
    /// What is asked of outgoing work.
    Outbox {
        /// Which it is.
        request: OutboxRequest,
    },
    /// Erase all that is stored on a person.
    Erase {
        /// Whose.
        person: Person,
    },
    /// Await a request that carries this nonce.
    ProbeExpect {
        /// Any text that nobody else has.
        nonce: String,
    },
    /// How the awaited request arrived.
    ProbeTake {
        /// Its nonce.
        nonce: String,
    },
}

/// What is unbound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssociationTarget {
    /// One 3PID, whoever it is bound to.
    Threepid(ThreePid),
    /// Everything of a user.
    User(UserId),
}

impl AssociationTarget {
    /// What is unbound, for the log.
    pub(super) fn masked(&self) -> String {
        match self {
            Self::Threepid(threepid) => threepid.masked(),
            Self::User(mxid) => format!("everything of {mxid}"),
        }
    }
}

/// Whose accounts are ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountTarget {
    /// Those of a user.
    User(UserId),
    /// Those of all users of a homeserver.
    Homeserver(ServerName),
}

impl AccountTarget {
    /// Whose accounts, for the log.
    pub(super) fn whose(&self) -> String {
        match self {
            Self::User(mxid) => mxid.to_string(),
            Self::Homeserver(name) => format!("all users of {name}"),
        }
    }
}

/// Where in the list of accounts one stands: its user and the hash of its token.
pub type AccountPlace = (UserId, AccessTokenHash);

/// What a command answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminAnswer {
    /// To [`AdminRequest::Status`].
    Status(Status),
    /// To [`AdminRequest::AssociationsList`].
    Associations {
        /// In the order of their addresses.
        items: Vec<AssociationInfo>,
        /// Where the list goes on, if it does.
        after: Option<ThreePid>,
    },
    /// To [`AdminRequest::AccountsList`].
    Accounts {
        /// In the order of their users.
        items: Vec<AccountInfo>,
        /// Where the list goes on, if it does.
        after: Option<AccountPlace>,
    },
    /// To [`AdminRequest::InvitesList`].
    Invites {
        /// In the order of their addresses.
        items: Vec<InviteInfo>,
        /// Where the list goes on, if it does.
        after: Option<InvitationPlace>,
    },
    /// How many rows a command changed.
    Changed {
        /// Their number.
        rows: usize,
    },
    /// A backup was written.
    BackedUp {
        /// The number of the last change in it.
        changes: u64,
        /// The files that are no part of it, and that it is worth nothing without.
        keys: Vec<PathBuf>,
    },
    /// The keys, after whatever was asked for.
    Keys(Vec<KeyInfo>),
    /// To [`AdminRequest::Erase`]: how much there was.
    Erased(Erased),
    /// To [`OutboxRequest::List`].
    Outbox {
        /// In the order in which they are due.
        items: Vec<OutboxInfo>,
        /// Where the list goes on, if it does.
        after: Option<OutboxPlace>,
    },
    /// To [`AdminRequest::PepperRotate`].
    Pepper {
        /// Until when the previous one answers.
        previous_until: Timestamp,
    },
    /// How an awaited request arrived; nothing if it did not, or not yet.
    Probe(Option<Sighting>),
    /// To [`AdminRequest::SmsSwitch`].
    Sms(SmsStatus),
}

/// How far long work has come, in rows of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// So many are done.
    pub done: u64,
    /// There will be about so many.
    pub of: u64,
}

/// What the server is and holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program that answers.
    pub version: String,
    /// The name that everything is signed under.
    pub server_name: ServerName,
    /// Validation sessions, pending and validated.
    pub sessions: u64,
    /// Published associations.
    pub associations: u64,
    /// Access tokens given out.
    pub accounts: u64,
    /// Invitations, in whatever state.
    pub invitations: u64,
    /// Outgoing work.
    pub outbox: OutboxStatus,
    /// The server's keys.
    pub keys: Vec<KeyInfo>,
    /// Since when the pepper of lookups holds; none before the first start.
    pub pepper_since: Option<Timestamp>,
    /// Whether SMS are sent, and how many were.
    pub sms: SmsStatus,
    /// The number of the last change.
    pub changes: u64,
    /// What the journal takes, in bytes.
    pub journal_bytes: u64,
    /// What the snapshots take, in bytes.
    pub snapshot_bytes: u64,
    /// What the index takes, in bytes.
    pub index_bytes: u64,
    /// When the newest snapshot was made, if there is one.
    pub snapshot_made: Option<Timestamp>,
}

/// A published association.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationInfo {
    /// What is bound.
    pub threepid: ThreePid,
    /// To whom.
    pub mxid: UserId,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Whose.
    pub mxid: UserId,
    /// Since when.
    pub created: Timestamp,
    /// When it was last used, give or take a day.
    pub last_used: Timestamp,
}

/// One of the server's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its id.
    pub id: KeyId,
    /// Its public half in unpadded base64.
    pub public_key: String,
    /// What it may do.
    pub state: KeyState,
}
