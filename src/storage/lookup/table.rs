//! Hashes to places, and what stands in those places.

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

/// The end of a hash, which is as good as the whole: for two addresses to share 96 bits by chance is out of the question,
/// to hit one of a million others takes 2^76 tries, and who makes two of their own share them gains nothing. With its
/// place it takes 16 bytes, so that no slot lies in two lines of the processor's cache.
type End = [u8; 12];

/// A hash and its place among the bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    end: End,
    place: u32,
}

/// No place.
const NOWHERE: u32 = u32::MAX;

impl Slot {
    const FREE: Self = Self {
        end: [0; 12],
        place: NOWHERE,
    };

    fn is_free(&self) -> bool {
        self.place == NOWHERE
    }
}

/// How many hashes are looked for at a time.
pub(super) const AT_ONCE: usize = 128;

/// Hashes to places among the bindings.
pub(super) struct HashTable(Box<[Part]>);

impl Default for HashTable {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Part::default()).collect())
    }
}

impl HashTable {
    pub(super) fn get(&self, hash: &LookupHash) -> Option<u32> {
        let (part, end) = split(hash);
        self.0.get(part)?.get(&end)
    }

    /// The places of at most [`AT_ONCE`] hashes, in their order.
    pub(super) fn get_many(&self, hashes: &[Option<LookupHash>]) -> [Option<u32>; AT_ONCE] {
        // First only the slots where the hashes would stand if they were alone. None of these reads waits for another
        // one, and nothing depends on what is read, so that the processor waits for many places in memory at once.
        let mut firsts = [Slot::FREE; AT_ONCE];
        for (first, hash) in firsts.iter_mut().zip(hashes) {
            if let Some(slot) = hash.as_ref().and_then(|hash| self.first(hash)) {
                *first = *slot;
            }
        }
        let mut places = [None; AT_ONCE];
        for ((place, first), hash) in places.iter_mut().zip(firsts).zip(hashes) {
            if let Some(hash) = hash.as_ref().filter(|_| !first.is_free()) {
                *place = match split(hash) {
                    (_, end) if end == first.end => Some(first.place),
                    _ => self.get(hash),
                };
            }
        }
        places
    }

    /// The first slot where a hash might stand.
    fn first(&self, hash: &LookupHash) -> Option<&Slot> {
        let (part, end) = split(hash);
        let part = self.0.get(part)?;
        part.slots.get(part.first(&end))
    }

    pub(super) fn set(&mut self, hash: &LookupHash, place: u32) {
        let (part, end) = split(hash);
        if let Some(part) = self.0.get_mut(part) {
            part.set(Slot { end, place });
        }
    }

    pub(super) fn remove(&mut self, hash: &LookupHash) {
        let (part, end) = split(hash);
        if let Some(part) = self.0.get_mut(part) {
            part.remove(&end);
        }
    }

    /// Makes room for as many as there are in another table.
    pub(super) fn reserve_as(&mut self, other: &Self) {
        for (part, as_many) in self.0.iter_mut().zip(&other.0) {
            part.reserve(as_many.used);
        }
    }
}

/// The part of the table, and the end that is kept there.
fn split(hash: &LookupHash) -> (usize, End) {
    let [first, ..] = hash.as_bytes();
    let end = hash.as_bytes().last_chunk().copied().unwrap_or_default();
    (usize::from(*first), end)
}

/// A part of a table. A hash stands in the slot that its own end names, or in the next one that was free, and there is no
/// free slot between the two; so a search ends at the first free one, mostly within one line of the processor's cache.
#[derive(Default)]
struct Part {
    /// A power of two, of which at least a quarter is free; or none.
    slots: Vec<Slot>,
    used: usize,
}

impl Part {
    /// Where the search for a hash begins. What is hashed is a hash already.
    fn first(&self, end: &End) -> usize {
        let [.., a, b, c, d] = end;
        let end = u32::from_le_bytes([*a, *b, *c, *d]);
        usize::try_from(end).unwrap_or_default() & self.mask()
    }

