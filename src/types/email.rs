use std::fmt;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::Invalid;

/// The longest address in octets (RFC 5321, 4.5.3.1.3, less the angle brackets).
const MAX_OCTETS: usize = 254;

/// The longest part before the `@` in octets (RFC 5321, 4.5.3.1.1).
const MAX_LOCAL_OCTETS: usize = 64;

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
    /// without quotes, a domain by name. A domain is accepted only if folding does not change where it leads.
    ///
    /// # Errors
    /// Everything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: Invalid =
            Invalid::expecting("one e-mail address such as `alice@example.org`");
        // Folding at most triples a text; what is much too long is not worth folding.
        if text.len() > 4 * MAX_OCTETS {
            return Err(EXPECTED);
        }
        let (local, domain) = text.split_once('@').ok_or(EXPECTED)?;
        let local = canonical_local(local).ok_or(EXPECTED)?;
        let domain = canonical_domain(domain).ok_or(EXPECTED)?;
        let email = Self {
            text: format!("{local}@{domain}"),
            at: local.len(),
        };
        let on_the_wire = local.len() + 1 + email.domain_ascii().len();
        if email.text.len() > MAX_OCTETS || on_the_wire > MAX_OCTETS {
            return Err(EXPECTED);
        }
        Ok(email)
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
        to_ascii(self.domain()).unwrap_or_default()
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

/// Folds until nothing changes: NFC of a folded text can be foldable again.
fn fold(text: &str) -> Option<String> {
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

fn canonical_local(local: &str) -> Option<String> {
    let folded = fold(local)?;
    let fits = (1..=MAX_LOCAL_OCTETS).contains(&folded.len());
    // The input is checked too: folding must not turn something else into an allowed character.
    let well_formed = [local, folded.as_str()].iter().all(|text| {
        text.split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(is_atom_char))
    });
    (fits && well_formed).then_some(folded)
}

/// `atext` of RFC 5322 and RFC 6532: printable ASCII without specials, or a visible character beyond ASCII.
fn is_atom_char(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    }
    !c.is_control() && !c.is_whitespace() && !is_invisible(c)
}

/// Characters beyond ASCII that are not seen, change the direction of text, stand for nothing, or look like `@`, `,` and
/// the like to software that normalises by compatibility.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{a0}'                  // C1 controls, no-break space
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2000}'..='\u{200f}'            // spaces, zero width, direction marks
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
        | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{fe50}'..='\u{fe6f}'            // small forms of ASCII punctuation
        | '\u{feff}' | '\u{ff01}'..='\u{ff65}' | '\u{ffa0}'
        | '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{ffff}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}' // private use, tags, variation selectors
    ) || u32::from(c) & 0xfffe == 0xfffe
}

/// The domain in its folded Unicode form, if that leads where the given one leads.
fn canonical_domain(domain: &str) -> Option<String> {
    // A-labels become U-labels first, so that both spellings of a domain are one address.
    let mut labels = Vec::new();
    for label in domain.split('.') {
        let is_a_label = label
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("xn--"));
        labels.push(if is_a_label {
            to_unicode(label)?
        } else {
            label.to_owned()
        });
    }
    let folded = fold(&labels.join("."))?;
    let leads_to = to_unicode(&to_ascii(&folded)?)?;
    // What folding changes may still lead elsewhere: `straße` and `strasse` are two domains.
    let unfolded_leads_to = to_unicode(&to_ascii(&labels.join("."))?)?;
    (leads_to == folded && unfolded_leads_to == folded && is_mail_domain(&folded)).then_some(folded)
}

fn to_ascii(domain: &str) -> Option<String> {
    let ascii = Uts46::new()
        .to_ascii(
            domain.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::Check,
            DnsLength::Verify,
        )
        .ok()?;
    Some(ascii.into_owned())
}

fn to_unicode(domain: &str) -> Option<String> {
    let (unicode, result) =
        Uts46::new().to_unicode(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
    result.ok()?;
    Some(unicode.into_owned())
}

/// No address in place of a name.
fn is_mail_domain(domain: &str) -> bool {
    let last = domain.rsplit('.').next().unwrap_or_default();
    !last.bytes().all(|b| b.is_ascii_digit()) && domain.parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

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
    fn a_domain_that_folding_leads_elsewhere_is_refused() {
        for domain in [
            "stra\u{df}e.example",
            "xn--strae-oqa.example",
            "\u{ff45}xample.org",
            "example\u{3002}org",
            "ex\u{ad}ample.org",
            "xn--a.example",
            "xn--.example",
            "faß.de",
        ] {
            assert!(Email::parse(&format!("a@{domain}")).is_err(), "{domain}");
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

    proptest! {
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
        fn a_mail_reader_sees_the_same_single_mailbox(
            local in "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~.,;<>()\"@ -]{1,16}",
            domain in "[a-zA-Z0-9.@,;<> -]{1,16}",
        ) {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}")) {
                let message = format!("To: {}\r\n\r\n", email.as_str());
                let parsed = mail_parser::MessageParser::default().parse(message.as_bytes()).unwrap();
                let to: Vec<_> = parsed.to().unwrap().iter().map(|addr| addr.address()).collect();
                prop_assert_eq!(to, vec![Some(email.as_str())]);
            }
        }
    }
}
