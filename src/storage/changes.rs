//! What changed, as bytes: the content of a frame, and the layer that a reader sees over the index.

use std::collections::BTreeMap;
use std::ops::Bound;

/// New records by key; none for a deletion.
type OfTable = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Changes by table and key: a new record, or none for a deletion.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Changes {
    tables: BTreeMap<u8, OfTable>,
    /// How many bytes they take in a frame, or a little more.
    size: usize,
}

/// One change: table, key, and the new record or none.
pub(super) type Change<'a> = (u8, &'a [u8], Option<&'a [u8]>);

/// What a change takes in a frame beside key and record.
const OVERHEAD: usize = 8;

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// An upper bound of [`Self::encode`]'s length.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// In the order of tables and keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        self.tables.iter().flat_map(|(table, rows)| {
            rows.iter()
                .map(|(key, record)| (*table, key.as_slice(), record.as_deref()))
        })
    }

    /// In the order of tables and keys.
    pub(super) fn into_rows(self) -> impl Iterator<Item = (u8, Vec<u8>, Option<Vec<u8>>)> {
        self.tables.into_iter().flat_map(|(table, rows)| {
            rows.into_iter()
                .map(move |(key, record)| (table, key, record))
        })
    }

    pub(super) fn set(&mut self, table: u8, key: Vec<u8>, record: Option<Vec<u8>>) {
        let of = |record: &Option<Vec<u8>>| record.as_ref().map_or(0, Vec::len);
        let key_size = key.len() + OVERHEAD;
        self.size += of(&record);
        match self.tables.entry(table).or_default().insert(key, record) {
            Some(before) => self.size = self.size.saturating_sub(of(&before)),
            None => self.size += key_size,
        }
    }

    /// Lays later changes over these.
    pub(super) fn absorb(&mut self, later: Self) {
        if self.is_empty() {
            *self = later;
            return;
        }
        for (table, key, record) in later.into_rows() {
            self.set(table, key, record);
        }
    }

    /// The keys of a table whose records are new or other than before.
    pub(super) fn written_into(&self, table: u8) -> impl Iterator<Item = &[u8]> {
        let rows = self.tables.get(&table).into_iter().flatten();
        rows.filter_map(|(key, record)| record.is_some().then_some(key.as_slice()))
    }

    /// None if the key is not among the changes.
    #[expect(
        clippy::option_option,
        reason = "not changed, deleted and written are three things"
    )]
    pub(super) fn get(&self, table: u8, key: &[u8]) -> Option<Option<&[u8]>> {
        self.tables.get(&table)?.get(key).map(Option::as_deref)
    }

    pub(super) fn range<'a>(
        &'a self,
        table: u8,
        from: Bound<&[u8]>,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.tables
            .get(&table)
            .into_iter()
            .flat_map(move |rows| rows.range::<[u8], _>((from, Bound::Unbounded)))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, record)| (key.as_slice(), record.as_deref()))
    }

    /// Appends the bytes that a frame holds; `docs/storage.md` gives them.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for (table, key, record) in self.iter() {
            encode_change(out, table, key, record);
        }
    }
}

/// Appends one change.
pub(super) fn encode_change(out: &mut Vec<u8>, table: u8, key: &[u8], record: Option<&[u8]>) {
    out.push(table);
    out.push(u8::from(record.is_some()));
    // Keys are made of parts of at most 255 bytes, and a frame is checked to be at most 4 MiB.
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(key);
    if let Some(record) = record {
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(record);
    }
}

/// The changes of a frame; none if the bytes are not what [`Changes::encode`] makes.
pub(super) fn decode(mut body: &[u8]) -> Option<Vec<Change<'_>>> {
    let mut changes = Vec::new();
    while let Some(([table, has_record], rest)) = body.split_first_chunk() {
        let (length, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        body = rest;
        let record = match has_record {
            0 => None,
            1 => {
                let (length, rest) = body.split_first_chunk()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (record, rest) = rest.split_at_checked(length)?;
                body = rest;
                Some(record)
            }
            _ => return None,
        };
        changes.push((*table, key, record));
    }
    body.is_empty().then_some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_the_bytes_that_the_documentation_says() {
        let mut changes = Changes::default();
        changes.set(3, b"key".to_vec(), Some(b"record".to_vec()));
        changes.set(1, b"gone".to_vec(), None);
        let mut bytes = Vec::new();
        changes.encode(&mut bytes);
        assert_eq!(
            bytes,
            b"\x01\x00\x00\x04gone\x03\x01\x00\x03key\x00\x00\x00\x06record"
        );
        assert!(bytes.len() <= changes.size());
        let decoded = decode(&bytes).unwrap();
        assert!(decoded.into_iter().eq(changes.iter()));
        for end in 1..bytes.len() {
            // A cut between two changes is one that the frame's checksum finds.
            assert!(decode(&bytes[..end]).is_none() || end == 8, "{end}");
        }
        bytes[1] = 2;
        assert!(decode(&bytes).is_none());
    }

    #[test]
    fn the_size_is_never_less_than_what_is_written() {
        let mut changes = Changes::default();
        for step in 0..100_u8 {
            let record = (step % 3 != 0).then(|| vec![step; usize::from(step)]);
            changes.set(step % 2, vec![step % 7], record);
            let mut bytes = Vec::new();
            changes.encode(&mut bytes);
            assert!(bytes.len() <= changes.size() && changes.size() <= bytes.len() + 8 * 14);
        }
    }
}
