//! Accounts: whoever a homeserver vouches for gets a token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::config;
use crate::federation::{Federation, FederationError, Outcome};
use crate::limits::{Action, Limited, Limits, Subject};
use crate::metrics::{FederationCall, Metrics};
use crate::random::{Random, RandomError};
use crate::storage::tables::{AccountRecord, Accounts as AccountsTable};
use crate::storage::{Store, StoreError, accounts};
use crate::types::{AccessToken, AccessTokenHash, ServerName, Timestamp, UserId};

/// How exactly the last use of a token is written.
const USE_WRITTEN_EVERY: Duration = Duration::from_hours(24);

/// Why nobody was registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The homeserver is not served here.
    #[error("users of this homeserver are not served")]
    NotAllowed,
    /// The homeserver does not vouch for the token, or cannot be asked.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// Too much from one source.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub mxid: UserId,
    /// The token that was shown.
    pub token: AccessTokenHash,
}

/// The service.
pub struct Accounts {
    store: Store,
    federation: Federation,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    random: Random,
    metrics: Arc<Metrics>,
    settings: ArcSwap<config::Accounts>,
}

impl Accounts {
    /// The service over its parts.
    pub fn new(
        store: Store,
        federation: Federation,
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
        random: Random,
        metrics: Arc<Metrics>,
        settings: config::Accounts,
    ) -> Self {
        Self {
            store,
            federation,
            limits,
            clock,
            random,
            metrics,
            settings: ArcSwap::from_pointee(settings),
        }
    }

    /// From now on these settings hold, for the accounts that there are too.
    pub fn reload(&self, settings: config::Accounts) {
        self.settings.store(Arc::new(settings));
    }

    /// Asks the homeserver whose token this is, and gives that user a token of ours (identity service,
    /// `POST account/register`).
    ///
    /// # Errors
    /// When the homeserver is not served, says no, says something else, or says nothing.
    pub async fn register(
        &self,
        server: &ServerName,
        openid_token: &str,
        peer: Option<IpAddr>,
    ) -> Result<AccessToken, RegisterError> {
        if !self.settings.load().allows(server.as_str()) {
            return Err(RegisterError::NotAllowed);
        }
        if let Some(ip) = peer {
            self.limits.take(Action::RegisterByIp, Subject::Ip(ip))?;
        }
        let answer = self.federation.userinfo(server, openid_token).await;
        let outcome = answer
            .as_ref()
            .map_or_else(FederationError::outcome, |_| Outcome::Success);
        self.metrics
            .federation(FederationCall::Userinfo, outcome.name());
        let mxid = answer?;
        let token = self.random.access_token()?;
        let now = self.clock.now();
        let hash = token.hash();
        let record = AccountRecord {
            mxid,
            created: now,
            last_used: now,
        };
        self.store
            .write(move |tx| accounts::put(tx, &hash, &record))
            .await?;
        Ok(token)
    }

    /// Whose token this is, as long as it lives and its homeserver is served.
    ///
    /// # Errors
    /// When the store fails.
    pub fn authenticate(&self, token: &AccessToken) -> Result<Option<Account>, StoreError> {
        let hash = token.hash();
        let Some(record) = self.store.read(|tx| tx.get::<AccountsTable>(&hash))? else {
            return Ok(None);
        };
        let now = self.clock.now();
        if self.has_ended(&record, now) || !self.settings.load().allows(record.mxid.server_name()) {
            return Ok(None);
        }
        if now.since(record.last_used) >= USE_WRITTEN_EVERY {
            self.note_use(hash, now);
        }
        Ok(Some(Account {
            mxid: record.mxid,
            token: hash,
        }))
    }

    /// Ends a token (identity service, `POST account/logout`).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn logout(&self, account: Account) -> Result<(), StoreError> {
        self.store
            .write(move |tx| accounts::remove(tx, &account.token))
            .await
    }

    fn has_ended(&self, record: &AccountRecord, now: Timestamp) -> bool {
        let settings = self.settings.load();
        now >= record.created.plus(settings.expiry)
            || now >= record.last_used.plus(settings.idle_expiry)
    }

    /// Writes that a token was used, without letting its user wait for it.
    fn note_use(&self, hash: AccessTokenHash, now: Timestamp) {
        let store = self.store.clone();
        tokio::spawn(async move {
            let written = store
                .write(move |tx| -> Result<(), StoreError> {
                    if let Some(record) = tx.get::<AccountsTable>(&hash)?
                        && record.last_used < now
                    {
                        let record = AccountRecord {
                            last_used: now,
                            ..record
                        };
                        tx.put::<AccountsTable>(&hash, &record)?;
                    }
                    Ok(())
                })
                .await;
            if let Err(error) = written {
                log::error!("the use of an access token could not be written: {error}");
            }
        });
    }
}
