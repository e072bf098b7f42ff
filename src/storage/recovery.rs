//! Reads a journal from its beginning, or from a snapshot, to its end, and tells damage from an end that was cut off.
//! Nothing here writes.

use std::fs::{self, File};
use std::path::Path;

use super::changes::Change;
use super::digest::Digest;
use super::error::JournalError;
use super::frame::{self, Bad, Checksum, FORMAT, Frame, History, Kind, Next, Reader};
use super::layout::{Layout, Listing};
use super::{SCHEMA, snapshot};

/// Where a history stands after some change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    /// The number of the change; none was made at 0.
    pub(super) sequence: u64,
    /// The checksum of its frame.
    pub(super) checksum: Checksum,
    /// The digest of all rows after it.
    pub(super) digest: Digest,
}

/// A place in a history from which on it can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    pub(super) history: History,
    pub(super) head: Head,
    /// Whether there is a snapshot of this place; else it is the very beginning.
    pub(super) snapshot: bool,
}

/// How the last segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// The number of the segment.
    pub(super) first: u64,
    /// Whether it holds any changes.
    pub(super) is_empty: bool,
    /// How many bytes of it are intact.
    pub(super) intact: u64,
    /// What stands after them.
    pub(super) bad: Option<Bad>,
}

/// A journal that was read to its end.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) history: History,
    pub(super) head: Head,
    pub(super) tail: Tail,
}

/// Reads the journal from the newest snapshot on.
///
/// # Errors
/// When anything but the end of the last segment is damaged, missing, or not of this history.
pub(super) fn examine(folder: &Layout) -> Result<Examined, JournalError> {
    let base = newest_base(folder)?;
    let (head, tail) = read_from(folder, &base, &mut |_, _| Ok(()))?;
    if let Some(bad) = tail.bad {
        let file = folder.segment(tail.first);
        let later = later_frames(&file, tail.intact, base.history)?;
        if later > 0 {
            return Err(JournalError::Damaged {
                file,
                offset: tail.intact,
                reason: bad.reason(),
                intact: head.sequence,
                later,
            });
        }
    }
    Ok(Examined {
        history: base.history,
        head,
        tail,
    })
}

/// What is in the folder of the journal.
pub(super) fn list(folder: &Layout) -> Result<Listing, JournalError> {
    folder.list().map_err(JournalError::file(folder.journal()))
}

/// The beginning of the segment that a change stands in; none if it is no longer kept.
pub(super) fn base_before(folder: &Layout, sequence: u64) -> Result<Option<Base>, JournalError> {
    let segments = list(folder)?.segments;
    let Some(first) = segments.into_iter().rfind(|first| *first <= sequence) else {
        return Ok(None);
    };
    let file = folder.segment(first);
    let (meta, _) = read_segment_head(&mut open(&file)?, &file, 0)?;
    Ok(Some(Base {
        history: meta.history,
        head: Head {
            sequence: first.saturating_sub(1),
            checksum: meta.previous,
            digest: meta.digest,
        },
        snapshot: false,
    }))
}

/// The newest place from which the journal can be read. A snapshot whose beginning is damaged is passed over if an
/// older one, or the whole journal, can stand in for it.
pub(super) fn newest_base(folder: &Layout) -> Result<Base, JournalError> {
    let mut bases = bases(folder)?;
    let newest = bases.next();
    newest.unwrap_or_else(|| {
        Err(JournalError::Missing {
            folder: folder.journal(),
            expected: 1,
        })
    })
}

/// The places from which the journal can be read, newest first; at the end what is wrong with the others.
pub(super) fn bases(
    folder: &Layout,
) -> Result<impl Iterator<Item = Result<Base, JournalError>>, JournalError> {
    let listing = list(folder)?;
    let (mut bases, mut damage) = (Vec::new(), Vec::new());
    for sequence in listing.snapshots.into_iter().rev() {
        match snapshot::read_head(&folder.snapshot(sequence), sequence) {
            Ok(base) => bases.push(Ok(base)),
            Err(error @ JournalError::Snapshot { .. }) => damage.push(Err(error)),
            Err(error) => return Err(error),
        }
    }
    if listing.segments.first() == Some(&1) {
        let file = folder.segment(1);
        let mut reader = open(&file)?;
        let (meta, _) = read_segment_head(&mut reader, &file, 0)?;
        bases.push(Ok(Base {
            history: meta.history,
            head: Head::default(),
            snapshot: false,
        }));
    }
    Ok(bases.into_iter().chain(damage))
}

/// What is called with every group of changes.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&Frame, &[Change<'_>]) -> Result<(), JournalError>;

/// Reads all segments after a base.
pub(super) fn read_from(
    folder: &Layout,
    base: &Base,
    visit: Visit<'_>,
) -> Result<(Head, Tail), JournalError> {
    let listing = list(folder)?;
    let segments: Vec<u64> = listing
        .segments
        .into_iter()
        .filter(|first| *first > base.head.sequence)
        .collect();
    read_segments(folder, base, &segments, visit)
}

