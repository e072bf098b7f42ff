use std::fmt::{self, Write as _};

use phonenumber::metadata::{DATABASE, Descriptor};
use phonenumber::{Metadata, Mode};

use super::{Invalid, Msisdn};

/// How many digits a number may have as it is written: the 15 of the longest one, and what is dialled before them to call
/// abroad.
const DIGITS: std::ops::RangeInclusive<usize> = 3..=20;

/// How many of the last digits a block of numbers leaves open.
const OPEN_DIGITS: usize = 4;

/// A country or territory with phone numbers: two capital letters (ISO 3166-1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(String);

impl Country {
    /// Reads two letters in either case. Whether there is such a country shows when a number is read.
    ///
    /// # Errors
    /// Anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            Err(Invalid::expecting("a country as two letters, such as `GB`"))
        }
    }

    /// The two capital letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What answers at a number, as far as its country's numbering plan tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PhoneKind {
    /// A mobile phone.
    Mobile,
    /// A mobile phone or a landline, in plans that do not tell which.
    MobileOrFixed,
    /// A landline.
    Fixed,
    /// A phone on the internet.
    Voip,
    /// A pager.
    Pager,
    /// A service whose caller pays for it.
    Premium,
    /// A service whose cost caller and owner share.
    SharedCost,
    /// A service whose owner pays for its calls.
    TollFree,
    /// A number that follows a person, a company or a mailbox around.
    Forwarded,
}

/// A phone number that is valid by its country's numbering plan.
#[derive(Clone, PartialEq, Eq)]
pub struct PhoneNumber {
    msisdn: Msisdn,
    country: Option<Country>,
    kind: PhoneKind,
    international: String,
}

impl PhoneNumber {
    /// Reads a number as people write it: as it is dialled in the country, or with a country code. Spaces, hyphens, dots,
    /// slashes and parentheses are looked over; letters and extensions are no part of a number.
    ///
    /// The first number that a process reads makes it read all numbering plans, which takes a fraction of a second and some
    /// MiB of memory.
    ///
    /// # Errors
    /// What is no number, or none that the numbering plans have room for, is refused.
    pub fn parse(country: &Country, text: &str) -> Result<Self, Invalid> {
        let digits = dialled(text).ok_or(EXPECTED)?;
        let id = country.0.parse().ok();
        // The enumeration has countries without phones, for which the library has no plan.
        let id = id.filter(|_| DATABASE.by_id(&country.0).is_some());
        Self::read(&phonenumber::parse(id, digits).map_err(|_| EXPECTED)?)
    }

    /// What the numbering plans say of a number that is stored.
    ///
    /// # Errors
    /// Numbers that they have no room for, any more perhaps, are refused.
    pub fn of(msisdn: &Msisdn) -> Result<Self, Invalid> {
        let digits = format!("+{}", msisdn.as_str());
        Self::read(&phonenumber::parse(None, digits).map_err(|_| EXPECTED)?)
    }

    fn read(number: &phonenumber::PhoneNumber) -> Result<Self, Invalid> {
        let metadata = number.metadata(&DATABASE).ok_or(EXPECTED)?;
        let national = number.national().to_string();
        let kind = kind(metadata, &national).ok_or(EXPECTED)?;
        let msisdn = Msisdn::parse(&format!("{}{national}", number.code().value()))?;
        let mut international = String::new();
        write!(
            international,
            "{}",
            number.format().mode(Mode::International)
        )
        .map_err(|_| EXPECTED)?;
        Ok(Self {
            msisdn,
            country: Country::parse(metadata.id()).ok(),
            kind,
            international,
        })
    }

    /// The digits.
    pub fn msisdn(&self) -> &Msisdn {
        &self.msisdn
    }

    /// Where the number belongs; none for satellites and services of the whole world.
    pub fn country(&self) -> Option<&Country> {
        self.country.as_ref()
    }

    /// What answers at it.
    pub fn kind(&self) -> PhoneKind {
        self.kind
    }

    /// As it is written for readers abroad, such as `+44 7700 900123`.
    pub fn international(&self) -> &str {
        &self.international
    }