    fn mask(&self) -> usize {
        self.slots.len().saturating_sub(1)
    }

    /// Where a hash stands, or else the free slot where it would be put; none in a part without slots.
    fn find(&self, end: &End) -> Option<(usize, Slot)> {
        let mut at = self.first(end);
        loop {
            let slot = *self.slots.get(at)?;
            if slot.is_free() || slot.end == *end {
                return Some((at, slot));
            }
            at = (at + 1) & self.mask();
        }
    }

    fn get(&self, end: &End) -> Option<u32> {
        let (_, slot) = self.find(end)?;
        (!slot.is_free()).then_some(slot.place)
    }

    fn set(&mut self, slot: Slot) {
        self.reserve(self.used + 1);
        let found = self.find(&slot.end);
        if let Some((at, before)) = found
            && let Some(place) = self.slots.get_mut(at)
        {
            self.used += usize::from(before.is_free());
            *place = slot;
        }
    }

    fn remove(&mut self, end: &End) {
        let Some((mut hole, _)) = self.find(end).filter(|(_, slot)| !slot.is_free()) else {
            return;
        };
        self.used -= 1;
        let mask = self.mask();
        let mut at = hole;
        // What stands behind the hole moves into it, unless its search would begin only after it.
        loop {
            at = (at + 1) & mask;
            let next = self.slots.get(at).copied().unwrap_or(Slot::FREE);
            let is_movable = next.is_free() || {
                let first = self.first(&next.end);
                at.wrapping_sub(first) & mask >= at.wrapping_sub(hole) & mask
            };
            if is_movable && let Some(slot) = self.slots.get_mut(hole) {
                *slot = next;
                hole = at;
            }
            if next.is_free() {
                return;
            }
        }
    }

    /// Makes room for so many.
    fn reserve(&mut self, used: usize) {
        if used <= self.slots.len() / 4 * 3 {
            return;
        }
        let size = (used.div_ceil(3) * 4).next_power_of_two().max(8);
        let grown = Self {
            slots: vec![Slot::FREE; size],
            used: 0,
        };
        let before = std::mem::replace(self, grown);
        for slot in before.slots.into_iter().filter(|slot| !slot.is_free()) {
            self.set(slot);
        }
    }
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
        let place = u32::try_from(before + chunk.len()).ok();
        let place = place.filter(|place| *place != NOWHERE)?;
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
    use std::collections::HashMap;

    use super::*;
    use crate::types::{Medium, Pepper};
    use proptest::prelude::*;

    proptest! {
        /// Few hashes that begin at few slots, so that they stand in each other's way.
        #[test]
        fn a_part_is_a_map(steps in prop::collection::vec((0..40_u8, any::<Option<u8>>()), 0..200)) {
            let end = |number: u8| {
                let mut end = [number; 12];
                end[8..].copy_from_slice(&u32::from(number % 11 * 3).to_le_bytes());
                end
            };
            let (mut part, mut model) = (Part::default(), HashMap::new());
            for (number, place) in steps {
                if let Some(place) = place.map(u32::from) {
                    let end = end(number);
                    part.set(Slot { end, place });
                    model.insert(number, place);
                } else {
                    part.remove(&end(number));
                    model.remove(&number);
                }
                prop_assert_eq!(part.used, model.len());
                for number in 0..40 {
                    prop_assert_eq!(part.get(&end(number)), model.get(&number).copied());
                }
            }
        }
    }

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
        let hashes = (0..10_000).map(|number| (number % 3 != 0).then(|| hash(number)));
        let hashes: Vec<_> = hashes.collect();
        for hashes in hashes.chunks(AT_ONCE) {
            let many = table.get_many(hashes).into_iter().take(hashes.len());
            assert!(many.eq(hashes.iter().map(|hash| table.get(hash.as_ref()?))));
        }
        like.reserve_as(&table);
        assert_eq!(like.get(&hash(1)), None);
    }
}
