//! What a submitted token does to a session.

use std::time::Duration;

use crate::storage::sessions::{Session, ValidatedSession};
use crate::storage::tables::{Budget, Sessions};
use crate::storage::{Spent, StoreError, Tx};
use crate::types::{ClientSecretHash, Medium, Sid, Timestamp};

/// One submitted token, compared already; the rest is decided inside the store.
pub(super) struct Attempt {
    pub(super) medium: Medium,
    pub(super) sid: Sid,
    pub(super) client_secret: Option<ClientSecretHash>,
    pub(super) right: bool,
    pub(super) now: Timestamp,
    pub(super) lifetime: Duration,
    pub(super) tries: u32,
    /// What is counted besides, in all sessions of the address together.
    pub(super) wrong_codes: Option<WrongCodes>,
}

/// How many wrong codes are looked at in how long.
pub(super) struct WrongCodes {
    pub(super) budget: Budget,
    pub(super) most: u32,
    pub(super) per: Duration,
}

/// What came of it.
pub(super) enum Outcome {
    Validated {
        session: ValidatedSession,
        /// False if it was validated already.
        first: bool,
    },
    Expired,
    NoSession,
    Wrong {
        burnt: bool,
    },
    /// Too many wrong ones came for the address: whether this one was right is not said.
    TooMany {
        again_in: Duration,
    },
}

impl Attempt {
    /// Decides, and writes what follows.
    pub(super) fn carry_out(&self, tx: &mut Tx<'_>) -> Result<Outcome, StoreError> {
        let record = tx.get::<Sessions>(&self.sid)?.filter(|record| {
            record.threepid.medium() == self.medium
                && self
                    .client_secret
                    .as_ref()
                    .is_none_or(|secret| record.client_secret == *secret)
        });
        let Some(record) = record else {
            return Ok(Outcome::NoSession);
        };
        let session = match Session::at(&self.sid, record, self.now) {
            Session::Expired => return Ok(Outcome::Expired),
            Session::Validated(session) if self.right => {
                return Ok(Outcome::Validated {
                    session,
                    first: false,
                });
            }
            Session::Validated(_) => return Ok(Outcome::Wrong { burnt: false }),
            Session::Pending(session) => session,
        };
        if let Some(WrongCodes { budget, most, per }) = &self.wrong_codes {
            let spent = if self.right {
                tx.can_take(budget, *most, self.now)?
            } else {
                tx.take(budget, *most, *per, self.now)?
            };
            if let Spent::No { again_in } = spent {
                return Ok(Outcome::TooMany { again_in });
            }
        }
        Ok(if self.right {
            Outcome::Validated {
                session: session.validate(tx, self.now, self.lifetime)?,
                first: true,
            }
        } else {
            Outcome::Wrong {
                burnt: session.count_wrong_try(tx, self.tries)?,
            }
        })
    }
}