    /// The first digits of the number: those of the 10,000 numbers that differ in the last four only, as which networks get
    /// and rent out their numbers.
    pub fn block(&self) -> &str {
        let digits = self.msisdn.as_str();
        let end = digits.len().saturating_sub(OPEN_DIGITS);
        digits.get(..end).unwrap_or(digits)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

const EXPECTED: Invalid = Invalid::expecting(
    "a phone number as it is dialled in `country`, or with `+` and a country code, without letters and extensions",
);

/// What is left of a written number when it is dialled: digits, perhaps after a `+`.
fn dialled(text: &str) -> Option<String> {
    let mut dialled = String::new();
    for c in text.trim().chars() {
        match c {
            '0'..='9' => dialled.push(c),
            '+' | '\u{ff0b}' if dialled.is_empty() => dialled.push('+'),
            ' ' | '-' | '.' | '/' | '(' | ')' | '\u{a0}' | '\u{202f}' | '\u{2010}'..='\u{2015}'
            // Contacts that are copied from a phone come between marks of the direction of text.
            | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            _ => return None,
        }
    }
    let digits = dialled.trim_start_matches('+').len();
    DIGITS.contains(&digits).then_some(dialled)
}

/// What a national number is in a plan; none if the plan has no room for it. The library's own answer overlooks the zeros
/// that mobile numbers begin with in some countries.
fn kind(plan: &Metadata, national: &str) -> Option<PhoneKind> {
    let descriptors = plan.descriptors();
    let is = |descriptor: Option<&Descriptor>| {
        descriptor.is_some_and(|descriptor| is_match(descriptor, national))
    };
    if !descriptors.general().is_match(national) {
        return None;
    }
    let fixed = is(descriptors.fixed_line());
    let mobile = is(descriptors.mobile());
    // What costs goes first: plans overlap, and nobody is to be charged by a doubt.
    Some(if is(descriptors.premium_rate()) {
        PhoneKind::Premium
    } else if is(descriptors.shared_cost()) {
        PhoneKind::SharedCost
    } else if is(descriptors.toll_free()) {
        PhoneKind::TollFree
    } else if is(descriptors.voip()) {
        PhoneKind::Voip
    } else if is(descriptors.pager()) {
        PhoneKind::Pager
    } else if is(descriptors.personal_number())
        || is(descriptors.uan())
        || is(descriptors.voicemail())
    {
        PhoneKind::Forwarded
    } else {
        match (fixed, mobile) {
            (true, true) => PhoneKind::MobileOrFixed,
            (true, false) => PhoneKind::Fixed,
            (false, true) => PhoneKind::Mobile,
            (false, false) => return None,
        }
    })
}

/// Whether the whole number matches; the library is content with its beginning.
fn is_match(descriptor: &Descriptor, national: &str) -> bool {
    let whole = descriptor
        .national_number()
        .find(national)
        .is_some_and(|found| found.start() == 0 && found.end() == national.len());
    whole && descriptor.is_match(national)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(country: &str, text: &str) -> Result<PhoneNumber, Invalid> {
        PhoneNumber::parse(&Country::parse(country)?, text)
    }

    #[test]
    fn a_number_may_be_written_in_many_ways() {
        for (country, text) in [
            ("GB", "07400 123456"),
            ("gb", "(07400) 123-456"),
            ("Gb", "7400123456"),
            ("GB", "447400123456"),
            ("GB", "+44 7400 123456"),
            ("GB", "+44 (0)7400 123456"),
            ("DE", "+44 7400 123456"),
            ("DE", "0044 7400 123456"),
            ("US", "011 44 7400 123456"),
            // A country without phones of its own.
            ("AQ", "+44.7400.123456"),
            ("GB", "\u{202a}+44\u{a0}7400\u{a0}123456\u{202c}"),
            ("GB", "\u{ff0b}44 7400\u{2011}123\u{2011}456"),
        ] {
            let number = read(country, text).unwrap();
            assert_eq!(number.msisdn().as_str(), "447400123456", "{country} {text}");
            assert_eq!(number.country().unwrap().as_str(), "GB");
            assert_eq!(number.kind(), PhoneKind::Mobile);
            assert_eq!(number.international(), "+44 7400 123456");
            assert_eq!(number.block(), "44740012");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for (country, text) in [
            ("GB", ""),
            ("GB", "+"),
            ("GB", "07"),
            ("GB", "0740012345"),
            ("GB", "074001234567"),
            ("GB", "07400 123456 x5"),
            ("GB", "07400 123456 ext. 5"),
            ("GB", "07400 123456;ext=5"),
            ("GB", "07400 123456,5"),
            ("GB", "07400 123456#5"),
            ("GB", "tel:+447400123456"),
            ("GB", "+447400123456;phone-context=+1"),
            ("GB", "+44+7400123456"),
            ("GB", "*447400123456"),
            ("GB", "alice@example.org"),
            ("GB", "07400\n123456"),
            ("GB", "07400\u{0}123456"),
            ("GB", "\u{664}\u{664}7400123456"),
            ("US", "1-800-FLOWERS"),
            ("US", "415 555 26711"),
            ("US", "911"),
            ("GB", "+999 7400 123456"),
            ("XX", "07400 123456"),
            ("GB", &"0".repeat(100_000)),
        ] {
            assert!(read(country, text).is_err(), "{country} {text}");
        }
        for country in ["", "G", "GBR", "44", "G\u{df}", "ß"] {
            assert!(Country::parse(country).is_err(), "{country}");
        }
    }

    #[test]
    fn plans_tell_what_answers() {
        for (country, text, kind) in [
            ("US", "(415) 555-2671", PhoneKind::MobileOrFixed),
            ("US", "1 900 555 1234", PhoneKind::Premium),
            ("US", "1 800 555 1234", PhoneKind::TollFree),
            ("GB", "020 7946 0018", PhoneKind::Fixed),
            ("GB", "07640 123456", PhoneKind::Pager),
            ("GB", "0909 879 0000", PhoneKind::Premium),
            ("DE", "0180 5 012345", PhoneKind::SharedCost),
            ("GB", "056 0123 4567", PhoneKind::Voip),
            ("GB", "070 1234 5678", PhoneKind::Forwarded),
            ("FR", "06 12 34 56 78", PhoneKind::Mobile),
            ("DE", "0151 23456789", PhoneKind::Mobile),
            ("IT", "312 345 6789", PhoneKind::Mobile),
            // Mobile numbers that begin with a zero abroad, too.
            ("CI", "01 23 45 67 89", PhoneKind::Mobile),
            ("CG", "06 123 4567", PhoneKind::Mobile),
        ] {
            assert_eq!(
                read(country, text).unwrap().kind(),
                kind,
                "{country} {text}"
            );
        }
    }

    #[test]
    fn the_example_of_every_country_is_a_mobile_number() {
        let mut countries = 0;
        for plan in DATABASE.iter() {
            let example = plan.descriptors().mobile().and_then(Descriptor::example);
            let Some(example) = example else {
                continue;
            };
            let digits = format!("{}{example}", plan.country_code());
            let number = PhoneNumber::of(&Msisdn::parse(&digits).unwrap());
            let number = number.unwrap_or_else(|_| panic!("{digits}"));
            assert_eq!(number.msisdn().as_str(), digits);
            let kinds = [PhoneKind::Mobile, PhoneKind::MobileOrFixed];
            assert!(kinds.contains(&number.kind()), "{digits}");
            let written = read(plan.id(), number.international());
            assert_eq!(written.as_ref(), Ok(&number), "{digits}");
            countries += 1;
        }
        assert!(countries > 200, "{countries}");
    }

    #[test]
    fn satellites_and_services_of_the_whole_world_have_no_country() {
        for digits in ["80012345678", "881612345678"] {
            let number = PhoneNumber::of(&Msisdn::parse(digits).unwrap()).unwrap();
            assert_eq!(number.country(), None, "{digits}");
        }
    }

    #[test]
    fn a_number_does_not_show_itself() {
        let number = read("GB", "07400 123456").unwrap();
        assert_eq!(format!("{number:?}"), "PhoneNumber(…)");
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_read_or_refused(
            country in "[A-Za-z]{2}",
            text in "(\\+|00|0|011|\\+[1-9]{1,3})?[-0-9 ().]{0,24}|\\PC{0,40}",
        ) {
            if let Ok(number) = read(&country, &text) {
                prop_assert_eq!(PhoneNumber::of(number.msisdn()), Ok(number));
            }
        }
    }
}
