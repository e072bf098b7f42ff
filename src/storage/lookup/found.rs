//! What a lookup found.

use std::borrow::Borrow;
use std::ops::Range;

/// Who answers to each of some hashes, in their order. All user IDs stand in one text, because a client may ask for ten
/// thousand at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    text: String,
    places: Vec<Option<Range<usize>>>,
}

impl Found {
    /// The user IDs, and none where nobody is bound.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        self.places
            .iter()
            .map(|place| self.text.get(place.clone()?))
    }
}

/// The length of a user ID, more or less.
const USUAL: usize = 32;

impl<T: Borrow<str>> FromIterator<Option<T>> for Found {
    fn from_iter<I: IntoIterator<Item = Option<T>>>(users: I) -> Self {
        let users = users.into_iter();
        let mut text = String::with_capacity(USUAL * users.size_hint().0);
        let mut push = |user: T| {
            let start = text.len();
            text.push_str(user.borrow());
            start..text.len()
        };
        let places = users.map(|user| user.map(&mut push)).collect();
        Self { text, places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_found_in_the_place_that_was_asked_for() {
        for users in [
            vec![],
            vec![None, Some("@a:x"), None, Some(""), Some("@b:y")],
        ] {
            let found: Found = users.iter().copied().collect();
            assert!(found.iter().eq(users));
        }
    }
}
