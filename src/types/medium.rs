use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Email, Invalid};

/// The kind of a third-party identifier (specification, appendix "3PID Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// An e-mail address.
    Email,
    /// A phone number.
    Msisdn,
}

impl Medium {
    /// Reads `email` or `msisdn`.
    ///
    /// # Errors
    /// Anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "email" => Ok(Self::Email),
            "msisdn" => Ok(Self::Msisdn),
            _ => Err(Invalid::expecting("`email` or `msisdn`")),
        }
    }

    /// The word of the specification.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Msisdn => "msisdn",
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A phone number: E.164 digits without `+`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Msisdn(String);

impl Msisdn {
    /// Reads 5 to 15 digits that do not start with 0.
    ///
    /// # Errors
    /// Anything else is refused; a leading `+` too.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        if digits && (5..=15).contains(&text.len()) && !text.starts_with('0') {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::expecting(
                "a phone number as 5 to 15 digits with its country code and without `+`",
            ))
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Msisdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Msisdn(…)")
    }
}

/// A third-party identifier: a medium and an address in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(Medium, String)", into = "(Medium, String)")]
pub enum ThreePid {
    /// An e-mail address.
    Email(Email),
    /// A phone number.
    Msisdn(Msisdn),
}

impl ThreePid {
    /// Reads an address of the medium and brings it into canonical form.
    ///
    /// # Errors
    /// What the address's own type refuses.
    pub fn parse(medium: Medium, address: &str) -> Result<Self, Invalid> {
        match medium {
            Medium::Email => Email::parse(address).map(Self::Email),
            Medium::Msisdn => Msisdn::parse(address).map(Self::Msisdn),
        }
    }

    /// Reads an address that was stored; see [`Email::stored`].
    pub fn stored(medium: Medium, address: impl Into<String>) -> Option<Self> {
        match medium {
            Medium::Email => Email::stored(address).map(Self::Email),
            Medium::Msisdn => Msisdn::parse(&address.into()).ok().map(Self::Msisdn),
        }
    }

    /// The medium.
    pub const fn medium(&self) -> Medium {
        match self {
            Self::Email(_) => Medium::Email,
            Self::Msisdn(_) => Medium::Msisdn,
        }
    }

    /// The canonical address.
    pub fn address(&self) -> &str {
        match self {
            Self::Email(email) => email.as_str(),
            Self::Msisdn(msisdn) => msisdn.as_str(),
        }
    }
}

impl ThreePid {
    /// Enough of the address for its owner to know it again, and too little for anybody else: for the log.
    pub fn masked(&self) -> String {
        let first = |text: &str| text.chars().next().map(String::from).unwrap_or_default();
        match self {
            Self::Email(email) => {
                let (local, domain) = email.as_str().split_once('@').unwrap_or_default();
                let end = domain.rsplit('.').next().unwrap_or_default();
                format!("email {}…@{}….{end}", first(local), first(domain))
            }
            Self::Msisdn(msisdn) => {
                let last: String = msisdn.as_str().chars().skip(msisdn.0.len() - 2).collect();
                format!("msisdn …{last}")
            }
        }
    }
}

impl From<Email> for ThreePid {
    fn from(email: Email) -> Self {
        Self::Email(email)
    }
}

impl From<Msisdn> for ThreePid {
    fn from(msisdn: Msisdn) -> Self {
        Self::Msisdn(msisdn)
    }
}

impl From<ThreePid> for (Medium, String) {
    fn from(threepid: ThreePid) -> Self {
        (threepid.medium(), threepid.address().to_owned())
    }
}

impl TryFrom<(Medium, String)> for ThreePid {
    type Error = Invalid;

    /// Reads what was written, as [`Self::stored`] does.
    fn try_from((medium, address): (Medium, String)) -> Result<Self, Invalid> {
        Self::stored(medium, address).ok_or(Invalid::expecting("an address in canonical form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_the_two_of_the_specification() {
        for medium in [Medium::Email, Medium::Msisdn] {
            assert_eq!(Medium::parse(medium.as_str()), Ok(medium));
        }
        for text in ["", "Email", "email ", "phone"] {
            assert!(Medium::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_phone_number_is_5_to_15_digits() {
        for text in ["18005552067", "12345", "123456789012345"] {
            assert_eq!(Msisdn::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "1234",
            "1234567890123456",
            "+18005552067",
            "018005552067",
            "1 800 555",
            "١٢٣٤٥٦",
        ] {
            assert!(Msisdn::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_canonical_addresses_are_read_back() {
        let threepid = ThreePid::parse(Medium::Email, "Alice@Example.org").unwrap();
        let written: (Medium, String) = threepid.clone().into();
        assert_eq!(written.1, "alice@example.org");
        assert_eq!(ThreePid::try_from(written), Ok(threepid));
        let foreign = (Medium::Email, "Alice@Example.org".to_owned());
        assert!(ThreePid::try_from(foreign).is_err());
    }

    #[test]
    fn nothing_of_an_address_is_shown_by_debug() {
        let email = ThreePid::parse(Medium::Email, "alice@example.org").unwrap();
        let msisdn = ThreePid::parse(Medium::Msisdn, "18005552067").unwrap();
        assert_eq!(
            format!("{email:?} {msisdn:?}"),
            "Email(Email(…)) Msisdn(Msisdn(…))"
        );
    }
}
