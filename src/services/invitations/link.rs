//! The link in the mail, by which a web client joins the room. Its fragment has what the client cannot ask the room's
//! homeserver for before it is in.

use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::policy::inviter;
use crate::config::{AllowedClient, Invites, WebClient};
use crate::signing::EphemeralKey;
use crate::storage::tables::InvitationRecord;
use crate::types::{Email, InviteDetails};

/// The web client that the request names, if it may; else the configured one.
pub(super) fn client(settings: &Invites, details: &InviteDetails) -> WebClient {
    let named = details
        .get("org.matrix.web_client_location")
        .and_then(|text| WebClient::parse(text).ok());
    let is_allowed = |client: &WebClient| {
        settings.web_clients.iter().any(|allowed| match allowed {
            AllowedClient::Only(only) => only == client,
            AllowedClient::AnyHttps => client.is_https(),
        })
    };
    named
        .filter(is_allowed)
        .unwrap_or_else(|| settings.web_client.clone())
}

/// The link. It holds the invitation's private key.
pub(super) fn join(
    client: &WebClient,
    public_url: &str,
    email: &Email,
    record: &InvitationRecord,
    key: &EphemeralKey,
) -> Zeroizing<String> {
    let token = escaped(record.token.expose());
    let private_key = key.expose();
    let sign_url = Zeroizing::new(format!(
        "{public_url}/_matrix/identity/api/v1/sign-ed25519?token={token}&private_key={}",
        *private_key
    ));
    let detail = |name| record.details.get(name).unwrap_or_default();
    let mut link = Zeroizing::new(format!(
        "{}/#/room/{}",
        client.as_str(),
        escaped_room(record.room_id.as_str())
    ));
    let mut separator = '?';
    let mut add = |name: &str, value: &str| {
        link.push(separator);
        link.push_str(name);
        link.push('=');
        link.push_str(&escaped(value));
        separator = '&';
    };
    add("email", email.as_str());
    add("signurl", &sign_url);
    add("room_name", detail("room_name"));
    add("room_avatar_url", detail("room_avatar_url"));
    add("inviter_name", inviter(&record.sender, &record.details));
    // A room ID need not say where the room is.
    add("via", record.sender.server_name());
    for name in ["room_type", "guest_access_token", "guest_user_id"] {
        if !detail(name).is_empty() {
            add(name, detail(name));
        }
    }
    link
}

/// A value as every reader of queries understands it: not all of them take `+` for a space.
fn escaped(text: &str) -> String {
    let form: String = byte_serialize(text.as_bytes()).collect();
    // A plus of the text itself is escaped already.
    form.replace('+', "%20")
}

/// A room ID, whose own marks stay as people know them.
fn escaped_room(room: &str) -> String {
    escaped(room).replace("%21", "!").replace("%3A", ":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tables::InvitationState;
    use crate::types::{InviteToken, KeyId, RoomId, Timestamp, UserId};
    use url::Url;

    fn record(room: &str, details: &[(&str, &str)]) -> InvitationRecord {
        InvitationRecord {
            token: InviteToken::presented("to ken&?"),
            sender: UserId::parse("@alice:hs.example:8448").unwrap(),
            room_id: RoomId::parse(room).unwrap(),
            details: InviteDetails::collect(details.iter().copied()),
            language: None,
            brand: None,
            public_key: [0; 32],
            server_key: KeyId::parse("ed25519:1").unwrap(),
            stored: Timestamp::from_millis(0),
            expires: Timestamp::from_millis(1),
            state: InvitationState::Pending,
        }
    }

    /// The room of a link, and the values behind it by name.
    fn read(record: &InvitationRecord) -> (String, Vec<(String, String)>) {
        let key = EphemeralKey::parse(&"A".repeat(43)).unwrap();
        let email = Email::parse("b+ob@example.org").unwrap();
        let client = WebClient::parse("https://chat.example/app/").unwrap();
        let link = join(&client, "https://id.example", &email, record, &key);
        let harmless = |c: char| c.is_ascii_graphic() && !"\"'<>\\`".contains(c);
        assert!(link.chars().all(harmless), "{}", *link);
        let rest = link
            .strip_prefix("https://chat.example/app/#/room/")
            .unwrap();
        let (room, query) = rest.split_once('?').unwrap();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        (room.to_owned(), pairs.collect())
    }

    #[test]
    fn the_link_says_what_a_client_needs_and_nothing_gets_out_of_its_place() {
        let room_name = "A&signurl=https://evil.example#x?\"<b> +";
        let details = [
            ("room_name", room_name),
            ("room_type", "m.space"),
            ("guest_access_token", "g/t+="),
            ("guest_user_id", "@1:hs.example"),
        ];
        let (room, pairs) = read(&record("!a b/?#%:hs.example", &details));
        assert_eq!(room, "!a%20b%2F%3F%23%25:hs.example");
        let sign_url = format!(
            "https://id.example/_matrix/identity/api/v1/sign-ed25519?token=to%20ken%26%3F&private_key={}",
            "A".repeat(43)
        );
        let expected = [
            ("email", "b+ob@example.org"),
            ("signurl", &sign_url),
            ("room_name", room_name),
            ("room_avatar_url", ""),
            ("inviter_name", "alice"),
            ("via", "hs.example:8448"),
            ("room_type", "m.space"),
            ("guest_access_token", "g/t+="),
            ("guest_user_id", "@1:hs.example"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs, expected);
        let signs = Url::parse(&pairs[1].1).unwrap();
        let token = signs.query_pairs().next().unwrap().1.into_owned();
        assert_eq!(token, "to ken&?");
    }

    #[test]
    fn a_request_names_a_client_only_as_far_as_it_is_allowed_to() {
        const OURS: &str = "https://app.element.io";
        let chosen = |allowed: &[AllowedClient], named: &str| {
            let settings = Invites {
                web_clients: allowed.to_vec(),
                ..Invites::default()
            };
            let details = InviteDetails::collect([("org.matrix.web_client_location", named)]);
            client(&settings, &details).as_str().to_owned()
        };
        let only = [AllowedClient::Only(
            WebClient::parse("https://chat.example/x/").unwrap(),
        )];
        assert_eq!(
            chosen(&only, "https://chat.example/x"),
            "https://chat.example/x"
        );
        assert_eq!(
            chosen(&only, "https://CHAT.example/x/"),
            "https://chat.example/x"
        );
        for other in [
            "https://chat.example",
            "http://chat.example/x",
            "https://evil.example",
        ] {
            assert_eq!(chosen(&only, other), OURS, "{other}");
        }
        let any = [AllowedClient::AnyHttps];
        assert_eq!(chosen(&any, "https://evil.example"), "https://evil.example");
        for other in [
            "http://chat.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://a@evil.example",
            "https://chat.example/?x",
            "https://chat.example/#x",
            "https://chat.example/\"x",
            "https://chat.example\\@evil.example",
            "//evil.example",
            "",
        ] {
            assert_eq!(chosen(&any, other), OURS, "{other}");
            assert_eq!(chosen(&[], other), OURS, "{other}");
        }
    }
}
