//! Frames: what journal and snapshots are made of, and the one reader of both. `docs/storage.md` gives the bytes.

use std::io::{self, BufReader, Read};

use ring::digest::{Context, SHA256};

use super::changes::{self, Change};
use super::digest::{Digest, truncated};

/// How a frame begins.
pub(super) const MAGIC: [u8; 4] = *b"bdry";

/// The format that is written, and the only one that is read.
pub(super) const FORMAT: u8 = 1;

/// How long the content of a frame may be.
pub(super) const MAX_BODY: usize = 4 << 20;

/// Before the content.
pub(super) const HEAD: usize = 54;

/// Digest and checksum, after the content.
pub(super) const TAIL: usize = 32;

/// The first 16 bytes of SHA-256 over all of a frame before it.
pub(super) type Checksum = [u8; 16];

/// The random name of the line of changes that a store has been through; a restored store starts a new one.
pub(super) type History = [u8; 16];

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The first frame of a segment; `sequence` is that of the first group that follows.
    Segment = 1,
    /// A group of changes.
    Group = 2,
    /// The first frame of a snapshot.
    Snapshot = 3,
    /// Rows of a snapshot.
    Rows = 4,
    /// The last frame of a snapshot.
    End = 5,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Segment,
        Self::Group,
        Self::Snapshot,
        Self::Rows,
        Self::End,
    ];
}

/// What stands in every frame beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) kind: Kind,
    pub(super) schema: u32,
    pub(super) history: History,
    pub(super) sequence: u64,
    /// The checksum of the frame before.
    pub(super) previous: Checksum,
    /// The digest of all rows after this frame.
    pub(super) digest: Digest,
}

impl Meta {
    /// The bytes of a frame, and its checksum.
    pub(super) fn frame(&self, content: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, Checksum) {
        let mut body = Vec::new();
        content(&mut body);
        // Callers keep their content below MAX_BODY.
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEAD + body.len() + TAIL);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(FORMAT);
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&self.schema.to_be_bytes());
        bytes.extend_from_slice(&self.history);
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.previous);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.append(&mut body);
        bytes.extend_from_slice(&self.digest.to_bytes());
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        (bytes, checksum)
    }
}

fn checksum(bytes: &[u8]) -> Checksum {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    truncated(context).unwrap_or_default()
}

/// A frame that was read and is what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) meta: Meta,
    pub(super) checksum: Checksum,
    bytes: Vec<u8>,
}

impl Frame {
    fn body(&self) -> &[u8] {
        let end = self.bytes.len().saturating_sub(TAIL);
        self.bytes.get(HEAD..end).unwrap_or_default()
    }

    /// The changes, or the rows of a snapshot.
    pub(super) fn changes(&self) -> Result<Vec<Change<'_>>, Bad> {
        changes::decode(self.body()).ok_or(Bad::Content)
    }
}

/// What is wrong with the bytes where a frame should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    Short,
    Magic,
    Format(u8),
    Length,
    Checksum,
    Kind,
    Content,
    Chain,
}

impl Bad {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Short => "it ends in the middle of a frame",
            Self::Magic => "no frame begins here",
            Self::Format(_) => "the frame has an unknown format",
            Self::Length => "the frame gives an impossible length",
            Self::Checksum => "the frame does not match its checksum",
            Self::Kind => "the frame is of an unknown kind",
            Self::Chain => "the frame does not follow the one before it",
            Self::Content => "what the frame holds cannot be read",
        }
    }
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (part, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*part)
}

/// How long the content is that the first [`HEAD`] bytes of a frame announce.
fn body_length(head: &[u8]) -> Result<usize, Bad> {
    let mut input = head;
    if take(&mut input).ok_or(Bad::Short)? != MAGIC {
        return Err(Bad::Magic);
    }
    match take::<1>(&mut input).ok_or(Bad::Short)? {
        [FORMAT] => {}
        [found] => return Err(Bad::Format(found)),
    }
    let length = head
        .get(HEAD - 4..HEAD)
        .and_then(|bytes| bytes.first_chunk())
        .ok_or(Bad::Short)?;
    usize::try_from(u32::from_be_bytes(*length))
        .ok()
        .filter(|length| *length <= MAX_BODY)
        .ok_or(Bad::Length)
}

/// Reads a frame that fills `bytes`.
fn parse(bytes: Vec<u8>) -> Result<Frame, Bad> {
    let length = body_length(&bytes)?;
    if bytes.len() != HEAD + length + TAIL {
        return Err(Bad::Short);
    }
    let (checked, found) = bytes.split_last_chunk().ok_or(Bad::Short)?;
    if checksum(checked) != *found {
        return Err(Bad::Checksum);
    }
    let checksum = *found;
    let (_, digest) = checked.split_last_chunk().ok_or(Bad::Short)?;
    let digest = Digest::from_bytes(*digest);
    let mut input = checked.get(MAGIC.len() + 1..).ok_or(Bad::Short)?;
    let [kind] = take(&mut input).ok_or(Bad::Short)?;
    let meta = Meta {
        kind: Kind::ALL
            .into_iter()
            .find(|known| *known as u8 == kind)
            .ok_or(Bad::Kind)?,
        schema: u32::from_be_bytes(take(&mut input).ok_or(Bad::Short)?),
        history: take(&mut input).ok_or(Bad::Short)?,
        sequence: u64::from_be_bytes(take(&mut input).ok_or(Bad::Short)?),
        previous: take(&mut input).ok_or(Bad::Short)?,
        digest,
    };
    Ok(Frame {
        meta,
        checksum,
        bytes,
    })
}

