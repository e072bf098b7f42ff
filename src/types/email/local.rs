//! The part before the `@`.

use icu_normalizer::DecomposingNormalizer;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};

/// The longest part before the `@` in octets (RFC 5321, 4.5.3.1.1).
const MAX_OCTETS: usize = 64;

/// The folded local part, if it is one that every reader of mail takes for the same.
pub(super) fn canonical(local: &str) -> Option<String> {
    // What was sent is looked at too: folding must not turn something else into what is allowed.
    if !is_dot_atom(local) {
        return None;
    }
    let folded = super::fold(local)?;
    // Of ASCII, folding makes nothing but other letters.
    let plain = local.is_ascii()
        || is_dot_atom(&folded) && (folded.is_ascii() || is_plain_when_normalised(&folded));
    (folded.len() <= MAX_OCTETS && plain && !may_be_decoded(&folded)).then_some(folded)
}

/// `dot-atom` of RFC 5322 and RFC 6532.
fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| {
        // A combining mark would combine with what happens to stand before the address.
        let starts_well = atom.chars().next().is_some_and(|c| !is_mark(c));
        starts_well && atom.chars().all(is_atom_char)
    })
}

/// `atext` of RFC 5322 without `%` and `!`, by which mail servers route: Postfix, unless told otherwise, takes
/// `a%b.example` at a domain of its own for `a@b.example`. Beyond ASCII, what can be seen.
fn is_atom_char(c: char) -> bool {
    match c {
        '#' | '$' | '&' | '\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^' | '_' | '`' | '{'
        | '|' | '}' | '~' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric(),
        c => is_visible(c),
    }
}

/// Letters, marks, numbers, punctuation and symbols; no controls, formats, separators, unassigned or private characters,
/// and nothing that is displayed as nothing.
fn is_visible(c: char) -> bool {
    let visible = GeneralCategoryGroup::Letter
        .union(GeneralCategoryGroup::Mark)
        .union(GeneralCategoryGroup::Number)
        .union(GeneralCategoryGroup::Punctuation)
        .union(GeneralCategoryGroup::Symbol);
    visible.contains(category(c))
        && c != char::REPLACEMENT_CHARACTER
        && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

fn is_mark(c: char) -> bool {
    !c.is_ascii() && GeneralCategoryGroup::Mark.contains(category(c))
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// Software that normalises, also by compatibility, must find no `@`, `,`, `.` or letter that was not one before: `︐` is
/// a comma to it, `…` three dots, and `ａ` an `a`.
fn is_plain_when_normalised(text: &str) -> bool {
    let ascii = |text: &str| text.bytes().filter(u8::is_ascii).count();
    let canonically = DecomposingNormalizer::new_nfd().normalize(text);
    let compatibly = DecomposingNormalizer::new_nfkd().normalize(text);
    is_dot_atom(&compatibly) && ascii(&canonically) == ascii(&compatibly)
}

/// Whether an encoded word (RFC 2047) may begin in it. It has no place in an address, but some decode it there, and then
/// read the `@` or `>` that was hidden in it.
fn may_be_decoded(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| pair == b"=?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_software_could_route_or_decode_is_refused() {
        for local in [
            "victim%elsewhere.example",
            "elsewhere.example!victim",
            "=?utf-8?q?victim=40elsewhere.example=3e?=",
            "a=?utf-8?b?QA==?=",
        ] {
            assert_eq!(canonical(local), None, "{local}");
        }
        assert!(canonical("a=b?c").is_some());
        assert!(canonical("#$&'*+-/=^_`{|}~?").is_some());
    }

    #[test]
    fn only_atoms_between_single_dots_are_accepted() {
        for local in [
            "", ".", ".a", "a.", "a..b", "a b", "a\tb", "\"a\"", "a(b)", "a\\b", "a\0b",
        ] {
            assert_eq!(canonical(local), None, "{local:?}");
        }
        assert_eq!(canonical("A.b.C").as_deref(), Some("a.b.c"));
    }

    #[test]
    fn letters_of_every_script_are_accepted() {
        for local in [
            "жанна",
            "用户",
            "χρήστης",
            "उपयोगकर्ता",
            "ผู้ใช้",
            "사용자",
            "مستخدم",
            "น้ำ",
            "naïve",
        ] {
            assert!(canonical(local).is_some(), "{local}");
        }
    }

    #[test]
    fn what_is_not_seen_or_not_settled_is_refused() {
        for c in [
            '\u{80}',
            '\u{85}',
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{378}',
            '\u{600}',
            '\u{61c}',
            '\u{6dd}',
            '\u{70f}',
            '\u{890}',
            '\u{8e2}',
            '\u{115f}',
            '\u{1680}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{202e}',
            '\u{2028}',
            '\u{2029}',
            '\u{2060}',
            '\u{2066}',
            '\u{3000}',
            '\u{3164}',
            '\u{e000}',
            '\u{fdd0}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{fffd}',
            '\u{ffff}',
            '\u{110bd}',
            '\u{13430}',
            '\u{1bca0}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{f0000}',
            '\u{10ffff}',
        ] {
            assert_eq!(canonical(&format!("a{c}b")), None, "{c:?}");
        }
    }

    #[test]
    fn what_becomes_ascii_for_software_that_normalises_is_refused() {
        for c in [
            '\u{37e}',
            '\u{226e}',
            '\u{226f}',
            '\u{2024}',
            '\u{2026}',
            '\u{2100}',
            '\u{2474}',
            '\u{2488}',
            '\u{fe10}',
            '\u{fe13}',
            '\u{fe52}',
            '\u{fe6b}',
            '\u{ff0c}',
            '\u{ff20}',
            '\u{ff41}',
            '\u{b4}',
            '\u{fdfa}',
            '\u{1d41a}',
            '\u{1f110}',
        ] {
            assert_eq!(canonical(&format!("a{c}b")), None, "{c:?}");
        }
        assert_eq!(
            canonical("\u{338}a"),
            None,
            "it would combine with a bracket before it"
        );
        assert_eq!(canonical("a.\u{301}b"), None);
    }

    #[test]
    fn every_character_is_refused_or_stable() {
        let nfc = icu_normalizer::ComposingNormalizer::new_nfc();
        let nfd = DecomposingNormalizer::new_nfd();
        // Ideographs and syllables by the ten thousand neither fold nor differ from each other here.
        let alike = |c: &char| matches!(c, '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{20000}'..='\u{3ffff}');
        for c in ('\0'..=char::MAX).filter(|c| !alike(c)) {
            let Some(folded) = canonical(&format!("a{c}b")) else {
                continue;
            };
            assert!(!c.is_control() && !c.is_whitespace(), "{c:?}");
            for form in [nfc.normalize(&folded), nfd.normalize(&folded)] {
                assert_eq!(canonical(&form).as_ref(), Some(&folded), "{c:?}");
            }
        }
    }
}
