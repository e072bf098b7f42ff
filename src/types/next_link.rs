use std::fmt;

use url::Url;

use super::{Invalid, Sid};

/// Where a user goes on after confirming: an absolute http or https URL without credentials, kept as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct NextLink {
    text: String,
    host: String,
}

impl NextLink {
    /// Reads a URL of at most 2048 bytes.
    ///
    /// Only characters that every reader of URLs understands alike are let through, so that nobody can be sent to
    /// another host than the one that was checked: printable ASCII without spaces, quotes, angle brackets and
    /// backslashes.
    ///
    /// # Errors
    /// Other schemes, credentials, relative references and other characters are refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: Invalid = Invalid::expecting(
            "an http or https URL in ASCII, without user name and password, of at most 2048 bytes",
        );
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'`');
        if text.len() > 2048 || !text.bytes().all(plain) {
            return Err(EXPECTED);
        }
        let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        if !lower.starts_with("http://") && !lower.starts_with("https://") {
            return Err(EXPECTED);
        }
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        let host = url.host_str().ok_or(EXPECTED)?.to_owned();
        let authority_has_user = text
            .split_once("://")
            .and_then(|(_, rest)| rest.split(['/', '?', '#']).next())
            .is_some_and(|authority| authority.contains('@'));
        if authority_has_user || !url.username().is_empty() || url.password().is_some() {
            return Err(EXPECTED);
        }
        Ok(Self {
            text: text.to_owned(),
            host,
        })
    }

    /// The URL as it was sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The URL with `sid` appended textually at the very end (identity service, "Validation").
    #[must_use]
    pub fn with_sid(&self, sid: &Sid) -> String {
        let separator = if self.text.contains('?') { '&' } else { '?' };
        format!("{}{separator}sid={sid}", self.text)
    }
}

impl fmt::Debug for NextLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NextLink(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sid_is_appended_to_the_text_as_it_came() {
        let sid = Sid::parse("s1").unwrap();
        let with = |text: &str| NextLink::parse(text).unwrap().with_sid(&sid);
        assert_eq!(with("https://a.example"), "https://a.example?sid=s1");
        assert_eq!(
            with("https://a.example/x?y=1"),
            "https://a.example/x?y=1&sid=s1"
        );
        assert_eq!(
            with("HTTPS://A.example/#/c?d"),
            "HTTPS://A.example/#/c?d&sid=s1"
        );
    }

    #[test]
    fn links_that_could_lead_elsewhere_are_refused() {
        for text in [
            "",
            "javascript:alert(1)",
            "data:text/html,x",
            "//evil.example",
            "/path",
            "https:evil.example",
            "https:/evil.example",
            "https://",
            "https://user@evil.example",
            "https://:pw@evil.example",
            "https://@evil.example",
            "https://good.example\\@evil.example",
            "https://good.example\r\nX: y",
            "https://good.example/ü",
            " https://good.example",
            "https://good.example/\"x",
            "ftp://good.example",
        ] {
            assert!(NextLink::parse(text).is_err(), "{text:?}");
        }
        assert!(NextLink::parse(&format!("https://a.example/{}", "x".repeat(2048))).is_err());
    }
}
