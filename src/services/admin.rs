//! What an operator asks for and changes: one request for each command, and one place that carries them out, whether they
//! come over the socket of a running server or work on a store that nobody serves.

mod keys;
mod lists;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub use self::keys::KeyError;
use crate::clock::Clock;
use crate::random::Random;
use crate::signing::ServerKeys;
use crate::storage::tables::{Accounts, AssociationRecord, Associations, Sessions, Table};
use crate::storage::{Store, StoreError, associations, disk};
use crate::types::{AccessTokenHash, KeyId, KeyState, ServerName, ThreePid, Timestamp, UserId};

/// How many rows one answer lists at most, and one step of a long work looks at.
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
    /// The server's keys and what each may do.
    KeysList,
    /// Make a new key that signs from now on.
    KeysRotate,
    /// Trust a key no longer.
    KeysRevoke {
        /// Which.
        key: KeyId,
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

/// Whose accounts are ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountTarget {
    /// Those of a user.
    User(UserId),
    /// Those of all users of a homeserver.
    Homeserver(ServerName),
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
    /// How many rows a command changed.
    Changed {
        /// Their number.
        rows: usize,
    },
    /// The keys, after whatever was asked for.
    Keys(Vec<KeyInfo>),
}

/// What the server is and holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program that answers.
    pub version: String,
    /// The name that everything is signed under.
    pub server_name: ServerName,
    /// Validation sessions, pending and validated.
    pub sessions: usize,
    /// Published associations.
    pub associations: usize,
    /// Access tokens given out.
    pub accounts: usize,
    /// The server's keys.
    pub keys: Vec<KeyInfo>,
    /// What all files of the store take, in bytes.
    pub store_bytes: u64,
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
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A long work was cut off.
    #[error("the command was cut off: {0}")]
    CutOff(#[from] tokio::task::JoinError),
}

/// What the commands need.
pub struct AdminParts {
    /// The store.
    pub store: Store,
    /// The folder of the store.
    pub folder: PathBuf,
    /// The name that everything is signed under.
    pub server_name: ServerName,
    /// How long a new association promises to hold.
    pub lifetime: Duration,
    /// The keys that the server signs with.
    pub keys: Arc<ServerKeys>,
    /// The file of these keys.
    pub key_file: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Seeds of new keys.
    pub random: Random,
}

/// The service.
pub struct Admin {
    parts: AdminParts,
    /// Whoever changes keys holds it, so that file, store and memory change together.
    changing_keys: Mutex<()>,
}

impl Admin {
    /// The service over its parts.
    pub fn new(parts: AdminParts) -> Self {
        Self {
            parts,
            changing_keys: Mutex::new(()),
        }
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
        Ok(match request {
            AdminRequest::Status => AdminAnswer::Status(self.status().await?),
            AdminRequest::AssociationsList {
                user,
                threepid,
                after,
            } => self.list_associations(user.as_ref(), threepid, after.as_ref())?,
            AdminRequest::AssociationsAdd { threepid, mxid } => {
                let what = threepid.masked();
                let rows = self.add_association(threepid, mxid.clone()).await?;
                audit(actor, &format!("bound {what} to {mxid}"));
                AdminAnswer::Changed { rows }
            }
            AdminRequest::AssociationsRemove { target } => {
                let what = match &target {
                    AssociationTarget::Threepid(threepid) => threepid.masked(),
                    AssociationTarget::User(mxid) => format!("everything of {mxid}"),
                };
                let rows = self.remove_associations(target).await?;
                audit(actor, &format!("unbound {what} ({rows} associations)"));
                AdminAnswer::Changed { rows }
            }
            AdminRequest::AccountsList { user, after } => {
                self.list_accounts(user.as_ref(), after.as_ref())?
            }
            AdminRequest::AccountsRevoke { target } => {
                let whose = match &target {
                    AccountTarget::User(mxid) => mxid.to_string(),
                    AccountTarget::Homeserver(name) => format!("all users of {name}"),
                };
                let rows = self.revoke_accounts(target).await?;
                audit(actor, &format!("ended {rows} accounts of {whose}"));
                AdminAnswer::Changed { rows }
            }
            AdminRequest::KeysList => AdminAnswer::Keys(self.keys()?),
            AdminRequest::KeysRotate => {
                let key = self.rotate_key().await?;
                audit(actor, &format!("made {key}, which signs from now on"));
                AdminAnswer::Keys(self.keys()?)
            }
            AdminRequest::KeysRevoke { key } => {
                self.revoke_key(&key).await?;
                audit(actor, &format!("revoked {key}"));
                AdminAnswer::Keys(self.keys()?)
            }
        })
    }

    async fn status(&self) -> Result<Status, AdminError> {
        let (store, folder) = (self.parts.store.clone(), self.parts.folder.clone());
        let counting = tokio::task::spawn_blocking(move || -> Result<_, StoreError> {
            Ok((
                count::<Sessions>(&store)?,
                count::<Associations>(&store)?,
                count::<Accounts>(&store)?,
                disk::size(&folder),
            ))
        });
        let (sessions, associations, accounts, store_bytes) = counting.await??;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            server_name: self.parts.server_name.clone(),
            sessions,
            associations,
            accounts,
            keys: self.keys()?,
            store_bytes,
        })
    }

    async fn add_association(&self, threepid: ThreePid, mxid: UserId) -> Result<usize, StoreError> {
        let now = self.parts.clock.now();
        let record = AssociationRecord {
            mxid,
            ts: now,
            not_before: now,
            not_after: now.plus(self.parts.lifetime),
        };
        self.parts
            .store
            .write(move |tx| associations::put(tx, &threepid, &record))
            .await?;
        Ok(1)
    }
}

/// The one line that a change by an operator leaves.
fn audit(actor: &str, what: &str) {
    log::info!(target: "bindery::audit", actor; "{actor} {what}");
}

/// The rows of a table, looked at in steps, between which others are served.
fn count<T: Table>(store: &Store) -> Result<usize, StoreError> {
    let mut rows = 0;
    let mut after: Option<T::Key> = None;
    loop {
        let step = store.read(|tx| tx.scan::<T>(&[], after.as_ref(), STEP))?;
        rows += step.len();
        match step.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok(rows),
        }
    }
}
