//! Who is bound to addresses that a client knows only itself, or shows; and the pepper that they are hashed with.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::limits::{Limited, Limits};
use crate::metrics::Metrics;
use crate::random::{Random, RandomError};
pub use crate::storage::Found;
use crate::storage::tables::{Associations, PeppersRecord};
use crate::storage::{RotationError, Store, StoreError};
use crate::types::{LookupAlgorithm, LookupHash, Medium, Pepper, ThreePid, UserId};

/// What of the configuration lookups need.
#[derive(Debug, Clone)]
pub struct LookupSettings {
    /// What clients may ask with.
    pub algorithms: Vec<LookupAlgorithm>,
    /// How old a pepper gets; none if it stays.
    pub rotate_every: Option<Duration>,
    /// How long the previous pepper answers.
    pub grace: Duration,
}

/// What clients need to know before they ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashDetails<'a> {
    /// The pepper.
    pub pepper: Pepper,
    /// The algorithms.
    pub algorithms: &'a [LookupAlgorithm],
}

/// Why a lookup was refused.
#[derive(Debug, thiserror::Error)]
pub enum HashedLookupError {
    /// The pepper does not answer; this one does.
    #[error("the pepper is another one now")]
    InvalidPepper(Pepper),
    /// Too many addresses.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the pepper was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// No randomness for another one.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// It cannot be now, or the store failed.
    #[error(transparent)]
    Rotation(#[from] RotationError),
}

/// What lookups are put together from.
pub struct LookupParts {
    /// The store.
    pub store: Store,
    /// Counts addresses.
    pub limits: Arc<Limits>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Peppers.
    pub random: Random,
    /// Counts what is done.
    pub metrics: Arc<Metrics>,
}

/// The service.
pub struct Lookup {
    parts: LookupParts,
    settings: LookupSettings,
}

impl Lookup {
    /// The service over its parts. Before it is used [`Self::ensure_pepper`] must have been called.
    pub fn new(parts: LookupParts, settings: LookupSettings) -> Self {
        Self { parts, settings }
    }

    /// The algorithms and the pepper (identity service, `GET hash_details`).
    ///
    /// # Errors
    /// When the store fails.
    pub fn hash_details(&self) -> Result<HashDetails<'_>, StoreError> {
        Ok(HashDetails {
            pepper: self.peppers()?.current,
            algorithms: &self.settings.algorithms,
        })
    }

    /// Whether clients may ask with an algorithm.
    pub fn serves(&self, algorithm: LookupAlgorithm) -> bool {
        self.settings.algorithms.contains(&algorithm)
    }

    /// The users that addresses are bound to, in the order in which they were asked (identity service, `POST lookup`).
    /// What is no hash, or no address, is bound to nobody.
    ///
    /// # Errors
    /// When the pepper is no longer right, or the account has asked for too many addresses.
    pub fn lookup(
        &self,
        account: &UserId,
        algorithm: LookupAlgorithm,
        pepper: &Pepper,
        addresses: &[&str],
    ) -> Result<Found, HashedLookupError> {
        let now = self.parts.clock.now();
        let is_right = self
            .parts
            .store
            .read(|tx| Ok::<_, StoreError>(tx.answers_to(pepper, now)))?;
        if !is_right {
            return Err(HashedLookupError::InvalidPepper(self.peppers()?.current));
        }
        let found = match algorithm {
            LookupAlgorithm::Sha256 => self.by_hash(account, pepper, addresses)?,
            LookupAlgorithm::Plain => self.by_address(account, pepper, addresses)?,
        };
        self.parts.metrics.looked_up(addresses.len());
        Ok(found)
    }

    fn by_hash(
        &self,
        account: &UserId,
        pepper: &Pepper,
        addresses: &[&str],
    ) -> Result<Found, HashedLookupError> {
        let hashes: Vec<Option<LookupHash>> = addresses
            .iter()
            .map(|text| LookupHash::parse(text).ok())
            .collect();
        let limits = &self.parts.limits;
        limits.take_lookups(account, hashes.iter().flatten())?;
        let now = self.parts.clock.now();
        let found = self
            .parts
            .store
            .read(|tx| tx.lookup(pepper, &hashes, now))?;
        match found {
            Some(found) => Ok(found),
            // It was the right one a moment ago.
            None => Err(HashedLookupError::InvalidPepper(self.peppers()?.current)),
        }
    }