/// Reads segments in their order, which must be that of the history. Damage is an error, except after the intact part
/// of the last one.
pub(super) fn read_segments(
    folder: &Layout,
    base: &Base,
    segments: &[u64],
    visit: Visit<'_>,
) -> Result<(Head, Tail), JournalError> {
    let mut head = base.head;
    let mut tail = None;
    for (place, first) in segments.iter().enumerate() {
        let file = folder.segment(*first);
        let end = read_segment(&file, *first, base.history, &mut head, visit)?;
        let later_segments = segments.get(place + 1..).unwrap_or_default();
        if let (Some(bad), false) = (end.bad, later_segments.is_empty()) {
            let mut later = later_frames(&file, end.intact, base.history)?;
            for first in later_segments {
                later += later_frames(&folder.segment(*first), 0, base.history)?;
            }
            return Err(JournalError::Damaged {
                file,
                offset: end.intact,
                reason: bad.reason(),
                intact: head.sequence,
                later,
            });
        }
        tail = Some(end);
    }
    let tail = tail.ok_or_else(|| JournalError::Missing {
        folder: folder.journal(),
        expected: head.sequence + 1,
    })?;
    Ok((head, tail))
}

fn open(file: &Path) -> Result<Reader<File>, JournalError> {
    File::open(file)
        .map(Reader::new)
        .map_err(JournalError::file(file))
}

/// Reads the frame that begins a segment.
fn read_segment_head(
    reader: &mut Reader<File>,
    file: &Path,
    intact: u64,
) -> Result<(frame::Meta, Checksum), JournalError> {
    let damaged = |reason| JournalError::Damaged {
        file: file.to_owned(),
        offset: 0,
        reason,
        intact,
        later: 0,
    };
    let found = match reader.next().map_err(JournalError::file(file))? {
        Next::Frame(found) => found,
        Next::End => return Err(damaged("it is empty")),
        Next::Bad(Bad::Format(found)) if found > FORMAT => {
            return Err(JournalError::Newer {
                file: file.to_owned(),
                what: "format",
                found: u32::from(found),
            });
        }
        Next::Bad(bad) => return Err(damaged(bad.reason())),
    };
    if found.meta.schema > SCHEMA {
        return Err(JournalError::Newer {
            file: file.to_owned(),
            what: "schema",
            found: found.meta.schema,
        });
    }
    if found.meta.kind != Kind::Segment {
        return Err(damaged("it does not begin as a segment does"));
    }
    Ok((found.meta, found.checksum))
}

fn read_segment(
    file: &Path,
    first: u64,
    history: History,
    head: &mut Head,
    visit: Visit<'_>,
) -> Result<Tail, JournalError> {
    let mut reader = open(file)?;
    let (meta, _) = read_segment_head(&mut reader, file, head.sequence)?;
    if meta.history != history {
        return Err(JournalError::Foreign(file.to_owned()));
    }
    let expected = head.sequence + 1;
    if meta.sequence == first && first > expected {
        return Err(JournalError::Gap {
            file: file.to_owned(),
            expected,
            found: first,
        });
    }
    let follows = meta.sequence == expected
        && first == expected
        && meta.previous == head.checksum
        && meta.digest == head.digest;
    if !follows {
        return Err(JournalError::Damaged {
            file: file.to_owned(),
            offset: 0,
            reason: "it does not follow the segment before it",
            intact: head.sequence,
            later: 0,
        });
    }
    let mut tail = Tail {
        first,
        is_empty: true,
        intact: reader.offset(),
        bad: None,
    };
    loop {
        let frame = match reader.next().map_err(JournalError::file(file))? {
            Next::Frame(frame) => frame,
            Next::End => return Ok(tail),
            Next::Bad(bad) => {
                tail.bad = Some(bad);
                return Ok(tail);
            }
        };
        let follows = frame.meta.kind == Kind::Group
            && frame.meta.history == history
            && frame.meta.schema <= SCHEMA
            && frame.meta.sequence == head.sequence + 1
            && frame.meta.previous == head.checksum;
        match frame.changes() {
            Ok(changes) if follows => visit(&frame, &changes)?,
            Ok(_) => tail.bad = Some(Bad::Chain),
            Err(bad) => tail.bad = Some(bad),
        }
        if tail.bad.is_some() {
            return Ok(tail);
        }
        *head = Head {
            sequence: frame.meta.sequence,
            checksum: frame.checksum,
            digest: frame.meta.digest,
        };
        tail.is_empty = false;
        tail.intact = reader.offset();
    }
}

/// How many intact groups of the history begin after a byte of a segment, whatever stands between them.
pub(super) fn later_frames(
    file: &Path,
    offset: u64,
    history: History,
) -> Result<u64, JournalError> {
    let bytes = fs::read(file).map_err(JournalError::file(file))?;
    let after = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = bytes.get(after..).unwrap_or_default();
    Ok(frame::search(rest, history).count() as u64)
}

/// The segments of a folder that nothing is written to any more, after a sequence number.
pub(super) fn sealed_after(folder: &Layout, sequence: u64) -> Result<Vec<u64>, JournalError> {
    let mut segments = list(folder)?.segments;
    segments.pop();
    segments.retain(|first| *first > sequence);
    Ok(segments)
}
