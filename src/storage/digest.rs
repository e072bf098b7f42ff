//! A number that stands for all rows, however they came about.

use ring::digest::{Context, SHA256};

/// The sum modulo 2^128 of the first 16 bytes of SHA-256 over every row. Rows can be added and taken away in any order.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Digest(u128);

impl Digest {
    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(super) fn add(&mut self, table: u8, key: &[u8], record: &[u8]) {
        self.0 = self.0.wrapping_add(row(table, key, record));
    }

    pub(super) fn take(&mut self, table: u8, key: &[u8], record: &[u8]) {
        self.0 = self.0.wrapping_sub(row(table, key, record));
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn row(table: u8, key: &[u8], record: &[u8]) -> u128 {
    let mut context = Context::new(&SHA256);
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    context.update(&[table]);
    context.update(&length.to_be_bytes());
    context.update(key);
    context.update(record);
    truncated(context)
        .map(u128::from_be_bytes)
        .unwrap_or_default()
}

/// The first 16 bytes of a SHA-256.
pub(super) fn truncated(context: Context) -> Option<[u8; 16]> {
    context.finish().as_ref().first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_sum_over_its_rows() {
        let mut digest = Digest::default();
        digest.add(3, b"key", b"record");
        // printf '\003\000\003keyrecord' | sha256sum
        assert_eq!(format!("{digest:?}"), "a962b8d1b03054bf90f8e0814ccb3b38");
        let one = digest;
        digest.add(4, b"key", b"record");
        digest.add(3, b"ke", b"yrecord");
        digest.take(3, b"key", b"record");
        digest.take(3, b"ke", b"yrecord");
        digest.take(4, b"key", b"record");
        assert_eq!(digest, Digest::default());
        assert_eq!(Digest::from_bytes(one.to_bytes()), one);
    }
}
