//! Whether SMS are sent, and how many.

use serde::{Deserialize, Serialize};

use super::Admin;
use crate::storage::tables::{Budget, Meta, MetaName, MetaRecord};
use crate::storage::{StoreError, Tx};
use crate::types::Timestamp;

/// Whether SMS are sent, and how many were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmsStatus {
    /// Since when the operator has stopped them; none while they are sent.
    pub stopped: Option<Timestamp>,
    /// How many of the day's budget were sent, or tried.
    pub spent: u32,
    /// The day's budget.
    pub daily_budget: u32,
}

impl Admin {
    /// Whether they are sent, and how many of the day's budget were.
    pub(super) fn sms(&self) -> Result<SmsStatus, StoreError> {
        let now = self.parts.clock.now();
        self.parts.store.read(|tx| {
            let stopped = match tx.get::<Meta>(&MetaName::SmsStopped)? {
                Some(MetaRecord::SmsStopped { since }) => Some(since),
                _ => None,
            };
            Ok(SmsStatus {
                stopped,
                spent: tx.spent(&Budget::Sms, now)?,
                daily_budget: self.parts.sms_budget,
            })
        })
    }

    /// Stops them, or lets them be sent again.
    pub(super) async fn switch_sms(&self, on: bool) -> Result<(), StoreError> {
        let stopped = MetaRecord::SmsStopped {
            since: self.parts.clock.now(),
        };
        let switch = move |tx: &mut Tx<'_>| {
            let name = MetaName::SmsStopped;
            if on {
                tx.delete::<Meta>(&name)
            } else if tx.get::<Meta>(&name)?.is_none() {
                tx.put::<Meta>(&name, &stopped)
            } else {
                Ok(())
            }
        };
        self.parts.store.write(switch).await
    }
}
