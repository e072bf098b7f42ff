//! Which invitations the operator does not want.

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizer;
use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;

use super::InviteRequest;
use crate::config::Invites;
use crate::types::{InviteDetails, ServerName, UserId};

/// What is refused.
pub(super) struct Policy {
    homeservers: Vec<ServerName>,
    rooms: Vec<String>,
    keywords: Vec<String>,
}

impl Policy {
    pub(super) fn new(settings: &Invites) -> Self {
        let keywords = settings.block_keywords.iter().map(|word| folded(word));
        Self {
            homeservers: settings.block_homeservers.clone(),
            rooms: settings.block_rooms.clone(),
            // What has nothing in it that can be seen would be found everywhere.
            keywords: keywords.filter(|word| !word.is_empty()).collect(),
        }
    }

    /// Whether an invitation is to go on.
    pub(super) fn allows(&self, request: &InviteRequest) -> bool {
        let InviteRequest {
            room_id,
            sender,
            details,
            ..
        } = request;
        let alias = details.get("room_alias");
        let is_room = |room: &String| *room == room_id.as_str() || Some(room.as_str()) == alias;
        let server = sender.server_name();
        if self.homeservers.iter().any(|name| name.as_str() == server)
            || self.rooms.iter().any(is_room)
        {
            return false;
        }
        if self.keywords.is_empty() {
            return true;
        }
        let shown = [
            details.get("room_name"),
            alias,
            Some(inviter(sender, details)),
        ];
        !shown.into_iter().flatten().any(|text| {
            let text = folded(text);
            self.keywords.iter().any(|word| text.contains(word))
        })
    }
}

/// The name of who invites: what they call themselves, else the first part of their user ID.
pub(super) fn inviter<'a>(sender: &'a UserId, details: &'a InviteDetails) -> &'a str {
    let localpart = || {
        let whole = sender.as_str();
        let named = whole
            .strip_prefix('@')
            .and_then(|rest| rest.split(':').next());
        named.filter(|name| !name.is_empty()).unwrap_or(whole)
    };
    details.get("sender_display_name").unwrap_or_else(localpart)
}

/// The text without what tells capitals, widths and styles of letters apart, and without what cannot be seen
/// (`NFKC_Casefold` of Unicode, section 3.13).
fn folded(text: &str) -> String {
    let nfkc = ComposingNormalizer::new_nfkc();
    let invisible = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let seen: String = text.chars().filter(|c| !invisible.contains(*c)).collect();
    let folded = CaseMapper::new()
        .fold_string(&nfkc.normalize(&seen))
        .into_owned();
    nfkc.normalize(&folded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Email, RoomId};

    fn request(sender: &str, details: &[(&str, &str)]) -> InviteRequest {
        InviteRequest {
            email: Email::parse("bob@example.org").unwrap(),
            room_id: RoomId::parse("!room:hs.example").unwrap(),
            sender: UserId::parse(sender).unwrap(),
            details: InviteDetails::collect(details.iter().copied()),
            language: None,
            brand: None,
        }
    }

    fn allows(change: impl FnOnce(&mut Invites), sender: &str, details: &[(&str, &str)]) -> bool {
        let mut settings = Invites::default();
        change(&mut settings);
        Policy::new(&settings).allows(&request(sender, details))
    }

    #[test]
    fn homeservers_and_rooms_are_blocked_by_their_names() {
        let blocked = |name: &str| {
            let name = ServerName::parse(name).unwrap();
            !allows(|s| s.block_homeservers = vec![name], "@a:hs.example", &[])
        };
        assert!(blocked("hs.example"));
        assert!(!blocked("example"));
        let blocked = |room: &str| {
            let details = [("room_alias", "#offers:hs.example")];
            !allows(
                |s| s.block_rooms = vec![room.to_owned()],
                "@a:hs.example",
                &details,
            )
        };
        assert!(blocked("!room:hs.example") && blocked("#offers:hs.example"));
        assert!(!blocked("!room:hs.example2"));
    }

    #[test]
    fn words_are_found_however_they_are_spelled() {
        let blocked = |name: &str, text: &str| {
            let words = |s: &mut Invites| s.block_keywords = vec!["Casino".to_owned()];
            !allows(words, "@a:hs.example", &[(name, text)])
        };
        for text in [
            "casino",
            "Grand CASINO!",
            "ｃａｓｉｎｏ",
            "𝐜𝐚𝐬𝐢𝐧𝐨",
            "ca\u{ad}si\u{200b}no",
            "Ⓒasino",
        ] {
            for name in ["room_name", "room_alias", "sender_display_name"] {
                assert!(blocked(name, text), "{name} {text}");
            }
        }
        assert!(!blocked("room_name", "cas ino"));
        assert!(!blocked("room_topic", "casino"));
        let words = |s: &mut Invites| s.block_keywords = vec!["straße".to_owned()];
        assert!(!allows(words, "@a:hs.example", &[("room_name", "STRASSE")]));
        let words = |s: &mut Invites| s.block_keywords = vec!["casino".to_owned()];
        assert!(
            !allows(words, "@casino:hs.example", &[]),
            "the name that is shown"
        );
    }

    #[test]
    fn who_has_no_name_is_called_by_the_user_id() {
        let request = request("@alice:hs.example", &[]);
        assert_eq!(inviter(&request.sender, &request.details), "alice");
        let nameless = UserId::parse("@:hs.example").unwrap();
        assert_eq!(inviter(&nameless, &request.details), "@:hs.example");
    }
}
