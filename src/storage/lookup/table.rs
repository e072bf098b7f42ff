//! Hashes to places, and what stands in those places.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::types::{LookupHash, Timestamp};

/// Into how many parts a table is cut. Each grows by itself, so that no change has to wait for a whole table to grow.
const PARTS: usize = 256;

/// Who a 3PID is bound to, and until when. It fills one line of the processor's cache, for to get a second one from
/// memory is what would take the time of a lookup.
#[repr(align(64))]
pub(super) struct Binding {
    mxid: Mxid,
    pub(super) not_after: Timestamp,
}

/// A user ID in the binding itself, as long as there is room for it.
enum Mxid {
    Short { bytes: [u8; SHORT], length: u8 },
    Long(Box<str>),
}

/// What a line has room for.
const SHORT: usize = 54;

impl Binding {
    pub(super) fn new(mxid: &str, not_after: Timestamp) -> Self {
        let mut bytes = [0; SHORT];
        let short = bytes.get_mut(..mxid.len());
        let mxid = match (short, u8::try_from(mxid.len())) {
            (Some(short), Ok(length)) => {
                short.copy_from_slice(mxid.as_bytes());
                Mxid::Short { bytes, length }
            }
            _ => Mxid::Long(mxid.into()),
        };
        Self { mxid, not_after }
    }

    pub(super) fn mxid(&self) -> &str {
        match &self.mxid {
            Mxid::Short { bytes, length } => {
                let text = bytes.get(..usize::from(*length)).unwrap_or_default();
                std::str::from_utf8(text).unwrap_or_default()
            }
            Mxid::Long(text) => text,
        }
    }
}

/// Half of a hash, which is as good as the whole: for two addresses to share 128 bits by chance is out of the question,
/// and who makes two of their own share them needs 2^64 tries to gain nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Half([u8; 16]);

impl Hash for Half {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [_, _, _, _, _, _, _, _, end @ ..] = self.0;
        state.write_u64(u64::from_le_bytes(end));
    }
}

/// What is hashed is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Part = HashMap<Half, u32, BuildHasherDefault<AsItIs>>;

/// Hashes to places among the bindings.
pub(super) struct HashTable(Box<[Part]>);

impl Default for HashTable {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Part::default()).collect())
    }
}

impl HashTable {
    pub(super) fn get(&self, hash: &LookupHash) -> Option<u32> {
        let (part, half) = split(hash);
        self.0.get(part)?.get(&half).copied()
    }

    pub(super) fn set(&mut self, hash: &LookupHash, place: u32) {
        let (part, half) = split(hash);
        if let Some(part) = self.0.get_mut(part) {
            part.insert(half, place);
        }
    }

    pub(super) fn remove(&mut self, hash: &LookupHash) {
        let (part, half) = split(hash);
        if let Some(part) = self.0.get_mut(part) {
            part.remove(&half);
        }
    }

    /// Makes room for as many as there are in another table.
    pub(super) fn reserve_as(&mut self, other: &Self) {
        for (part, as_many) in self.0.iter_mut().zip(&other.0) {
            part.reserve(as_many.len());
        }
    }
}

/// The part of the table, and the half that is kept there.
fn split(hash: &LookupHash) -> (usize, Half) {
    let [first, ..] = hash.as_bytes();
    let half = hash.as_bytes().last_chunk().copied().unwrap_or_default();
    (usize::from(*first), Half(half))
}

/// How many bindings are allocated together.
const TOGETHER: usize = 4096;

/// The bindings, each in a place of its own for as long as it is bound.
#[derive(Default)]
pub(super) struct Bindings {
    chunks: Vec<Vec<Option<Binding>>>,
    free: Vec<u32>,
}

impl Bindings {
    pub(super) fn get(&self, place: u32) -> Option<&Binding> {
        let (chunk, offset) = position(place)?;
        self.chunks.get(chunk)?.get(offset)?.as_ref()
    }

    /// Finds a place for a binding; none after four billion.
    pub(super) fn add(&mut self, binding: Binding) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            return self.replace(place, binding);
        }
        if self
            .chunks
            .last()
            .is_none_or(|chunk| chunk.len() == TOGETHER)
        {
            self.chunks.push(Vec::new());
        }
        let before = self.chunks.len().checked_sub(1)? * TOGETHER;
        let chunk = self.chunks.last_mut()?;
        let place = u32::try_from(before + chunk.len()).ok()?;
        chunk.push(Some(binding));
        Some(place)
    }

    pub(super) fn replace(&mut self, place: u32, binding: Binding) -> Option<u32> {
        *self.at(place)? = Some(binding);
        Some(place)
    }

    pub(super) fn remove(&mut self, place: u32) {
        if self.at(place).and_then(Option::take).is_some() {
            self.free.push(place);
        }
    }

    fn at(&mut self, place: u32) -> Option<&mut Option<Binding>> {
        let (chunk, offset) = position(place)?;
        self.chunks.get_mut(chunk)?.get_mut(offset)
    }
}

fn position(place: u32) -> Option<(usize, usize)> {
    let place = usize::try_from(place).ok()?;
    Some((place / TOGETHER, place % TOGETHER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Medium, Pepper};

    fn binding(mxid: &str) -> Binding {
        Binding::new(mxid, Timestamp::from_millis(1))
    }

    #[test]
    fn a_user_id_of_any_length_is_kept() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 255] {
            let mxid = "é".repeat(length / 2) + &"x".repeat(length % 2);
            assert_eq!(binding(&mxid).mxid(), mxid);
        }
        assert_eq!(size_of::<Option<Binding>>(), 64);
    }

    #[test]
    fn a_place_is_given_again_only_after_it_was_left() {
        let mut bindings = Bindings::default();
        let places: Vec<u32> = (0..=2 * TOGETHER)
            .map(|number| bindings.add(binding(&number.to_string())).unwrap())
            .collect();
        assert!(places.iter().copied().eq(0..8193));
        bindings.remove(5000);
        assert!(bindings.get(5000).is_none());
        bindings.remove(5000);
        assert_eq!(bindings.add(binding("new")), Some(5000));
        assert_eq!(bindings.add(binding("newer")), Some(8193));
        assert_eq!(bindings.get(5000).unwrap().mxid(), "new");
        assert_eq!(bindings.get(4999).unwrap().mxid(), "4999");
        assert!(bindings.get(u32::MAX).is_none());
    }

    #[test]
    fn every_hash_has_its_own_place() {
        let pepper = Pepper::parse("p").unwrap();
        let hash = |number: u32| LookupHash::of(&number.to_string(), Medium::Msisdn, &pepper);
        let (mut table, mut like) = (HashTable::default(), HashTable::default());
        for number in 0..10_000 {
            table.set(&hash(number), number);
        }
        for number in (0..10_000).step_by(2) {
            table.remove(&hash(number));
        }
        for number in 0..10_000 {
            let expected = (number % 2 == 1).then_some(number);
            assert_eq!(table.get(&hash(number)), expected);
        }
        like.reserve_as(&table);
        assert_eq!(like.get(&hash(1)), None);
    }
}
