use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// What the file and the environment say, key by key, as far as it takes to see that they say something else now. Values
/// are kept as hashes only, since some are secret.
#[derive(Debug, Clone, Default)]
pub struct Said(BTreeMap<String, u64>);

impl Said {
    /// Notes what is said of a key.
    pub(super) fn note(&mut self, key: &str, value: &str) {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        self.0.insert(key.to_owned(), hasher.finish());
    }

    /// The keys of which the other says something else, or of which only one says anything, in order.
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let keys: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let differing = keys
            .into_iter()
            .filter(|key| self.0.get(*key) != other.0.get(*key));
        differing.map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_otherwise_or_by_one_alone_differs() {
        let said = |lines: &[(&str, &str)]| {
            let mut said = Said::default();
            for (key, value) in lines {
                said.note(key, value);
            }
            said
        };
        let one = said(&[("a.same", "1"), ("b.other", "1"), ("c.gone", "1")]);
        let other = said(&[("a.same", "1"), ("b.other", "2"), ("d.new", "1")]);
        assert_eq!(one.differences(&other), ["b.other", "c.gone", "d.new"]);
        assert!(one.differences(&one).is_empty());
    }
}
