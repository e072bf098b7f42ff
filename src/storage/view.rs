//! What readers see: the index, and over it the changes that are being put into it.

use std::sync::{Arc, PoisonError, RwLock};

use super::changes::Changes;
use super::index::Index;
use super::lookup::LookupTables;
use super::outgoing::Outgoing;
use super::tx::Tx;

/// The rows as they are after the last durable group.
///
/// A group becomes visible by one exchange of a pointer, for which readers are kept out; it is put into the index after
/// that, while readers go on and see the same rows in the layer above. The next group is shown only when the one before
/// is in the index and no reader that knows only older changes is left.
pub(super) struct View {
    index: Index,
    lookup: Arc<LookupTables>,
    shown: RwLock<Arc<Changes>>,
    outgoing: Outgoing,
}

impl View {
    pub(super) fn new(index: Index, lookup: LookupTables) -> Self {
        Self {
            index,
            lookup: Arc::new(lookup),
            shown: RwLock::default(),
            outgoing: Outgoing::default(),
        }
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn lookup(&self) -> &Arc<LookupTables> {
        &self.lookup
    }

    /// What a closure of the writer sees, after what earlier ones of its group changed.
    pub(super) fn tx<'a>(&'a self, group: Option<&'a Changes>) -> Tx<'a> {
        Tx::new(&self.index, group).with_lookup(&self.lookup)
    }

    /// Runs a query over rows that do not change meanwhile.
    pub(super) fn read<T>(&self, query: impl FnOnce(&Tx<'_>) -> T) -> T {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        query(&self.tx(Some(&shown)))
    }

    /// Which outgoing work became visible.
    pub(super) fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    /// Makes changes visible, in place of those that are in the index by now.
    pub(super) fn show(&self, changes: Arc<Changes>) {
        let now_shown = Arc::clone(&changes);
        let (before, discarded) = {
            let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
            let discarded = self.lookup.apply(&changes);
            (std::mem::replace(&mut *shown, changes), discarded)
        };
        self.outgoing.note(&now_shown);
        // Freed while readers go on already.
        drop((before, discarded));
    }
}
