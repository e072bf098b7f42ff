//! All rows of a moment, out of a snapshot and the changes after it. Snapshots are made and the index is rebuilt from
//! this, so neither ever depends on the index.

use super::changes::Changes;
use super::error::JournalError;
use super::layout::Layout;
use super::recovery::{self, Base, Head};
use super::snapshot::Rows;

/// What is called with every row.
pub(super) type Visit<'a> = &'a mut dyn FnMut(u8, &[u8], &[u8]) -> Result<(), JournalError>;

/// A moment whose rows can be read.
pub(super) struct Moment {
    base: Base,
    changes: Changes,
    head: Head,
}

impl Moment {
    /// The moment after the last of these segments, read from a base.
    fn after(folder: &Layout, base: Base, segments: &[u64]) -> Result<Self, JournalError> {
        let mut changes = Changes::default();
        let head = if segments.is_empty() {
            base.head
        } else {
            let (head, tail) =
                recovery::read_segments(folder, &base, segments, &mut |_, group| {
                    for (table, key, record) in group {
                        changes.set(*table, key.to_vec(), record.map(<[u8]>::to_vec));
                    }
                    Ok(())
                })?;
            if let Some(bad) = tail.bad {
                return Err(JournalError::Damaged {
                    file: folder.segment(tail.first),
                    offset: tail.intact,
                    reason: bad.reason(),
                    intact: head.sequence,
                    later: 0,
                });
            }
            head
        };
        Ok(Self {
            base,
            changes,
            head,
        })
    }

    /// The moment before the first damage, and what is damaged.
    pub(super) fn as_far_as_intact(
        folder: &Layout,
        base: Base,
    ) -> Result<(Self, Option<JournalError>), JournalError> {
        let mut changes = Changes::default();
        let mut head = base.head;
        let read = recovery::read_from(folder, &base, &mut |frame, group| {
            for (table, key, record) in group {
                changes.set(*table, key.to_vec(), record.map(<[u8]>::to_vec));
            }
            head = Head {
                sequence: frame.meta.sequence,
                checksum: frame.checksum,
                digest: frame.meta.digest,
            };
            Ok(())
        });
        let damage = match read {
            Ok((_, tail)) => match tail.bad {
                Some(bad) => {
                    let file = folder.segment(tail.first);
                    let later = recovery::later_frames(&file, tail.intact, base.history)?;
                    Some(JournalError::Damaged {
                        file,
                        offset: tail.intact,
                        reason: bad.reason(),
                        intact: head.sequence,
                        later,
                    })
                }
                None => None,
            },
            Err(
                error @ (JournalError::Damaged { .. }
                | JournalError::Gap { .. }
                | JournalError::Missing { .. }
                | JournalError::Foreign(_)),
            ) => Some(error),
            Err(error) => return Err(error),
        };
        let moment = Self {
            base,
            changes,
            head,
        };
        Ok((moment, damage))
    }

    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Calls `visit` with every row, in the order of tables and keys.
    pub(super) fn rows(&self, folder: &Layout, visit: Visit<'_>) -> Result<(), JournalError> {
        let sequence = self.base.head.sequence;
        let snapshot = if self.base.snapshot {
            Some(Rows::open(&folder.snapshot(sequence), sequence)?)
        } else {
            None
        };
        let mut changes = self.changes.iter().peekable();
        for row in snapshot.into_iter().flatten() {
            let (table, key, record) = row?;
            let place = (table, key.as_slice());
            while let Some((table, key, new)) =
                changes.next_if(|(table, key, _)| (*table, *key) < place)
            {
                if let Some(new) = new {
                    visit(table, key, new)?;
                }
            }
            match changes.next_if(|(table, key, _)| (*table, *key) == place) {
                Some((_, _, Some(new))) => visit(table, &key, new)?,
                Some((_, _, None)) => {}
                None => visit(table, &key, &record)?,
            }
        }
        for (table, key, record) in changes {
            if let Some(record) = record {
                visit(table, key, record)?;
            }
        }
        Ok(())
    }
}

/// Does something with the rows after the last of the segments that `segments_after` answers for a base. Where a
/// snapshot turns out to be damaged, the older one takes its place, which needs more segments.
pub(super) fn with_rows<T>(
    folder: &Layout,
    segments_after: impl Fn(u64) -> Result<Vec<u64>, JournalError>,
    mut work: impl FnMut(Moment) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    let mut damage = None;
    for base in recovery::bases(folder)? {
        let tried = base.and_then(|base| {
            let segments = segments_after(base.head.sequence)?;
            work(Moment::after(folder, base, &segments)?)
        });
        match tried {
            Err(error @ JournalError::Snapshot { .. }) => {
                log::warn!("{error}: trying an older snapshot");
                damage.get_or_insert(error);
            }
            // The older base cannot stand in: what is to be said is why the newer one did not do.
            Err(JournalError::Gap { .. } | JournalError::Missing { .. }) if damage.is_some() => {}
            other => return other,
        }
    }
    Err(damage.unwrap_or_else(|| JournalError::Missing {
        folder: folder.journal(),
        expected: 1,
    }))
}
