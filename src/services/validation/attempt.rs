//! What a submitted token does to a session.

use std::time::Duration;

use crate::storage::sessions::{Session, ValidatedSession};
use crate::storage::tables::Sessions;
use crate::storage::{StoreError, Tx};
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
        Ok(match Session::at(&self.sid, record, self.now) {
            Session::Expired => Outcome::Expired,
            Session::Validated(session) if self.right => Outcome::Validated {
                session,
                first: false,
            },
            Session::Validated(_) => Outcome::Wrong { burnt: false },
            Session::Pending(session) if self.right => Outcome::Validated {
                session: session.validate(tx, self.now, self.lifetime)?,
                first: true,
            },
            Session::Pending(session) => Outcome::Wrong {
                burnt: session.count_wrong_try(tx, self.tries)?,
            },
        })
    }
}
