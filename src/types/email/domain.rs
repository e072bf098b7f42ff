//! The part after the `@`.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The domain in its folded Unicode form, if that leads where the given one leads.
pub(super) fn canonical(domain: &str) -> Option<String> {
    let folded = if is_plain(domain) {
        domain.to_ascii_lowercase()
    } else {
        folded_like_the_dns(domain)?
    };
    (!ends_in_number(&folded)).then_some(folded)
}

/// Whether it is a name of plain ASCII labels, which IDNA leaves as they are. Most are, and IDNA is slow.
fn is_plain(domain: &str) -> bool {
    let is_plain_label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
            // Where A-labels and what is reserved have theirs (RFC 5890, 2.3.1).
            && bytes.get(2..4) != Some(b"--")
    };
    domain.len() <= 253 && domain.split('.').all(is_plain_label)
}

fn folded_like_the_dns(domain: &str) -> Option<String> {
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
    let given = labels.join(".");
    let folded = super::fold(&given)?;
    // What folding changes may lead elsewhere: `straße` and `strasse` are two domains.
    let same = leads_to(&folded)? == folded && leads_to(&given)? == folded;
    same.then_some(folded)
}

/// The domain with A-labels in place of what is not ASCII (UTS 46, non-transitional, with STD3 rules and lengths).
pub(super) fn to_ascii(domain: &str) -> Option<String> {
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

/// The Unicode form of the domain that is asked for in the DNS.
fn leads_to(domain: &str) -> Option<String> {
    to_unicode(&to_ascii(domain)?)
}

/// Whether resolvers may take it for an IPv4 address, whose parts may be written in decimal, octal or hexadecimal.
fn ends_in_number(domain: &str) -> bool {
    let last = domain.rsplit('.').next().unwrap_or_default();
    let (digits, radix) = last.strip_prefix("0x").map_or((last, 10), |hex| (hex, 16));
    digits.chars().all(|c| c.is_digit(radix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_names_are_what_idna_makes_of_them(
            domain in "[a-zA-Z0-9.-]{0,20}|([a-zA-Z0-9-]{1,64}\\.){1,5}[a-z-]{1,10}|(XN|xn|ab)--[a-z0-9.]{1,9}"
        ) {
            if is_plain(&domain) {
                prop_assert_eq!(folded_like_the_dns(&domain), Some(domain.to_ascii_lowercase()));
            }
        }
    }

    #[test]
    fn all_spellings_of_a_domain_are_one() {
        for domain in [
            "b\u{fc}cher.example",
            "B\u{dc}CHER.Example",
            "bu\u{308}cher.example",
            "xn--bcher-kva.example",
            "XN--BCHER-KVA.example",
            "Xn--Bcher-Kva.EXAMPLE",
        ] {
            assert_eq!(
                canonical(domain).as_deref(),
                Some("b\u{fc}cher.example"),
                "{domain}"
            );
        }
        // The Kelvin sign is a `k` to folding and to the DNS.
        assert_eq!(
            canonical("\u{212a}elvin.example").as_deref(),
            Some("kelvin.example")
        );
        assert_eq!(
            to_ascii("b\u{fc}cher.example").as_deref(),
            Some("xn--bcher-kva.example")
        );
    }

    #[test]
    fn a_domain_that_folding_leads_elsewhere_is_refused() {
        for domain in [
            "stra\u{df}e.example",
            "STRA\u{1e9e}E.example",
            "xn--strae-oqa.example",
            "\u{3b2}\u{3cc}\u{3bb}\u{3bf}\u{3c2}.example",
            "\u{ff45}xample.org",
            "example\u{3002}org",
            "ex\u{ad}ample.org",
        ] {
            assert_eq!(canonical(domain), None, "{domain}");
        }
    }

    #[test]
    fn what_is_no_domain_name_is_refused() {
        for domain in [
            "",
            ".",
            ".example",
            "example.",
            "a..example",
            "-a.example",
            "a-.example",
            "a_b.example",
            "a b.example",
            "a,b.example",
            "a:25",
            "a/b",
            "xn--a.example",
            "xn--.example",
            "\u{301}a.example",
            "a\u{200d}b.example",
            "[192.0.2.1]",
            "[IPv6:2001:db8::1]",
            "192.0.2.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "127.0.0.0x1",
            "a.0x",
            "a.123",
        ] {
            assert_eq!(canonical(domain), None, "{domain}");
        }
        for domain in [
            "localhost",
            "a.example",
            "1.example",
            "0x.example",
            "3com.example",
            "a-b.example",
        ] {
            assert_eq!(canonical(domain).as_deref(), Some(domain));
        }
    }
}
