use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a request to invite says besides whom, where and by whom, for the invitation's mail (identity service,
/// "Invitation storage"). All of it is what strangers say, and among it may be the token of a guest, so `Debug` shows
/// nothing.
///
/// A detail is a text of one line without control characters, and without those that turn the direction of text. What is
/// read by people is cut, what is read by machines is left out if it is too long.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InviteDetails(BTreeMap<String, String>);

/// How many characters of a name are shown, at most.
const LONGEST_NAME: usize = 100;

/// How many bytes what is read by machines may have.
const LONGEST_VALUE: usize = 2048;

/// How many details besides those of the specification are kept.
const MOST_FURTHER: usize = 16;

/// How many bytes the name of a further detail may have.
const LONGEST_KEY: usize = 64;

/// The details of the specification that people read.
const NAMES: [&str; 2] = ["room_name", "sender_display_name"];

/// The other details that are known.
const KNOWN: [&str; 8] = [
    "guest_access_token",
    "guest_user_id",
    "org.matrix.web_client_location",
    "room_alias",
    "room_avatar_url",
    "room_join_rules",
    "room_type",
    "sender_avatar_url",
];

impl InviteDetails {
    /// Takes what can be of use out of the fields of a request; an empty text says nothing.
    pub fn collect<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut details = BTreeMap::new();
        let mut further = 0;
        for (key, value) in fields {
            let value = if NAMES.contains(&key) {
                Some(name(value))
            } else if KNOWN.contains(&key) {
                (value.len() <= LONGEST_VALUE).then(|| one_line(value))
            } else if further < MOST_FURTHER && key.len() <= LONGEST_KEY {
                further += 1;
                Some(name(value))
            } else {
                None
            };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                details.insert(key.to_owned(), value);
            }
        }
        Self(details)
    }

    /// The detail of this name.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The details that are none of the specification's, for templates that know them.
    pub fn further(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = |key: &str| NAMES.contains(&key) || KNOWN.contains(&key);
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .filter(move |(key, _)| !known(key))
    }
}

impl fmt::Debug for InviteDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InviteDetails({} …)", self.0.len())
    }
}

/// A text that people read, on one line and not too long.
fn name(text: &str) -> String {
    // One line has no more bytes than the text, but it may have to be looked for in many.
    let start = text.char_indices().nth(8 * LONGEST_NAME);
    let start = start.map_or(text, |(end, _)| text.get(..end).unwrap_or_default());
    let line = one_line(start);
    match line.char_indices().nth(LONGEST_NAME) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
    }
}

/// The text on one line: every run of spaces, line breaks and control characters is one space.
pub fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| {
            if c.is_control() || is_invisible(c) {
                ' '
            } else {
                c
            }
        })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Line and paragraph separators, byte order marks, and the controls of bidirectional text, by which an address could
/// be shown as another one.
pub const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(key: &str, value: &str) -> Option<String> {
        let details = InviteDetails::collect([(key, value)]);
        details.get(key).map(ToOwned::to_owned)
    }

    #[test]
    fn a_name_is_one_line_of_at_most_100_characters() {
        assert_eq!(
            only("room_name", " The\r\nAttic ").as_deref(),
            Some("The Attic")
        );
        assert_eq!(
            only("room_name", "a\u{202e}b\u{2066}\u{feff}").as_deref(),
            Some("a b")
        );
        assert_eq!(only("room_name", "\r\n\0"), None);
        let whole = "ä".repeat(100);
        assert_eq!(only("room_name", &whole), Some(whole.clone()));
        let cut = only("room_name", &"ä".repeat(10_000)).unwrap();
        assert_eq!(cut, format!("{whole}…"));
        // However much there is nothing of, the rest is not looked for.
        assert_eq!(only("room_name", &(" ".repeat(10_000) + "x")), None);
    }

    #[test]
    fn what_machines_read_is_whole_or_not_there() {
        let token = "t".repeat(2048);
        assert_eq!(only("guest_access_token", &token), Some(token.clone()));
        assert_eq!(only("guest_access_token", &(token + "t")), None);
    }

    #[test]
    fn further_details_are_few_and_known_apart() {
        let names: Vec<String> = (10..40).map(|n| format!("x{n}")).collect();
        let fields = names.iter().map(|name| (name.as_str(), "v"));
        let fields = fields.chain([("room_name", "Attic"), ("room_type", "m.space")]);
        let details = InviteDetails::collect(fields);
        assert_eq!(details.further().count(), 16);
        assert_eq!(details.get("room_name"), Some("Attic"));
        assert_eq!(details.get("room_type"), Some("m.space"));
        assert_eq!(only(&"k".repeat(65), "v"), None);
    }

    #[test]
    fn nothing_of_them_is_shown() {
        let details = InviteDetails::collect([("guest_access_token", "secret")]);
        assert_eq!(format!("{details:?}"), "InviteDetails(1 …)");
    }
}
