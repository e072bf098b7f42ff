use std::borrow::Cow;
use std::fmt;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

use super::Invalid;

mod domain;
mod local;

/// The longest address in octets (RFC 5321, 4.5.3.1.3, less the angle brackets).
const MAX_OCTETS: usize = 254;

/// An e-mail address in canonical form: Unicode full case folding and NFC, the domain in its Unicode form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email {
    text: String,
    /// Where the `@` stands.
    at: usize,
}

impl Email {
    /// Reads an address and brings it into canonical form.
    ///
    /// The syntax is strict, so that no two readers of mail understand an address differently: one `@`, a local part
    /// without quotes and without the characters that mail servers route by, a domain by name. A domain is accepted only
    /// if folding does not change where it leads.
    ///
    /// Characters that Unicode has not assigned yet are refused: only of assigned ones is it promised that they fold and
    /// normalise the same way for ever, and what is stored here is found again by its canonical form.
    ///
    /// # Errors
    /// Everything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(at) = place_in_plain(text) {
            let text = text.to_owned();
            return Ok(Self { text, at });
        }
        Self::parse_any(text)
    }

    fn parse_any(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: Invalid =
            Invalid::expecting("one e-mail address such as `alice@example.org`");
        // Folding can shorten a text, but not to a quarter; what is much too long is not worth folding.
        if text.len() > 4 * MAX_OCTETS {
            return Err(EXPECTED);
        }
        // Marks in another order are the same text; folding one of them away must not tell the orders apart.
        let composed = compose(text);
        let (local, domain) = composed.split_once('@').ok_or(EXPECTED)?;
        let local = local::canonical(local).ok_or(EXPECTED)?;
        let domain = domain::canonical(domain).ok_or(EXPECTED)?;
        let email = Self {
            text: [&*local, "@", &domain].concat(),
            at: local.len(),
        };
        let on_the_wire = if email.domain().is_ascii() {
            email.text.len()
        } else {
            local.len() + 1 + email.domain_ascii().len()
        };
        if email.text.len() > MAX_OCTETS || on_the_wire > MAX_OCTETS {
            return Err(EXPECTED);
        }
        Ok(email)
    }

    /// Reads an address that was stored, which had its canonical form then.
    ///
    /// It was parsed when it came in. What is not ASCII is judged by tables of Unicode and IDNA that grow and are corrected:
    /// an address that they refuse by now must not make the store that it stands in unreadable. So only that is looked at
    /// what does not depend on them.
    pub fn stored(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let (local, domain) = text.split_once('@')?;
        let at = local.len();
        let is_plain = |c: char| !(c.is_control() || c.is_whitespace() || c.is_ascii_uppercase());
        let is_one = !local.is_empty() && !domain.is_empty() && !domain.contains('@');
        // Nearly all are ASCII, where a look at the bytes is enough.
        let is_plain_ascii = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        let all_plain = text.bytes().all(is_plain_ascii) || text.chars().all(is_plain);
        let stands = is_one && text.len() <= MAX_OCTETS && all_plain;
        stands.then_some(Self { text, at })
    }

    /// The canonical address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`.
    pub fn local(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The part after the `@`, in its Unicode form.
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// The domain as it goes over the wire: A-labels in place of what is not ASCII.
    pub fn domain_ascii(&self) -> String {
        domain::to_ascii(self.domain()).unwrap_or_default()
    }

    /// Whether a mail server without SMTPUTF8 (RFC 6531) can be given this address.
    pub fn is_ascii_local(&self) -> bool {
        self.local().is_ascii()
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

/// Where the `@` stands in an address that is canonical as it is, by fewer rules than there are: words of small letters
/// and digits with one sign between them, at a short domain that ends in letters. Nearly all addresses are like that, and
/// each stored one is read again and again.
fn place_in_plain(text: &str) -> Option<usize> {
    const MAX_PART: usize = 63;
    let mut at = None;
    let (mut after_sign, mut only_letters) = (true, true);
    for (place, byte) in text.bytes().enumerate() {
        let is_sign = !byte.is_ascii_lowercase() && !byte.is_ascii_digit();
        match byte {
            _ if is_sign && after_sign => return None,
            b'@' if at.is_none() => at = Some(place),
            b'.' | b'-' => {}
            b'_' | b'+' if at.is_none() => {}
            _ if is_sign => return None,
            _ => {}
        }
        after_sign = is_sign;
        only_letters = matches!(byte, b'@' | b'.') || only_letters && byte.is_ascii_lowercase();
    }
    let is_short = |at: &usize| *at <= MAX_PART && text.len() - *at <= MAX_PART;
    at.filter(is_short).filter(|_| only_letters && !after_sign)
}

/// NFC.
fn compose(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    ComposingNormalizer::new_nfc().normalize(text)
}

/// Folds until nothing changes: NFC of a folded text can be foldable again.
fn fold(text: &str) -> Option<String> {
    // Nearly every address is ASCII, where this is all that the tables of Unicode come to.
    if text.is_ascii() {
        return Some(text.to_ascii_lowercase());
    }
    let mapper = CaseMapper::new();
    let (nfd, nfc) = (
        DecomposingNormalizer::new_nfd(),
        ComposingNormalizer::new_nfc(),
    );
    let mut current = text.to_owned();
    for _ in 0..4 {
        let decomposed = nfd.normalize(&current);
        let folded = mapper.fold_string(&decomposed);
        let next = nfc.normalize(&folded).into_owned();
        if next == current {
            return Some(next);
        }
        current = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_addresses_are_what_all_rules_make_of_them(
            text in "[a-c0-9x@._+-]{0,12}|[a-z0-9]{1,70}@([a-z0-9-]{1,64}\\.){0,4}[a-z0-9]{1,9}|[A-Zab@.=?é]{0,9}"
        ) {
            if let Some(at) = place_in_plain(&text) {
                prop_assert_eq!(Email::parse_any(&text), Ok(Email { text, at }));
            }
        }

        #[test]
        fn ascii_folds_as_the_tables_of_unicode_say(text in "[\\x00-\\x7f]{0,40}") {
            let folded = CaseMapper::new().fold_string(&text).into_owned();
            let composed = ComposingNormalizer::new_nfc().normalize(&folded).into_owned();
            prop_assert_eq!(fold(&text), Some(composed));
        }
    }

    fn canonical(text: &str) -> String {
        Email::parse(text).unwrap().as_str().to_owned()
    }

    #[test]
    fn lookup_hashes_are_those_of_the_specification() {
        for (address, medium, expected) in [
            (
                "alice@example.com",
                "email",
                "4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUc",
            ),
            (
                "bob@example.com",
                "email",
                "LJwSazmv46n0hlMlsb_iYxI0_HXEqy_yj6Jm636cdT8",
            ),
            (
                "18005552067",
                "msisdn",
                "nlo35_T5fzSGZzJApqu8lgIudJvmOQtDaHtr-I4rU7I",
            ),
            (
                "Strau\u{df}@Example.com",
                "email",
                "Wvo9OL_UvrDZsRecvnhshdTeilXXGbhk0J5l5rX55Ok",
            ),
        ] {
            let address = if medium == "email" {
                canonical(address)
            } else {
                address.to_owned()
            };
            let text = format!("{address} {medium} matrixrocks");
            let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            assert_eq!(URL_SAFE_NO_PAD.encode(hash), expected, "{address}");
        }
    }

    #[test]
    fn one_mailbox_has_one_form() {
        assert_eq!(canonical("ALICE@Example.ORG"), "alice@example.org");
        assert_eq!(
            canonical("a@xn--bcher-kva.example"),
            "a@b\u{fc}cher.example"
        );
        assert_eq!(
            canonical("a@XN--BCHER-KVA.example"),
            "a@b\u{fc}cher.example"
        );
        assert_eq!(
            canonical("a@bu\u{308}cher.example"),
            "a@b\u{fc}cher.example"
        );
        assert_eq!(
            canonical("JO\u{308}RG@example.org"),
            "j\u{f6}rg@example.org"
        );
        let email = Email::parse("a+b@b\u{fc}cher.example").unwrap();
        assert_eq!(email.local(), "a+b");
        assert_eq!(email.domain(), "b\u{fc}cher.example");
        assert_eq!(email.domain_ascii(), "xn--bcher-kva.example");
        assert!(email.is_ascii_local());
    }

    #[test]
    fn what_could_reach_another_mailbox_is_refused() {
        for text in [
            "",
            "@",
            "a",
            "a@",
            "@b.example",
            "a@b@c.example",
            "a@b.example@c.example",
            "a@b.example,c@d.example",
            "a@b.example;c@d.example",
            "a@b.example c@d.example",
            "a,c@d.example",
            "X <a@b.example>",
            "<a@b.example>",
            "a@b.example>",
            "a(c)@b.example",
            "a@b.example(c)",
            "a@(c)b.example",
            "\"a\"@b.example",
            "\"a@b\"@c.example",
            "a\\@b@c.example",
            "group:a@b.example;",
            "@x.example:a@b.example",
            "mailto:a@b.example",
            " a@b.example",
            "a@b.example ",
            "a@b.example\r\nBcc: c@d.example",
            "a@b.example\n",
            "a\0@b.example",
            "a@b.example\0",
            "a@[192.0.2.1]",
            "a@192.0.2.1",
            "a\u{ff20}b.example",
            "a@b.example\u{ff0c}c",
            "=?utf-8?q?a=40b.example=3e?=@c.example",
            "a%b.example@c.example",
            "b.example!a@c.example",
        ] {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let local = |count: usize| Email::parse(&format!("{}@example.org", "a".repeat(count)));
        assert!(local(64).is_ok());
        assert!(local(65).is_err());
        let domain = [["b"; 60].join("."), ["c"; 63].join(".")].join(".");
        assert!(Email::parse(&format!("{}@{domain}", "a".repeat(8))).is_ok());
        assert!(Email::parse(&format!("{}@{domain}", "a".repeat(9))).is_err());
        assert!(Email::parse(&format!("a@{}.example", "b".repeat(63))).is_ok());
        assert!(Email::parse(&format!("a@{}.example", "b".repeat(64))).is_err());
        assert!(Email::parse(&"a".repeat(1_000_000)).is_err());
    }

    #[test]
    fn nothing_of_an_address_is_shown_by_debug() {
        let shown = format!("{:?}", Email::parse("alice@example.org").unwrap());
        assert!(!shown.contains("alice") && !shown.contains("example"));
    }

    #[test]
    fn what_was_stored_is_read_also_if_it_would_be_refused_now() {
        // A character that Unicode has not assigned yet, so that it may have been in a form that is none today.
        for text in [
            "alice@example.org",
            "a@b\u{378}.example",
            "\u{378}@b.example",
        ] {
            let stored = Email::stored(text).unwrap();
            assert_eq!(stored.as_str(), text);
            assert_eq!(format!("{}@{}", stored.local(), stored.domain()), text);
        }
        assert!(Email::parse("a@b\u{378}.example").is_err());
        for text in [
            "", "@", "a@", "@b", "a", "a@b@c", "A@b", "a@B", "a@b c", "a@b\n",
        ] {
            assert_eq!(Email::stored(text), None, "{text:?}");
        }
        assert_eq!(Email::stored(format!("a@{}", "b".repeat(253))), None);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_read_back_when_it_was_stored(text in "\\PC{1,12}@[a-zA-Z0-9\\PC]{1,8}\\.example") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::stored(email.as_str()), Some(email));
            }
        }

        #[test]
        fn the_canonical_form_is_its_own_canonical_form(text in "\\PC{1,12}@[a-zA-Z0-9\\PC]{1,8}\\.example") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
            }
        }

        #[test]
        fn what_is_accepted_is_one_plain_mailbox(text in "[\\PC@,<>; \"\\\\()\\[\\]:\r\n\t\0]{1,20}@\\PC{1,12}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(email.as_str().matches('@').count(), 1);
                let special = |c: char| c.is_whitespace() || c.is_control() || "<>(),;:\\\"[]".contains(c);
                prop_assert!(!email.as_str().contains(special));
                prop_assert!(!email.domain_ascii().is_empty() && email.domain_ascii().is_ascii());
            }
        }

        #[test]
        fn composed_and_decomposed_spellings_are_one(text in "[a-z\u{c0}-\u{24f}\u{300}-\u{345}\u{370}-\u{3ff}\u{1e00}-\u{1fff}\u{ac00}-\u{ac30}]{1,6}@[a-z\u{c0}-\u{24f}\u{300}-\u{345}]{0,4}\\.example") {
            let composed = ComposingNormalizer::new_nfc().normalize(&text).into_owned();
            let decomposed = DecomposingNormalizer::new_nfd().normalize(&text).into_owned();
            prop_assert_eq!(Email::parse(&composed), Email::parse(&text));
            prop_assert_eq!(Email::parse(&decomposed), Email::parse(&text));
        }

        #[test]
        fn a_mail_reader_sees_the_same_single_mailbox(local in pieces(), domain in pieces()) {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}.example")) {
                let message = format!("To: {}\r\n\r\n", email.as_str());
                let parsed = mail_parser::MessageParser::default().parse(message.as_bytes()).unwrap();
                let to: Vec<_> = parsed.to().unwrap().iter().map(|addr| addr.address()).collect();
                prop_assert_eq!(to, vec![Some(email.as_str())]);
            }
        }
    }

    /// Texts of what addresses are made of, and of what they are broken with.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(vec![
            "a", "B", "7", "\u{fc}", ".", "-", "+", "=", "?", "=?", "?q?", "?=", "=40", "%", "!",
            "@", ",", ";", ":", "<", ">", "(", ")", "[", "]", "\"", "\\", "/", "'", " ", "\t",
            "\r\n", "\0", "xn--", "\u{ff0c}",
        ]);
        let plain = proptest::sample::select(vec!["a", "B", "7", "\u{fc}", ".", "-", "+", "="]);
        // Mostly plain, or hardly any would be accepted and the property would say nothing.
        let mostly_plain = prop_oneof![9 => plain, 1 => piece];
        proptest::collection::vec(mostly_plain, 1..8).prop_map(|pieces| pieces.concat())
    }
}
