//! What an operator asks for and changes: one request for each command, and one place that carries them out, whether they
//! come over the socket of a running server or work on a store that nobody serves.

mod invitations;
mod keys;
mod lists;
mod outbox;
mod probe;
mod protocol;
mod sms;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::{Mutex, watch};

pub use self::invitations::{InviteInfo, InviteState, InviteTarget};
pub use self::keys::KeyError;
pub use self::outbox::{OutboxInfo, OutboxRequest, OutboxStatus};
pub use self::probe::{Probes, Sighting};
pub use self::protocol::{
    AccountInfo, AccountPlace, AccountTarget, AdminAnswer, AdminRequest, AssociationInfo,
    AssociationTarget, KeyInfo, Progress, Status,
};
pub use self::sms::SmsStatus;
use crate::clock::Clock;
use crate::random::{Random, RandomError};
use crate::signing::ServerKeys;
pub use crate::storage::erase::{Erased, Person};
use crate::storage::tables::{
    Accounts, AssociationRecord, Associations, Invitations, Sessions, Table,
};
use crate::storage::{MaintenanceError, RotationError, Store, StoreError, associations, erase};
use crate::types::{Invalid, RecordId, ServerName, ThreePid, Timestamp, UserId};

/// How many rows one answer lists at most, and one step of a change takes.
const STEP: usize = 500;

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
                let answer = self.backup(to.clone(), watched).await?;
                audit(actor, &format!("wrote a backup into {}", to.display()));
                answer
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
    ) -> Result<AdminAnswer, AdminError> {
        if !to.is_absolute() {
            return Err(AdminError::RelativePath);
        }
        let AdminParts {
            store,
            key_file,
            secret_file,
            ..
        } = &self.parts;
        let of = store.stats()?.rows.iter().map(|(_, rows)| rows).sum();
        let tell = move |done| {
            watched.send_replace(Progress { done, of });
        };
        Ok(AdminAnswer::BackedUp {
            changes: store.backup_watched(to, tell).await?,
            keys: vec![key_file.clone(), secret_file.clone()],
        })
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
