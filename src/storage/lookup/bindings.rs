//! Who 3PIDs are bound to, in memory.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::region::{Line, NO_LINE, Region, fetch};
use crate::types::Timestamp;

/// Who a 3PID is bound to, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding<'a> {
    pub(super) mxid: &'a str,
    pub(super) not_after: Timestamp,
}

/// Where a binding stands for as long as it is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(NonZeroU32);

impl Place {
    pub(super) fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        NonZeroU32::new(u32::from_le_bytes(bytes)).map(Self)
    }

    /// The bytes, which are never all zeros.
    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.get().to_le_bytes()
    }

    /// The place at a number from 0; none at four billion.
    pub(super) fn at(number: usize) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        number.checked_add(1).and_then(NonZeroU32::new).map(Self)
    }

    fn number(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

/// A binding in one line of the processor's cache, for to get a second one from memory is what would take the time of a
/// lookup: `not_after`, a byte of which [`Length`] tells, the user ID.
type Record = Line;

/// What a record says of its user ID: its length and one, or one of these.
struct Length;

impl Length {
    /// Nobody is bound.
    const FREE: u8 = 0;
    /// The user ID has no room in the record.
    const LONG: u8 = u8::MAX;
}

/// How many bindings are allocated together: a large page of them.
const TOGETHER: usize = 32_768;

/// The bindings, each in a place of its own.
#[derive(Default)]
pub(super) struct Bindings {
    chunks: Vec<Region>,
    /// How many places were ever given, from the first one on.
    given: usize,
    /// Which of them are free again.
    free: Vec<Place>,
    /// The user IDs that have no room in their records.
    long: HashMap<Place, Box<str>>,
}

impl Bindings {
    pub(super) fn get(&self, place: Place) -> Option<Binding<'_>> {
        let record = self.record(place)?;
        let (not_after, rest) = record.split_first_chunk()?;
        let (length, text) = rest.split_first()?;
        let mxid = match *length {
            Length::FREE => return None,
            Length::LONG => self.long.get(&place)?,
            length => std::str::from_utf8(text.get(..usize::from(length) - 1)?).ok()?,
        };
        let not_after = Timestamp::from_millis(u64::from_le_bytes(*not_after));
        Some(Binding { mxid, not_after })
    }

    /// The bindings at many places, in their order.
    pub(super) fn get_many<const N: usize>(
        &self,
        places: [Option<Place>; N],
    ) -> [Option<Binding<'_>>; N] {
        let record = |place| self.record(place?);
        fetch(&places.map(|place| record(place).unwrap_or(&NO_LINE)));
        places.map(|place| self.get(place?))
    }

    /// Finds a place for a binding; none after four billion.
    pub(super) fn add(&mut self, binding: Binding<'_>) -> Option<Place> {
        if let Some(place) = self.free.pop() {
            return self.replace(place, binding);
        }
        let place = Place::at(self.given)?;
        if self.given == self.chunks.len() * TOGETHER {
            self.chunks.push(if self.given == 0 {
                // A large page is much for the few bindings of a small server.
                Region::sparse(TOGETHER)
            } else {
                Region::full(TOGETHER)
            });
        }
        self.given += 1;
        self.replace(place, binding)
    }

    pub(super) fn replace(&mut self, place: Place, binding: Binding<'_>) -> Option<Place> {
        let Binding { mxid, not_after } = binding;
        let mut record: Record = [0; _];
        let (time, rest) = record.split_first_chunk_mut()?;
        let (length, text) = rest.split_first_mut()?;
        *time = not_after.as_millis().to_le_bytes();
        let short = text.get_mut(..mxid.len());
        if let (Some(text), Ok(short)) = (short, u8::try_from(mxid.len() + 1)) {
            text.copy_from_slice(mxid.as_bytes());
            *length = short;
            self.long.remove(&place);
        } else {
            *length = Length::LONG;
            self.long.insert(place, mxid.into());
        }
        *self.record_mut(place)? = record;
        Some(place)
    }

    pub(super) fn remove(&mut self, place: Place) {
        if self.get(place).is_none() {
            return;
        }
        if let Some(record) = self.record_mut(place) {
            *record = [0; _];
        }
        self.long.remove(&place);
        self.free.push(place);
    }

    fn record(&self, place: Place) -> Option<&Record> {
        let (chunk, offset) = position(place);
        self.chunks.get(chunk)?.lines().get(offset)
    }

    fn record_mut(&mut self, place: Place) -> Option<&mut Record> {
        let (chunk, offset) = position(place);
        self.chunks.get_mut(chunk)?.lines_mut().get_mut(offset)
    }
}

fn position(place: Place) -> (usize, usize) {
    let number = place.number();
    (number / TOGETHER, number % TOGETHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(mxid: &str) -> Binding<'_> {
        let not_after = Timestamp::from_millis(1);
        Binding { mxid, not_after }
    }

    #[test]
    fn a_user_id_of_any_length_is_kept() {
        let mut bindings = Bindings::default();
        let mut kept = Vec::new();
        for length in [0, 1, 54, 55, 56, 253, 254, 255, 256] {
            let mxid = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let place = bindings.add(binding(&mxid)).unwrap();
            kept.push((place, mxid));
        }
        for (place, mxid) in &kept {
            assert_eq!(bindings.get(*place), Some(binding(mxid)));
        }
        assert_eq!(bindings.long.len(), 5);
        for (number, (place, _)) in kept.iter().enumerate() {
            match number % 2 {
                0 => drop(bindings.replace(*place, binding("@short:x"))),
                _ => bindings.remove(*place),
            }
        }
        assert!(bindings.long.is_empty());
    }

    #[test]
    fn a_place_is_given_again_only_after_it_was_left() {
        let mut bindings = Bindings::default();
        let place = |number| Place::at(number).unwrap();
        for number in 0..=2 * TOGETHER {
            let added = bindings.add(binding(&number.to_string()));
            assert_eq!(added, Some(place(number)));
        }
        bindings.remove(place(50_000));
        assert_eq!(bindings.get(place(50_000)), None);
        bindings.remove(place(50_000));
        assert_eq!(bindings.add(binding("new")), Some(place(50_000)));
        let next = 2 * TOGETHER + 1;
        assert_eq!(bindings.add(binding("newer")), Some(place(next)));
        assert_eq!(bindings.get(place(50_000)), Some(binding("new")));
        assert_eq!(bindings.get(place(49_999)), Some(binding("49999")));
        assert_eq!(bindings.get(place(next + 1)), None);
        assert_eq!(bindings.get(Place(NonZeroU32::MAX)), None);
    }
}