/// What stands at the place where the reader is.
pub(super) enum Next {
    /// A frame.
    Frame(Frame),
    /// The end of the file.
    End,
    /// Something else; nothing after it can be read.
    Bad(Bad),
}

/// Reads one frame after the other.
pub(super) struct Reader<R> {
    input: BufReader<R>,
    offset: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(256 << 10, input),
            offset: 0,
        }
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        let mut bytes = Vec::with_capacity(HEAD);
        if self.read(&mut bytes, HEAD)? == 0 {
            return Ok(Next::End);
        }
        let length = match body_length(&bytes) {
            Ok(length) => length,
            Err(bad) => return Ok(Next::Bad(bad)),
        };
        self.read(&mut bytes, length + TAIL)?;
        let whole = bytes.len();
        Ok(match parse(bytes) {
            Ok(frame) => {
                self.offset += whole as u64;
                Next::Frame(frame)
            }
            Err(bad) => Next::Bad(bad),
        })
    }

    fn read(&mut self, bytes: &mut Vec<u8>, count: usize) -> io::Result<usize> {
        self.input.by_ref().take(count as u64).read_to_end(bytes)
    }
}

/// Every intact group of a history that begins anywhere in the bytes, however damaged they are.
pub(super) fn search(bytes: &[u8], history: History) -> impl Iterator<Item = Frame> {
    let mut place = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(place..)?;
            let ahead = rest
                .windows(MAGIC.len())
                .position(|window| window == MAGIC)?;
            let rest = rest.get(ahead..)?;
            place += ahead;
            let found = rest
                .get(..HEAD)
                .and_then(|head| body_length(head).ok())
                .and_then(|length| rest.get(..HEAD + length + TAIL))
                .and_then(|frame| parse(frame.to_vec()).ok())
                .filter(|frame| frame.meta.history == history && frame.meta.kind == Kind::Group);
            match found {
                Some(frame) => {
                    place += frame.bytes.len();
                    return Some(frame);
                }
                None => place += 1,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta {
            kind: Kind::Group,
            schema: 1,
            history: [0xaa; 16],
            sequence: 7,
            previous: [0xbb; 16],
            digest: Digest::from_bytes([0xcc; 16]),
        }
    }

    #[test]
    fn a_frame_has_the_bytes_that_the_documentation_says() {
        let (bytes, checksum) =
            meta().frame(|out| changes::encode_change(out, 3, b"k", Some(b"r")));
        let mut expected = b"bdry\x01\x02\x00\x00\x00\x01".to_vec();
        expected.extend([0xaa; 16]);
        expected.extend(7_u64.to_be_bytes());
        expected.extend([0xbb; 16]);
        expected.extend(b"\x00\x00\x00\x0a\x03\x01\x00\x01k\x00\x00\x00\x01r");
        expected.extend([0xcc; 16]);
        let sum = ring::digest::digest(&SHA256, &expected);
        expected.extend(&sum.as_ref()[..16]);
        assert_eq!(bytes, expected);
        assert_eq!(checksum, sum.as_ref()[..16]);

        let mut reader = Reader::new(bytes.as_slice());
        let Next::Frame(frame) = reader.next().unwrap() else {
            panic!("it is a frame");
        };
        assert_eq!((frame.meta, frame.checksum), (meta(), checksum));
        assert_eq!(frame.changes().unwrap(), [(3, &b"k"[..], Some(&b"r"[..]))]);
        assert_eq!(reader.offset(), bytes.len() as u64);
        assert!(matches!(reader.next().unwrap(), Next::End));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let (bytes, _) = meta().frame(|out| changes::encode_change(out, 3, b"key", None));
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                let next = Reader::new(flipped.as_slice()).next().unwrap();
                assert!(matches!(next, Next::Bad(_)), "byte {place}, bit {bit}");
            }
            let next = Reader::new(&bytes[..place]).next().unwrap();
            assert!(matches!(next, Next::Bad(_)) || place == 0, "cut at {place}");
        }
    }

    #[test]
    fn frames_are_found_in_rubble() {
        let (frame, _) = meta().frame(|_| {});
        let foreign = Meta {
            history: [1; 16],
            ..meta()
        };
        let mut bytes = b"bdbdry".to_vec();
        bytes.extend(foreign.frame(|_| {}).0);
        bytes.extend(&frame);
        bytes.extend(b"bdry\x01");
        bytes.extend(&frame);
        bytes.extend(&frame[..frame.len() - 1]);
        assert_eq!(search(&bytes, [0xaa; 16]).count(), 2);
    }
}
