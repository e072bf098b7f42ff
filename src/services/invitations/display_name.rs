//! How much of an invited address everybody in the room is shown.

use crate::types::Email;

/// Both parts of the address, shortened (identity service, "Invitation storage": the real address must not be shown).
pub(super) fn shorten(email: &Email, of_username: usize, of_domain: usize) -> String {
    let (username, domain) = (
        part(email.local(), of_username),
        part(email.domain(), of_domain),
    );
    format!("{username}@{domain}")
}

/// The first characters of a part, and never all of them.
fn part(text: &str, most: usize) -> String {
    let length = text.chars().count();
    let revealed = match length {
        length if length > most => most,
        6.. => 3,
        2.. => 1,
        _ => 0,
    };
    let start: String = text.chars().take(revealed).collect();
    format!("{start}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_never_shown_whole() {
        for (text, most, shown) in [
            ("alice", 3, "ali..."),
            ("abcd", 3, "abc..."),
            ("abc", 3, "a..."),
            ("ab", 3, "a..."),
            ("a", 3, "..."),
            ("abcdef", 6, "abc..."),
            ("abcdef", 64, "abc..."),
            ("abcde", 5, "a..."),
            ("abcdef", 5, "abcde..."),
            ("alice", 0, "..."),
            ("a", 0, "..."),
            ("äöüß", 3, "äöü..."),
            ("日本語", 3, "日..."),
        ] {
            assert_eq!(part(text, most), shown, "{text} {most}");
        }
    }

    #[test]
    fn both_parts_are_shortened() {
        let email = Email::parse("Alice@Example.org").unwrap();
        assert_eq!(shorten(&email, 3, 3), "ali...@exa...");
        assert_eq!(shorten(&email, 0, 8), "...@example....");
    }
}
