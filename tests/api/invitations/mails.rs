//! The mail of an invitation, and that nothing that strangers say gets out of its place.

use bindery::config::{AllowedClient, WebClient};

use crate::support::invites::{JoinLink, ROOM, STORE_INVITE, invite, with};
use crate::support::mailbox::Mail;
use crate::support::server::TestServer;

const BOB: &str = "bob@example.org";
const ALICE: &str = "@alice:hs.example";

/// The mail of an invitation that says this besides.
async fn mailed(server: &TestServer, more: &[(&str, &str)]) -> Mail {
    let request = with(invite(BOB, ROOM, ALICE), more);
    server.client.post(STORE_INVITE, request).await.ok();
    server.mails().pop().unwrap()
}

#[tokio::test]
async fn a_mail_says_who_invites_and_has_the_link_that_joins() {
    let server = TestServer::start_with(|config| {
        config.server.public_url = bindery::config::PublicUrl::parse("https://id.example").unwrap();
    })
    .await;
    let mail = mailed(
        &server,
        &[
            ("room_name", "The Attic"),
            ("room_avatar_url", "mxc://hs.example/attic"),
            ("room_alias", "#attic:hs.example"),
            ("room_join_rules", "invite"),
            ("sender_display_name", "Alice Ä. & Co"),
            ("sender_avatar_url", "mxc://hs.example/alice"),
            ("guest_access_token", "guest/+token="),
            ("guest_user_id", "@17:hs.example"),
        ],
    )
    .await;
    assert_eq!(mail.to(), BOB);
    assert_eq!(mail.subject(), "Alice Ä. & Co invites you to The Attic");
    assert!(
        mail.text()
            .contains("Alice Ä. & Co invites you to the room “The Attic” on Matrix")
    );
    assert!(
        mail.html()
            .contains("Alice Ä. &amp; Co invites you to the room “The Attic”")
    );
    assert!(
        mail.text().contains("holds for 180 days"),
        "{}",
        mail.text()
    );

    let link = JoinLink::of(&mail);
    assert_eq!(
        (link.client.as_str(), link.room.as_str()),
        ("https://app.element.io", ROOM)
    );
    let sign_url = &link.values["signurl"];
    assert!(
        sign_url.starts_with("https://id.example/_matrix/identity/api/v1/sign-ed25519?token="),
        "{sign_url}"
    );
    for (name, value) in [
        ("email", BOB),
        ("room_name", "The Attic"),
        ("room_avatar_url", "mxc://hs.example/attic"),
        ("inviter_name", "Alice Ä. & Co"),
        ("via", "hs.example"),
        ("guest_access_token", "guest/+token="),
        ("guest_user_id", "@17:hs.example"),
    ] {
        assert_eq!(link.values[name], value, "{name}");
    }
    assert!(!link.values.contains_key("room_type"));
    assert_eq!(link.signing("private_key").len(), 43);
}

#[tokio::test]
async fn a_space_is_called_a_space() {
    let server = TestServer::start().await;
    let mail = mailed(&server, &[("room_type", "m.space"), ("room_name", "House")]).await;
    assert!(mail.text().contains("the space “House”"), "{}", mail.text());
    assert_eq!(JoinLink::of(&mail).values["room_type"], "m.space");
    let mail = mailed(&server, &[("room_type", "m.space")]).await;
    assert_eq!(mail.subject(), "alice invites you to a space on Matrix");
}

