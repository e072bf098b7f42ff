use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Invalid;

/// True for `[0-9a-zA-Z.=_-]{1,255}`, the grammar of `sid` and `client_secret`.
pub(super) fn is_opaque_id(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'=' | b'_' | b'-');
    (1..=255).contains(&text.len()) && text.bytes().all(known)
}

/// The id of a validation session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sid(String);

impl Sid {
    /// Reads `[0-9a-zA-Z.=_-]{1,255}`.
    ///
    /// # Errors
    /// Anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if is_opaque_id(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::expecting(
                "1 to 255 characters out of 0-9 a-z A-Z . = _ -",
            ))
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sid {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<Sid> for String {
    fn from(value: Sid) -> Self {
        value.0
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server name: host name, IPv4 or bracketed IPv6 literal, with an optional port (specification, appendix "Server
/// Name"). Case is kept, and names are compared as bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName(String);

impl ServerName {
    /// The name of a server that has not been given one: `localhost`.
    pub fn localhost() -> Self {
        Self("localhost".to_owned())
    }

    /// Reads a server name of at most 255 bytes.
    ///
    /// # Errors
    /// URLs, paths, empty hosts and ports that are not 1 to 5 digits are refused; beyond 65535 there are no ports.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: Invalid = Invalid::expecting(
            "a server name such as `example.org` or `example.org:8448`, without scheme or path",
        );
        if text.len() > 255 {
            return Err(EXPECTED);
        }
        let (host_ok, rest) = match text.strip_prefix('[') {
            Some(after) => {
                let (literal, rest) = after.split_once(']').ok_or(EXPECTED)?;
                (literal.parse::<Ipv6Addr>().is_ok(), rest)
            }
            None => match text.find(':') {
                Some(colon) => text
                    .split_at_checked(colon)
                    .map_or((false, ""), |(host, rest)| (is_host_name(host), rest)),
                None => (is_host_name(text), ""),
            },
        };
        let port_ok = match rest.strip_prefix(':') {
            Some(port) => {
                (1..=5).contains(&port.len())
                    && port.bytes().all(|b| b.is_ascii_digit())
                    && port.parse::<u16>().is_ok()
            }
            None => rest.is_empty(),
        };
        if host_ok && port_ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(EXPECTED)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its port; brackets of an IPv6 literal stay.
    pub fn host(&self) -> &str {
        let end = match self.0.find(']') {
            Some(bracket) => bracket.saturating_add(1),
            None => self.0.find(':').unwrap_or(self.0.len()),
        };
        self.0.get(..end).unwrap_or(&self.0)
    }

    /// The explicit port, if there is one.
    pub fn port(&self) -> Option<u16> {
        self.0
            .get(self.host().len()..)?
            .strip_prefix(':')?
            .parse()
            .ok()
    }
}

impl TryFrom<String> for ServerName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<ServerName> for String {
    fn from(value: ServerName) -> Self {
        value.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Letters, digits, `-` and `.`; a text that looks like an IPv4 address must be one, spelled the usual way.
fn is_host_name(host: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    if host.is_empty() || !host.bytes().all(known) {
        return false;
    }
    let looks_numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    !looks_numeric || host.parse::<Ipv4Addr>().is_ok()
}

/// A Matrix user ID (specification, appendix "User Identifiers"), historical ones included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// Reads `@localpart:server.name`, at most 255 bytes, split at the first `:`.
    ///
    /// # Errors
    /// Without `@`, with an invalid server name or with NUL, it is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: Invalid =
            Invalid::expecting("a Matrix user ID such as `@alice:example.org`");
        if text.len() > 255 || text.contains('\0') {
            return Err(EXPECTED);
        }
        let (_, server) = text
            .strip_prefix('@')
            .and_then(|rest| rest.split_once(':'))
            .ok_or(EXPECTED)?;
        ServerName::parse(server).map_err(|_| EXPECTED)?;
        Ok(Self(text.to_owned()))
    }

    /// The user ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the user's homeserver.
    pub fn homeserver(&self) -> ServerName {
        ServerName(self.server_name().to_owned())
    }

    /// The name of the user's homeserver, as text.
    pub fn server_name(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, server)| server)
    }
}

impl TryFrom<String> for UserId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<UserId> for String {
    fn from(value: UserId) -> Self {
        value.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an ed25519 key, `ed25519:<version>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    const PREFIX: &'static str = "ed25519:";

    /// Reads `ed25519:<version>`; a version is `[a-zA-Z0-9_]+`, at most 64 characters here.
    ///
    /// # Errors
    /// Other algorithms and versions are refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        text.strip_prefix(Self::PREFIX)
            .ok_or(Invalid::expecting("a key id such as `ed25519:1`"))
            .and_then(Self::from_version)
    }

    /// The id of the key with this version.
    ///
    /// # Errors
    /// A version that is not `[a-zA-Z0-9_]+` of at most 64 characters is refused.
    pub fn from_version(version: &str) -> Result<Self, Invalid> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if (1..=64).contains(&version.len()) && version.bytes().all(known) {
            Ok(Self(format!("{}{version}", Self::PREFIX)))
        } else {
            Err(Invalid::expecting(
                "a key version of 1 to 64 characters out of a-z A-Z 0-9 _",
            ))
        }
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after `ed25519:`.
    pub fn version(&self) -> &str {
        self.0.strip_prefix(Self::PREFIX).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for KeyId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<KeyId> for String {
    fn from(value: KeyId) -> Self {
        value.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_is_1_to_255_plain_characters() {
        assert!(Sid::parse(&"a".repeat(255)).is_ok());
        assert_eq!(Sid::parse("aZ09.=_-").unwrap().as_str(), "aZ09.=_-");
        for text in ["", &"a".repeat(256), "a b", "a/b", "a+b", "ä", "a\n", "a\0"] {
            assert!(Sid::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_server_name_has_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("example.org", "example.org", None),
            ("Example.ORG:8448", "Example.ORG", Some(8448)),
            ("localhost:1", "localhost", Some(1)),
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:65535", "192.0.2.1", Some(65535)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("[2001:db8::1]:00443", "[2001:db8::1]", Some(443)),
            ("[::ffff:192.0.2.1]:80", "[::ffff:192.0.2.1]", Some(80)),
        ] {
            let name = ServerName::parse(text).unwrap();
            assert_eq!(
                (name.as_str(), name.host(), name.port()),
                (text, host, port)
            );
        }
    }

    #[test]
    fn what_is_no_server_name_is_refused() {
        for text in [
            "",
            ":8448",
            "example.org:",
            "example.org:123456",
            "example.org:65536",
            "example.org:+80",
            "example.org:-1",
            "example.org:80:80",
            "example.org:http",
            "https://example.org",
            "example.org/path",
            "user@example.org",
            "exa mple.org",
            "example.org\n",
            "ex_ample.org",
            "bücher.example",
            "999.0.2.1",
            "192.0.2",
            "2001:db8::1",
            "[2001:db8::1",
            "[2001:db8::1]8448",
            "[fe80::1%eth0]",
            "[192.0.2.1]",
            "[]",
            &"a".repeat(256),
        ] {
            assert!(ServerName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_that_differ_in_case_are_two() {
        assert_ne!(
            ServerName::parse("a.example"),
            ServerName::parse("A.example")
        );
    }

    #[test]
    fn a_user_id_is_split_at_its_first_colon() {
        for (text, server) in [
            ("@alice:example.org", "example.org"),
            ("@alice:example.org:8448", "example.org:8448"),
            ("@alice:[2001:db8::1]:8448", "[2001:db8::1]:8448"),
            ("@A\u{fc}!\n @/+:example.org", "example.org"),
            ("@:example.org", "example.org"),
        ] {
            let user = UserId::parse(text).unwrap();
            assert_eq!((user.as_str(), user.server_name()), (text, server));
        }
        let fill = "a".repeat(255 - "@:b.example".len());
        assert!(UserId::parse(&format!("@{fill}:b.example")).is_ok());
        assert!(UserId::parse(&format!("@{fill}a:b.example")).is_err());
        for text in [
            "",
            "@",
            "alice:example.org",
            "@alice",
            "@alice:",
            "@a\0:example.org",
            "@a:b:c",
            " @a:b",
            "@a:b/c",
        ] {
            assert!(UserId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_id_names_ed25519_and_a_version() {
        let id = KeyId::parse("ed25519:aZ_09").unwrap();
        assert_eq!((id.as_str(), id.version()), ("ed25519:aZ_09", "aZ_09"));
        assert_eq!(KeyId::from_version("aZ_09"), Ok(id));
        for text in [
            "",
            "ed25519",
            "ed25519:",
            "ED25519:1",
            "curve25519:1",
            "ed25519:a-b",
            "ed25519:1:2",
            "ed25519:ä",
        ] {
            assert!(KeyId::parse(text).is_err(), "{text:?}");
        }
        assert!(KeyId::from_version(&"1".repeat(65)).is_err());
    }
}
