//! What a lookup found.

use std::borrow::Borrow;

/// Who answers to each of some hashes, in their order. All user IDs stand in one text, because a client may ask for ten
/// thousand at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    text: String,
    /// Where in the text each user ID ends; none where nobody is bound.
    ends: Vec<Option<usize>>,
}

/// The length of a user ID, more or less.
const USUAL: usize = 32;

impl Found {
    pub(super) fn for_as_many(hashes: usize) -> Self {
        Self {
            text: String::with_capacity(USUAL * hashes),
            ends: Vec::with_capacity(hashes),
        }
    }

    pub(super) fn push(&mut self, user: Option<&str>) {
        let end = user.map(|user| {
            self.text.push_str(user);
            self.text.len()
        });
        self.ends.push(end);
    }

    /// The user IDs, and none where nobody is bound.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = (*end)?;
            let user = self.text.get(start..end);
            start = end;
            user
        })
    }
}

impl<T: Borrow<str>> FromIterator<Option<T>> for Found {
    fn from_iter<I: IntoIterator<Item = Option<T>>>(users: I) -> Self {
        let users = users.into_iter();
        let mut found = Self::for_as_many(users.size_hint().0);
        for user in users {
            found.push(user.as_ref().map(Borrow::borrow));
        }
        found
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