#[tokio::test]
async fn nothing_that_strangers_say_gets_out_of_its_place() {
    let server = TestServer::start_with(|config| config.limits.enabled = false).await;
    let long = "Attic ".repeat(2000);
    let hostile = [
        "<script>alert(1)</script><a href=\"https://evil.example\">x</a>",
        "x\r\nBcc: eve@evil.example\r\n\r\n<h1>Hello</h1>",
        "x\n\n--boundary\nContent-Type: text/html",
        "{{ link }} {% include \"page.html\" %} { $link }",
        "see https://evil.example/ or www.evil.example or http://192.0.2.1/",
        "\u{202e}elpmaxe.live//:ptth\u{2066}\u{feff}\u{2028}x",
        "\"><img src=x onerror=alert(1)>",
        "&signurl=https://evil.example#x",
        "=?utf-8?B?QmNjOiBldmVAZXZpbC5leGFtcGxl?=",
        long.as_str(),
    ];
    for text in hostile {
        for name in [
            "room_name",
            "sender_display_name",
            "room_avatar_url",
            "room_type",
            "guest_user_id",
        ] {
            let mail = mailed(&server, &[(name, text)]).await;
            let link = JoinLink::of(&mail);
            assert_eq!(link.client, "https://app.element.io", "{name}: {text}");
            assert_eq!(link.room, ROOM);
            assert!(
                link.values["signurl"].starts_with("http://localhost:8090/"),
                "{name}: {text}"
            );
            assert_eq!(mail.to(), BOB);
            assert!(mail.subject().chars().count() < 250, "{}", mail.subject());
            for (part, shown) in [
                ("subject", mail.subject().to_owned()),
                ("text", mail.text().replace(&mail.link(), "")),
                (
                    "html",
                    mail.html()
                        .replace("&#x2f;", "/")
                        .replace("&amp;", "&")
                        .replace(&mail.link(), ""),
                ),
            ] {
                assert!(shown.len() < 5000, "{part}: {name}: {} bytes", shown.len());
                for bad in [
                    "://",
                    "evil.example",
                    "\u{202e}",
                    "\u{2066}",
                    "\u{2028}",
                    "\u{feff}",
                ] {
                    assert!(
                        !shown.contains(bad),
                        "{bad:?} in {part} by {name}:\n{shown}"
                    );
                }
                for markup in ["<script", "<img", "<h1>Hello", "<a href=\"https:/ "] {
                    let found = part == "html" && shown.contains(markup);
                    assert!(!found, "{markup} by {name}:\n{shown}");
                }
            }
            assert!(!mail.subject().contains(char::is_control));
        }
    }
}

#[tokio::test]
async fn only_a_client_that_is_allowed_gets_the_link() {
    let mut server = TestServer::start_with(|config| {
        config.invites.web_client = WebClient::parse("https://chat.example").unwrap();
        config.invites.web_clients = vec![AllowedClient::Only(
            WebClient::parse("https://other.example/app").unwrap(),
        )];
    })
    .await;
    let client = async |server: &TestServer, named: &str| {
        let mail = mailed(server, &[("org.matrix.web_client_location", named)]).await;
        JoinLink::of(&mail).client
    };
    assert_eq!(
        client(&server, "https://other.example/app/").await,
        "https://other.example/app"
    );
    assert_eq!(
        client(&server, "https://evil.example").await,
        "https://chat.example"
    );
    server.reload(|config| config.invites.web_clients = vec![AllowedClient::AnyHttps]);
    assert_eq!(
        client(&server, "https://evil.example").await,
        "https://evil.example"
    );
    assert_eq!(
        client(&server, "http://evil.example").await,
        "https://chat.example"
    );
}

#[tokio::test]
async fn a_brand_of_the_operators_may_say_more() {
    let folder = tempfile::tempdir().unwrap();
    let brand = folder.path().join("acme");
    std::fs::create_dir(&brand).unwrap();
    let template = "{{ inviter }} of {{ details.company if details.company is defined else \"nowhere\" }}\n{{ link }}\n";
    std::fs::write(brand.join("invite.txt"), template).unwrap();
    let server = TestServer::start_with(|config| {
        config.templates.directory = Some(folder.path().to_owned());
    })
    .await;
    let mail = mailed(&server, &[("brand", "acme"), ("company", "Acme")]).await;
    assert!(mail.text().starts_with("alice of Acme"), "{}", mail.text());
    let mail = mailed(&server, &[("brand", "no-such-brand")]).await;
    assert!(mail.text().contains("alice invites you"), "{}", mail.text());
}
