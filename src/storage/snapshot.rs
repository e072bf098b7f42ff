//! Snapshots: all rows of one moment, sorted, in frames.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::changes::encode_change;
use super::digest::Digest;
use super::error::JournalError;
use super::files::{Disk, Out, create_whole};
use super::frame::{Bad, Checksum, FORMAT, Frame, History, Kind, Meta, Next, Reader};
use super::recovery::{Base, Head};
use super::{SCHEMA, frame};

/// A row of any table.
pub(super) type Row = (u8, Vec<u8>, Vec<u8>);

/// How many bytes of rows stand in a frame, more or less.
const ROWS: usize = 64 << 10;

/// What a snapshot says of itself.
pub(super) fn read_head(file: &Path, sequence: u64) -> Result<Base, JournalError> {
    Rows::open(file, sequence).map(|rows| rows.base)
}

/// Reads the rows of a snapshot and checks everything that can be checked.
pub(super) struct Rows {
    file: PathBuf,
    reader: Reader<File>,
    base: Base,
    previous: Checksum,
    digest: Digest,
    /// The place of the last row, so that the order can be checked.
    last: Option<(u8, Vec<u8>)>,
    waiting: VecDeque<Row>,
    ended: bool,
}

impl Rows {
    pub(super) fn open(file: &Path, sequence: u64) -> Result<Self, JournalError> {
        let input = File::open(file).map_err(JournalError::file(file))?;
        let mut reader = Reader::new(input);
        let newer = |what, found| JournalError::Newer {
            file: file.to_owned(),
            what,
            found,
        };
        let damaged = |reason| JournalError::Snapshot {
            file: file.to_owned(),
            offset: 0,
            reason,
        };
        let head = match reader.next().map_err(JournalError::file(file))? {
            Next::Frame(head) => head,
            Next::Bad(Bad::Format(found)) if found > FORMAT => {
                return Err(newer("format", u32::from(found)));
            }
            Next::Bad(bad) => return Err(damaged(bad.reason())),
            Next::End => return Err(damaged("it is empty")),
        };
        if head.meta.schema > SCHEMA {
            return Err(newer("schema", head.meta.schema));
        }
        if head.meta.kind != Kind::Snapshot || head.meta.sequence != sequence {
            return Err(damaged("it does not begin as a snapshot of its name does"));
        }
        Ok(Self {
            file: file.to_owned(),
            reader,
            base: Base {
                history: head.meta.history,
                head: Head {
                    sequence,
                    checksum: head.meta.previous,
                    digest: head.meta.digest,
                },
                snapshot: true,
            },
            previous: head.checksum,
            digest: Digest::default(),
            last: None,
            waiting: VecDeque::new(),
            ended: false,
        })
    }

    fn damaged(&self, reason: &'static str) -> JournalError {
        JournalError::Snapshot {
            file: self.file.clone(),
            offset: self.reader.offset(),
            reason,
        }
    }

    fn read_frame(&mut self) -> Result<(), JournalError> {
        let file = &self.file;
        let frame = match self.reader.next().map_err(JournalError::file(file))? {
            Next::Frame(frame) => frame,
            Next::End => return Err(self.damaged("its end is missing")),
            Next::Bad(bad) => return Err(self.damaged(bad.reason())),
        };
        let follows = frame.meta.history == self.base.history
            && frame.meta.sequence == self.base.head.sequence
            && frame.meta.previous == self.previous;
        self.previous = frame.checksum;
        match frame.meta.kind {
            Kind::Rows if follows => self.take_rows(&frame),
            Kind::End if follows => self.end(&frame),
            _ => Err(self.damaged(Bad::Chain.reason())),
        }
    }

    fn take_rows(&mut self, frame: &Frame) -> Result<(), JournalError> {
        let rows = frame.changes().map_err(|bad| self.damaged(bad.reason()))?;
        for (table, key, record) in rows {
            let place = (table, key.to_vec());
            let Some(record) = record else {
                return Err(self.damaged("a snapshot holds a deletion"));
            };
            if self.last.as_ref().is_some_and(|last| *last >= place) {
                return Err(self.damaged("its rows are not in order"));
            }
            self.digest.add(table, key, record);
            self.waiting
                .push_back((table, key.to_vec(), record.to_vec()));
            self.last = Some(place);
        }
        Ok(())
    }