    fn by_address(
        &self,
        account: &UserId,
        pepper: &Pepper,
        addresses: &[&str],
    ) -> Result<Found, HashedLookupError> {
        let threepids: Vec<Option<ThreePid>> =
            addresses.iter().map(|text| threepid(text)).collect();
        let hash = |known: &ThreePid| LookupHash::of(known.address(), known.medium(), pepper);
        // Counted like its hash: whoever asks in both ways asks for the same.
        let hashes: Vec<LookupHash> = threepids.iter().flatten().map(hash).collect();
        self.parts.limits.take_lookups(account, hashes.iter())?;
        let now = self.parts.clock.now();
        let bound = self.parts.store.read(|tx| {
            let user = |known: &Option<ThreePid>| -> Result<Option<String>, StoreError> {
                let Some(known) = known else { return Ok(None) };
                let record = tx.get::<Associations>(known)?;
                let record = record.filter(|record| now < record.not_after);
                Ok(record.map(|record| record.mxid.into()))
            };
            threepids.iter().map(user).collect::<Result<Found, _>>()
        })?;
        Ok(bound)
    }

    fn peppers(&self) -> Result<PeppersRecord, StoreError> {
        self.parts
            .store
            .read(|tx| Ok::<_, StoreError>(tx.peppers()))?
            .ok_or_else(|| StoreError::Unavailable("there is no pepper yet".into()))
    }

    fn stored_peppers(&self) -> Result<Option<PeppersRecord>, RotationError> {
        let peppers = self.parts.store.read(|tx| Ok(tx.peppers()));
        peppers.map_err(RotationError::Store)
    }

    /// Brings in another pepper while everything goes on. The one before it answers until its grace is over.
    ///
    /// # Errors
    /// While the pepper is being changed, or the one before still answers; or when the store fails.
    pub async fn rotate(&self) -> Result<(), RotateError> {
        let parts = &self.parts;
        let pepper = parts.random.pepper()?;
        let associations = parts
            .store
            .rotate_pepper(pepper, &*parts.clock, self.settings.grace)
            .await?;
        log::info!("lookups have a new pepper ({associations} associations)");
        Ok(())
    }

    /// Makes the first pepper, if there is none yet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ensure_pepper(&self) -> Result<(), RotateError> {
        if self.stored_peppers()?.is_some() {
            return Ok(());
        }
        self.rotate().await
    }

    /// Drops the previous pepper when its grace is over, and changes the current one when it is old enough.
    ///
    /// # Errors
    /// When the store fails; a change that is under way already is none.
    pub async fn run_once(&self) -> Result<(), RotateError> {
        let now = self.parts.clock.now();
        let ended = self.parts.store.end_grace(now).await;
        if ended.map_err(RotationError::Store)? {
            log::info!("the previous pepper does not answer any more");
        }
        let peppers = self.stored_peppers()?;
        let is_due = |peppers: &PeppersRecord| {
            // One that seems to come from later than any could is of a time when the clock was wrong.
            let is_old = |every: Duration| {
                peppers.since.plus(every) <= now || now.plus(every) < peppers.since
            };
            self.settings.rotate_every.is_some_and(is_old) && peppers.previous.is_none()
        };
        if !peppers.as_ref().is_some_and(is_due) {
            return Ok(());
        }
        match self.rotate().await {
            Err(RotateError::Rotation(RotationError::Running | RotationError::PreviousAnswers)) => {
                Ok(())
            }
            rotated => rotated,
        }
    }
}

/// An address as the algorithm `none` writes it: the address, a space, the medium.
fn threepid(text: &str) -> Option<ThreePid> {
    let (address, medium) = text.rsplit_once(' ')?;
    ThreePid::parse(Medium::parse(medium).ok()?, address).ok()
}
