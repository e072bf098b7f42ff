//! What an operator asks for and changes: one request for each command, and one place that carries them out, whether they
//! come over the socket of a running server or work on a store that nobody serves.

mod invitations;
mod keys;
mod lists;
mod outbox;
mod probe;
mod sms;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

pub use self::invitations::{InviteInfo, InviteState, InviteTarget};
pub use self::keys::KeyError;
pub use self::outbox::{OutboxInfo, OutboxRequest, OutboxStatus};
pub use self::probe::{Probes, Sighting};
pub use self::sms::SmsStatus;
use crate::clock::Clock;
use crate::random::{Random, RandomError};
use crate::signing::ServerKeys;
pub use crate::storage::erase::{Erased, Person};
use crate::storage::tables::{
    Accounts, AssociationRecord, Associations, InvitationPlace, Invitations, OutboxPlace, Sessions,
    Table,
};
use crate::storage::{MaintenanceError, RotationError, Store, StoreError, associations, erase};
use crate::types::{
    AccessTokenHash, Invalid, KeyId, KeyState, RecordId, ServerName, ThreePid, Timestamp, UserId,
};

/// How many rows one answer lists at most, and one step of a change takes.
const STEP: usize = 500;

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
    fn masked(&self) -> String {
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
    fn whose(&self) -> String {
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

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The keys could not be changed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The pepper could not be changed.
    #[error(transparent)]
    Pepper(#[from] RotationError),
    /// The invitation cannot be mailed again.
    #[error(
        "the invitation {0} waits for nobody any more: it has ended, or the address is bound; `bindery invites list` \
         shows which"
    )]
    InviteNotPending(RecordId),
    /// No randomness for a new pepper.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Work on the whole store failed.
    #[error(transparent)]
    Maintenance(#[from] MaintenanceError),
    /// What is to be bound is no address.
    #[error("the address must be {0}")]
    Address(Invalid),
    /// The path of a backup means something else to the server than to the caller.
    #[error("the path of a backup must begin with /")]
    RelativePath,
}

/// What the commands need.
pub struct AdminParts {
    /// The store.
    pub store: Store,
    /// The name that everything is signed under.
    pub server_name: ServerName,
    /// How long a new association promises to hold.
    pub lifetime: Duration,
    /// How long the previous pepper answers.
    pub pepper_grace: Duration,
    /// How many SMS are sent in a day.
    pub sms_budget: u32,
    /// The keys that the server signs with.
    pub keys: Arc<ServerKeys>,
    /// The file of these keys.
    pub key_file: PathBuf,
    /// The file of the secret that tokens are derived from.
    pub secret_file: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Seeds of new keys, and peppers.
    pub random: Random,
}

/// The service.
pub struct Admin {
    parts: AdminParts,
    /// Whoever changes keys holds it, so that file, store and memory change together.
    changing_keys: Mutex<()>,
    probes: Arc<Probes>,
}

impl Admin {
    /// The service over its parts.
    pub fn new(parts: AdminParts) -> Self {
        Self {
            parts,
            changing_keys: Mutex::new(()),
            probes: Arc::default(),
        }
    }

    /// The requests that a command may wait for.
    pub fn probes(&self) -> Arc<Probes> {
        Arc::clone(&self.probes)
    }

    /// Carries a command out. What it changes is told to the log, with who asked for it.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub async fn execute(
        &self,
        request: AdminRequest,
        actor: &str,
    ) -> Result<AdminAnswer, AdminError> {
        self.execute_watched(request, actor, watch::Sender::new(Progress::default()))
            .await
    }

    /// [`Self::execute`], which tells `watched` how far long work has come.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn execute_watched(
        &self,
        request: AdminRequest,
        actor: &str,
        watched: watch::Sender<Progress>,
    ) -> Result<AdminAnswer, AdminError> {
        Ok(match request {
            AdminRequest::Status => AdminAnswer::Status(self.status()?),
            AdminRequest::AssociationsList {
                user,
                threepid,
                after,
            } => self.list_associations(user.as_ref(), threepid, after.as_ref())?,
            AdminRequest::AssociationsAdd { threepid, mxid } => {
                // It was read as what was stored is; this one is still to be.
                let threepid = ThreePid::parse(threepid.medium(), threepid.address())
                    .map_err(AdminError::Address)?;
                let what = threepid.masked();
                let rows = self.add_association(threepid, mxid.clone()).await?;
                audit(actor, &format!("bound {what} to {mxid}"));
                AdminAnswer::Changed { rows }
            }
            AdminRequest::AssociationsRemove { target } => {
                let what = target.masked();
                let rows = self.remove_associations(target).await?;
                audit(actor, &format!("unbound {what} ({rows} associations)"));
                AdminAnswer::Changed { rows }
            }
            AdminRequest::AccountsList { user, after } => {
                self.list_accounts(user.as_ref(), after.as_ref())?
            }
            AdminRequest::AccountsRevoke { target } => {
                let whose = target.whose();
                let rows = self.revoke_accounts(target).await?;
                audit(actor, &format!("ended {rows} accounts of {whose}"));
                AdminAnswer::Changed { rows }
            }
            AdminRequest::InvitesList {
                sender,
                threepid,
                after,
            } => self.list_invitations(sender.as_ref(), threepid.as_ref(), after.as_ref())?,
            AdminRequest::InvitesResend { invite } => AdminAnswer::Changed {
                rows: self.resend_invitation(invite, actor).await?,
            },
            AdminRequest::InvitesRevoke { target } => AdminAnswer::Changed {
                rows: self.revoke_invitations(target, actor).await?,
            },
            AdminRequest::Backup { to } => {
                if !to.is_absolute() {
                    return Err(AdminError::RelativePath);
                }
                let changes = self.backup(to.clone(), watched).await?;
                audit(actor, &format!("wrote a backup into {}", to.display()));
                let AdminParts {
                    key_file,
                    secret_file,
                    ..
                } = &self.parts;
                AdminAnswer::BackedUp {
                    changes,
                    keys: vec![key_file.clone(), secret_file.clone()],
                }
            }
            AdminRequest::KeysList => AdminAnswer::Keys(self.keys()?),
            AdminRequest::KeysRotate => {
                let key = self.rotate_key().await?;
                audit(actor, &format!("made {key}, which signs from now on"));
                AdminAnswer::Keys(self.keys()?)
            }
            AdminRequest::KeysRevoke { key, force } => {
                self.revoke_key(&key, force).await?;
                audit(actor, &format!("revoked {key}"));
                AdminAnswer::Keys(self.keys()?)
            }
            AdminRequest::PepperRotate => {
                let previous_until = self.rotate_pepper().await?;
                audit(actor, "brought in another pepper");
                AdminAnswer::Pepper { previous_until }
            }
            AdminRequest::SmsSwitch { on } => {
                self.switch_sms(on).await?;
                let what = if on {
                    "lets SMS be sent"
                } else {
                    "stopped SMS"
                };
                audit(actor, what);
                AdminAnswer::Sms(self.sms()?)
            }
            AdminRequest::Outbox { request } => self.outbox(request, actor).await?,
            AdminRequest::Erase { person } => {
                let whom = match &person {
                    Person::ThreePid(threepid) => threepid.masked(),
                    Person::User(mxid) => mxid.to_string(),
                };
                // Also what is not finished, such as on a full disk, leaves a line.
                audit(actor, &format!("erases what is stored on {whom}"));
                AdminAnswer::Erased(erase::erase(&self.parts.store, person).await?)
            }
            AdminRequest::ProbeExpect { nonce } => {
                self.probes.expect(nonce);
                AdminAnswer::Probe(None)
            }
            AdminRequest::ProbeTake { nonce } => AdminAnswer::Probe(self.probes.take(&nonce)),
        })
    }

    fn status(&self) -> Result<Status, AdminError> {
        let stats = self.parts.store.stats()?;
        let rows = |table: &str| {
            let found = stats.rows.iter().find(|(name, _)| *name == table);
            found.map_or(0, |(_, rows)| *rows)
        };
        let made = stats.snapshot_made;
        let made = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        let millis = made.and_then(|made| u64::try_from(made.as_millis()).ok());
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            server_name: self.parts.server_name.clone(),
            sessions: rows(Sessions::NAME),
            associations: rows(Associations::NAME),
            accounts: rows(Accounts::NAME),
            invitations: rows(Invitations::NAME),
            outbox: self.outbox_status()?,
            keys: self.keys()?,
            pepper_since: self
                .parts
                .store
                .read(|tx| Ok::<_, StoreError>(tx.peppers()))?
                .map(|peppers| peppers.since),
            sms: self.sms()?,
            changes: stats.sequence,
            journal_bytes: stats.journal_bytes,
            snapshot_bytes: stats.snapshot_bytes,
            index_bytes: stats.index_bytes,
            snapshot_made: millis.map(Timestamp::from_millis),
        })
    }

    async fn backup(
        &self,
        to: PathBuf,
        watched: watch::Sender<Progress>,
    ) -> Result<u64, MaintenanceError> {
        let store = &self.parts.store;
        let of = store.stats()?.rows.iter().map(|(_, rows)| rows).sum();
        let tell = move |done| {
            watched.send_replace(Progress { done, of });
        };
        store.backup_watched(to, tell).await
    }

    async fn rotate_pepper(&self) -> Result<Timestamp, AdminError> {
        let AdminParts {
            store,
            clock,
            random,
            pepper_grace,
            ..
        } = &self.parts;
        let pepper = random.pepper()?;
        store.rotate_pepper(pepper, &**clock, *pepper_grace).await?;
        Ok(clock.now().plus(*pepper_grace))
    }

    async fn add_association(&self, threepid: ThreePid, mxid: UserId) -> Result<usize, AdminError> {
        let notice = self.parts.random.record_id()?;
        let now = self.parts.clock.now();
        let record = AssociationRecord {
            mxid,
            ts: now,
            not_before: now,
            not_after: now.plus(self.parts.lifetime),
        };
        self.parts
            .store
            .write(move |tx| associations::bind(tx, &threepid, &record, notice))
            .await?;
        Ok(1)
    }
}

/// The one line that a change by an operator leaves.
fn audit(actor: &str, what: &str) {
    log::info!(target: "bindery::audit", actor; "{actor} {what}");
}
