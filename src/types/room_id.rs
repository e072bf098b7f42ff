use std::fmt;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// A room ID (specification, appendix "Room IDs"). It is opaque: since room version 12 it need not name a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(String);

impl RoomId {
    /// Reads `!` and whatever follows it, at most 255 bytes.
    ///
    /// # Errors
    /// Anything that does not start with `!`, says no more than that, or has control characters is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let opaque = text.strip_prefix('!').is_some_and(|rest| !rest.is_empty());
        if opaque && text.len() <= 255 && !text.contains(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::expecting(
                "a room ID such as `!opaque:example.org`",
            ))
        }
    }

    /// The room ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<RoomId> for String {
    fn from(room: RoomId) -> Self {
        room.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_id_starts_with_an_exclamation_mark_and_may_lack_a_server() {
        let version_12 = "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM";
        for text in ["!abc:example.org", version_12, "!ä b:c:d"] {
            assert_eq!(RoomId::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "!",
            "abc:example.org",
            "#a:b",
            "!a\nb",
            &format!("!{}", "a".repeat(255)),
        ] {
            assert!(RoomId::parse(text).is_err(), "{text:?}");
        }
    }
}