    fn end(&mut self, frame: &Frame) -> Result<(), JournalError> {
        let digest = self.base.head.digest;
        if self.digest != digest || frame.meta.digest != digest {
            return Err(self.damaged("its rows do not add up to its digest"));
        }
        let after = self.reader.next().map_err(JournalError::file(&self.file))?;
        if !matches!(after, Next::End) {
            return Err(self.damaged("something stands after its end"));
        }
        self.ended = true;
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Result<Row, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.waiting.pop_front() {
                return Some(Ok(row));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.read_frame() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}

/// Writes rows, which come in order, as the snapshot of a moment.
pub(super) struct SnapshotWriter<'a> {
    out: &'a mut dyn Out,
    file: PathBuf,
    history: History,
    head: Head,
    previous: Checksum,
    rows: Vec<u8>,
    digest: Digest,
}

impl<'a> SnapshotWriter<'a> {
    fn start(
        out: &'a mut dyn Out,
        file: &Path,
        history: History,
        head: Head,
    ) -> Result<Self, JournalError> {
        let mut writer = Self {
            out,
            file: file.to_owned(),
            history,
            head,
            previous: head.checksum,
            rows: Vec::with_capacity(ROWS * 2),
            digest: Digest::default(),
        };
        writer.write(Kind::Snapshot, head.digest)?;
        Ok(writer)
    }

    /// Writes the next row.
    pub(super) fn row(&mut self, table: u8, key: &[u8], record: &[u8]) -> Result<(), JournalError> {
        self.digest.add(table, key, record);
        // A row is never larger than the content of a frame, because a group that made it was not.
        if self.rows.len() + key.len() + record.len() > frame::MAX_BODY - 64 {
            self.write(Kind::Rows, self.digest)?;
        }
        encode_change(&mut self.rows, table, key, Some(record));
        if self.rows.len() >= ROWS {
            self.write(Kind::Rows, self.digest)?;
        }
        Ok(())
    }

    fn write(&mut self, kind: Kind, digest: Digest) -> Result<(), JournalError> {
        let meta = Meta {
            kind,
            schema: SCHEMA,
            history: self.history,
            sequence: self.head.sequence,
            previous: self.previous,
            digest,
        };
        let (bytes, checksum) = meta.frame(|body| body.append(&mut self.rows));
        self.previous = checksum;
        self.out
            .append(&bytes)
            .map_err(JournalError::file(&self.file))
    }

    fn finish(mut self) -> Result<(), JournalError> {
        if !self.rows.is_empty() {
            self.write(Kind::Rows, self.digest)?;
        }
        if self.digest != self.head.digest {
            return Err(JournalError::Digest {
                folder: self.file.clone(),
                sequence: self.head.sequence,
            });
        }
        self.write(Kind::End, self.digest)
    }
}

/// Makes a snapshot that is whole, durable and checked when its name appears.
pub(super) fn write(
    disk: &dyn Disk,
    file: &Path,
    history: History,
    head: Head,
    rows: impl FnOnce(&mut SnapshotWriter<'_>) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    /// Keeps an error of ours apart from one of the file system.
    enum Failed {
        Io(std::io::Error),
        Journal(JournalError),
    }
    impl From<std::io::Error> for Failed {
        fn from(error: std::io::Error) -> Self {
            Self::Io(error)
        }
    }
    let written = create_whole(disk, file, |out| {
        let mut writer =
            SnapshotWriter::start(out, file, history, head).map_err(Failed::Journal)?;
        rows(&mut writer).map_err(Failed::Journal)?;
        writer.finish().map_err(Failed::Journal)
    });
    match written {
        Ok(_) => Ok(()),
        Err(Failed::Journal(error)) => Err(error),
        Err(Failed::Io(source)) => Err(JournalError::File {
            file: file.to_owned(),
            source,
        }),
    }
}
