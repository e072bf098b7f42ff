use std::fmt;
use std::time::Duration;

use toml::Value;
use url::Url;

use super::reader::Reader;
use super::values;
use crate::types::{Invalid, RoomId, ServerName};

/// `[invites]`: invitations by e-mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invites {
    /// The web client that the link of a mail leads to.
    pub web_client: WebClient,
    /// The web clients that a request may name instead.
    pub web_clients: Vec<AllowedClient>,
    /// How many characters of the part before the `@` are shown in the room, at most.
    pub reveal_username: usize,
    /// How many characters of the part after it.
    pub reveal_domain: usize,
    /// Homeservers whose users may not invite.
    pub block_homeservers: Vec<ServerName>,
    /// Rooms that nobody is invited into, by their IDs or aliases.
    pub block_rooms: Vec<String>,
    /// Words that neither the name or alias of a room nor the name of who invites may have in them.
    pub block_keywords: Vec<String>,
    /// How long an invitation holds.
    pub expire_after: Duration,
}

/// The URL of a web client, without a slash at the end.
#[derive(Clone, PartialEq, Eq)]
pub struct WebClient(String);

/// A web client that a request may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedClient {
    /// This one.
    Only(WebClient),
    /// Any that is served by https.
    AnyHttps,
}

impl WebClient {
    /// Element, as its makers serve it.
    fn element() -> Self {
        Self("https://app.element.io".to_owned())
    }

    /// Reads an http or https URL, perhaps with a path.
    ///
    /// # Errors
    /// Credentials, a query, a fragment, and characters that not every reader of URLs understands alike are refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: Invalid = Invalid::expecting(
            "the URL of a web client such as `https://app.element.io`, without a query",
        );
        let plain = |b: u8| {
            b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'@')
        };
        if text.len() > 255 || !text.bytes().all(plain) || text.contains(['?', '#']) {
            return Err(EXPECTED);
        }
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(EXPECTED);
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for https.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl fmt::Debug for WebClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebClient({})", self.0)
    }
}

impl Default for Invites {
    fn default() -> Self {
        Self {
            web_client: WebClient::element(),
            web_clients: Vec::new(),
            reveal_username: 3,
            reveal_domain: 3,
            block_homeservers: Vec::new(),
            block_rooms: Vec::new(),
            block_keywords: Vec::new(),
            expire_after: Duration::from_hours(180 * 24),
        }
    }
}

impl Invites {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const CLIENT: Invalid = Invalid::expecting(
            "the URL of a web client such as \"https://app.element.io\", without a query",
        );
        const CLIENTS: Invalid = Invalid::expecting(
            "a list of URLs of web clients such as [\"https://chat.example.org\"], or \"*\" for any by https",
        );
        const SERVERS: Invalid =
            Invalid::expecting("a list of server names such as [\"example.org\"]");
        const ROOMS: Invalid = Invalid::expecting(
            "a list of room IDs and aliases such as [\"!abc:example.org\", \"#offers:example.org\"]",
        );
        const WORDS: Invalid = Invalid::expecting("a list of words such as [\"casino\"]");
        let default = Self::default();
        let mut section = reader.section("invites");
        Self {
            web_client: section.value("web_client", default.web_client, |value| {
                values::text(
                    value,
                    |text| WebClient::parse(text).map_err(|_| CLIENT),
                    CLIENT,
                )
            }),
            web_clients: section.value("web_clients", default.web_clients, |value| {
                values::list(value, |text| allowed(text).ok_or(CLIENTS), CLIENTS)
            }),
            reveal_username: section.value("reveal_username", default.reveal_username, revealed),
            reveal_domain: section.value("reveal_domain", default.reveal_domain, revealed),
            block_homeservers: section.value(
                "block_homeservers",
                default.block_homeservers,
                |value| {
                    values::list(
                        value,
                        |text| ServerName::parse(text).map_err(|_| SERVERS),
                        SERVERS,
                    )
                },
            ),
            block_rooms: section.value("block_rooms", default.block_rooms, |value| {
                values::list(value, |text| room(text).ok_or(ROOMS), ROOMS)
            }),
            block_keywords: section.value("block_keywords", default.block_keywords, |value| {
                values::list(value, |text| word(text).ok_or(WORDS), WORDS)
            }),
            expire_after: section.value("expire_after", default.expire_after, values::duration),
        }
    }
}

fn allowed(text: &str) -> Option<AllowedClient> {
    if text == "*" {
        return Some(AllowedClient::AnyHttps);
    }
    WebClient::parse(text).ok().map(AllowedClient::Only)
}

fn revealed(value: &Value) -> Result<usize, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("a whole number from 0 to 64");
    values::whole(value, &(0..=64), EXPECTED)
}

/// A room ID, or an alias of at most 255 bytes.
fn room(text: &str) -> Option<String> {
    let is_alias = text.starts_with('#')
        && text.contains(':')
        && text.len() <= 255
        && !text.contains(char::is_control);
    (is_alias || RoomId::parse(text).is_ok()).then(|| text.to_owned())
}

/// An empty word would be found in everything.
fn word(text: &str) -> Option<String> {
    let is_word = !text.trim().is_empty() && !text.contains(char::is_control);
    is_word.then(|| text.trim().to_owned())
}
