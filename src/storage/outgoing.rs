//! Which outgoing work was written, told to whoever does it, so that nobody has to look for it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::changes::Changes;
use super::codec::Key as _;
use super::tables::{Outbox, OutboxPlace, Table as _};

/// How many places are kept for whoever asks; one who asks later than that looks for all.
const MOST: usize = 16_384;

/// Work that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Where it stands.
    pub places: Vec<OutboxPlace>,
    /// Whether there is more than that.
    pub more: bool,
}

/// Collects what is written until somebody asks.
#[derive(Default)]
pub(super) struct Outgoing {
    written: Mutex<Written>,
    told: Notify,
}

impl Outgoing {
    /// Takes note of changes.
    pub(super) fn note(&self, changes: &Changes) {
        let mut keys = changes.written_into(Outbox::ID).peekable();
        if keys.peek().is_none() {
            return;
        }
        {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            for key in keys {
                if written.places.len() == MOST {
                    written.more = true;
                    break;
                }
                written.places.extend(OutboxPlace::from_bytes(key));
            }
        }
        self.told.notify_one();
    }

    /// Waits until something was written since the last time. For one who waits.
    pub(super) async fn next(&self) -> Written {
        self.told.notified().await;
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{RecordId, Timestamp};
    use futures_util::FutureExt as _;

    fn place(due: u64) -> OutboxPlace {
        (Timestamp::from_millis(due), RecordId::from_bytes([1; 16]))
    }

    fn note(outgoing: &Outgoing, dues: std::ops::Range<u64>, record: Option<&[u8]>) {
        let mut changes = Changes::default();
        for due in dues {
            changes.set(
                Outbox::ID,
                place(due).to_bytes(),
                record.map(<[u8]>::to_vec),
            );
        }
        outgoing.note(&changes);
    }

    #[test]
    fn what_was_written_is_told_once_and_what_was_deleted_is_not() {
        let outgoing = Outgoing::default();
        note(&outgoing, 0..3, None);
        assert_eq!(outgoing.next().now_or_never(), None);
        note(&outgoing, 0..2, Some(&[]));
        note(&outgoing, 5..6, Some(&[]));
        let written = outgoing.next().now_or_never().unwrap();
        assert_eq!(written.places, [0, 1, 5].map(place));
        assert!(!written.more);
        assert_eq!(outgoing.next().now_or_never(), None);
    }

    #[test]
    fn whoever_asks_too_late_is_told_to_look_for_all() {
        let outgoing = Outgoing::default();
        for _ in 0..2 {
            note(&outgoing, 0..MOST as u64, Some(&[]));
        }
        let written = outgoing.next().now_or_never().unwrap();
        assert_eq!((written.places.len(), written.more), (MOST, true));
        note(&outgoing, 7..8, Some(&[]));
        let written = outgoing.next().now_or_never().unwrap();
        assert_eq!((written.places.len(), written.more), (1, false));
    }
}
