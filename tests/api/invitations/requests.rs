//! What `store-invite` takes, answers and refuses.

use bindery::config::MailTransport;
use bindery::types::ServerName;
use serde_json::{Value, json};

use super::{figure, monitored, rows};
use crate::support::federated::{Federated, V2};
use crate::support::invites::{ROOM, STORE_INVITE, invite, is_valid, keys_of, with};
use crate::support::server::TestServer;

const BOB: &str = "bob@example.org";
const ALICE: &str = "@alice:hs.example";

async fn store(server: &TestServer, request: Value) -> Value {
    server.client.post(STORE_INVITE, request).await.ok()
}

#[tokio::test]
async fn an_invitation_is_answered_with_its_token_and_keys_that_hold() {
    let server = TestServer::start().await;
    let stored = store(&server, invite("Bob@Example.org", ROOM, ALICE)).await;
    let token = stored["token"].as_str().unwrap();
    assert_eq!(token.len(), 43, "256 bits");
    let [servers, own] = keys_of(&stored);
    let expected = json!({
        "token": token,
        "public_keys": [
            { "public_key": servers,
              "key_validity_url": "http://localhost:8090/_matrix/identity/v2/pubkey/isvalid" },
            { "public_key": own,
              "key_validity_url": "http://localhost:8090/_matrix/identity/v2/pubkey/ephemeral/isvalid" },
        ],
        "public_key": servers,
        "display_name": "b...@exa...",
    });
    assert_eq!(stored, expected);
    for place in [0, 1] {
        assert!(is_valid(&server, &stored, place).await);
    }
    assert_eq!(server.only_mail().to(), BOB);
}

#[tokio::test]
async fn the_same_invitation_again_is_the_same_one_and_mailed_again() {
    let server = monitored(|_| {}).await;
    let request = invite(BOB, ROOM, ALICE);
    let first = store(&server, request.clone()).await;
    let renamed = with(
        invite("BOB@example.org", ROOM, ALICE),
        &[("room_name", "Attic")],
    );
    assert_eq!(store(&server, renamed).await, first);
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    assert!(mails[1].text().contains("Attic"), "{}", mails[1].text());
    let server = server.restart().await;
    assert_eq!(store(&server, request).await, first);
    assert_eq!(rows(&server, "invitations").await, "1");

    for other in [
        invite(BOB, "!cellar:hs.example", ALICE),
        invite(BOB, ROOM, "@carol:hs.example"),
        invite("bob@example.com", ROOM, ALICE),
    ] {
        let other = store(&server, other).await;
        assert_ne!(other["token"], first["token"]);
        assert_ne!(keys_of(&other)[1], keys_of(&first)[1]);
        assert_eq!(keys_of(&other)[0], keys_of(&first)[0]);
    }
    assert_eq!(rows(&server, "invitations").await, "4");
    let requests = |outcome| format!("bindery_invitation_requests_total{{outcome=\"{outcome}\"}}");
    assert_eq!(figure(&server, &requests("stored")).await, "3");
    assert_eq!(figure(&server, &requests("resent")).await, "1");
}

#[tokio::test]
async fn what_is_no_invitation_is_refused_and_nothing_is_kept_or_mailed() {
    let server = monitored(|_| {}).await;
    let good = invite(BOB, ROOM, ALICE);
    let changed = |name: &str, value: Value| {
        let mut request = good.clone();
        request[name] = value;
        request
    };
    let long = format!("{}@example.org", "b".repeat(300));
    for (request, errcode) in [
        (changed("medium", json!("msisdn")), "M_UNRECOGNIZED"),
        (changed("medium", json!("pigeon")), "M_UNRECOGNIZED"),
        (changed("medium", json!("Email")), "M_UNRECOGNIZED"),
        (changed("address", json!("bob")), "M_INVALID_EMAIL"),
        (changed("address", json!("bob@")), "M_INVALID_EMAIL"),
        (
            changed("address", json!("a@b.example, c@d.example")),
            "M_INVALID_EMAIL",
        ),
        (
            changed("address", json!("Bob <bob@example.org>")),
            "M_INVALID_EMAIL",
        ),
        (
            changed("address", json!("bob@example.org\r\nBcc: eve@evil.example")),
            "M_INVALID_EMAIL",
        ),
        (changed("address", json!(long)), "M_INVALID_EMAIL"),
        (changed("address", json!(5)), "M_INVALID_PARAM"),
        (
            changed("room_id", json!("#attic:hs.example")),
            "M_INVALID_PARAM",
        ),
        (
            changed("room_id", json!("!a\r\nb:hs.example")),
            "M_INVALID_PARAM",
        ),
        (changed("sender", json!("alice")), "M_INVALID_PARAM"),
        (changed("room_name", json!(["Attic"])), "M_INVALID_PARAM"),
        (changed("guest_access_token", json!({})), "M_INVALID_PARAM"),
    ] {
        let text = request.to_string();
        let answer = server.client.post(STORE_INVITE, request).await;
        let body = answer.json();
        let seen = (answer.status.as_u16(), body["errcode"].as_str());
        assert_eq!(seen, (400, Some(errcode)), "{text}: {body}");
    }
    let answer = server
        .client
        .post(STORE_INVITE, json!({ "medium": null }))
        .await;
    let sentence = answer.refused(400, "M_MISSING_PARAMS");
    for name in ["medium", "address", "room_id", "sender"] {
        assert!(sentence.contains(&format!("`{name}`")), "{sentence}");
    }
    for table in [
        "invitations",
        "invitation by token",
        "ephemeral keys",
        "outbox",
    ] {
        assert_eq!(rows(&server, table).await, "0", "{table}");
    }
    assert_eq!(server.mails().len(), 0);
}

#[tokio::test]
async fn fields_that_nobody_knows_and_empty_ones_do_no_harm() {
    let server = TestServer::start().await;
    let mut request = with(
        invite(BOB, "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM", ALICE),
        &[
            ("sender_avatar_url", ""),
            ("room_name", ""),
            ("org.example.more", "text"),
        ],
    );
    request["number"] = json!(5);
    request["room_alias"] = Value::Null;
    store(&server, request).await;
    assert!(server.only_mail().subject().contains("a room on Matrix"));
}

#[tokio::test]
async fn version_1_takes_a_form_and_a_query_too() {
    let server = TestServer::start().await;
    let stored = store(&server, invite(BOB, ROOM, ALICE)).await;
    let fields = [
        ("medium", "email"),
        ("address", BOB),
        ("room_id", ROOM),
        ("sender", ALICE),
    ];
    let answer = server.client.post_form(STORE_INVITE, &fields).await;
    assert_eq!(answer.ok(), stored);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let target = format!("{STORE_INVITE}?{query}");
    assert_eq!(server.client.post_raw(&target, None, "").await.ok(), stored);
}

#[tokio::test]
async fn on_version_2_an_account_invites_for_itself_only() {
    let site = Federated::start().await;
    let alice = site.user("alice");
    let token = site.register("alice").await;
    let request = invite(BOB, ROOM, &site.user("bob"));
    site.post(&token, "store-invite", &request)
        .await
        .refused(403, "M_UNAUTHORIZED");
    let request = invite(BOB, ROOM, &alice);
    let path = format!("{V2}/store-invite");
    site.server
        .client
        .post(&path, request.clone())
        .await
        .refused(401, "M_UNAUTHORIZED");
    assert_eq!(site.server.mails().len(), 0);
    let stored = site.post(&token, "store-invite", &request).await.ok();
    let v1 = site.server.client.post(STORE_INVITE, request).await.ok();
    assert_eq!(v1, stored, "both versions have the same invitations");
}

#[tokio::test]
async fn who_is_bound_already_is_named_instead_of_invited() {
    let server = monitored(|_| {}).await;
    let sid = server.validated(BOB, "s").await;
    server.bind(&sid, "s", "@bob:hs.example").await.ok();
    let mails = server.mails().len();
    let answer = server
        .client
        .post(STORE_INVITE, invite("BOB@example.org", ROOM, ALICE))
        .await;
    answer.refused(400, "M_THREEPID_IN_USE");
    assert_eq!(answer.json()["mxid"], "@bob:hs.example");
    assert_eq!(rows(&server, "invitations").await, "0");
    assert_eq!(server.mails().len(), mails);
}

#[tokio::test]
async fn to_ask_who_is_bound_by_inviting_counts_as_a_lookup() {
    let one = |server: &str| format!("user{server}@example.org");
    let site = Federated::start_with(|config, _| {
        config.limits.lookups_by_account = super::life::rate(2);
    })
    .await;
    let token = site.register("alice").await;
    let ask = async |number: &str| {
        let request = invite(&one(number), ROOM, &site.user("alice"));
        site.post(&token, "store-invite", &request).await
    };
    ask("1").await.ok();
    ask("1").await.ok();
    ask("2").await.ok();
    ask("3").await.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(site.server.mails().len(), 3);

    let server = TestServer::start_with(|config| {
        config.api.v1_sources.clear();
        config.limits.lookups_by_ip = super::life::rate(2);
    })
    .await;
    for number in ["1", "2"] {
        store(&server, invite(&one(number), ROOM, ALICE)).await;
    }
    let request = invite(&one("3"), ROOM, ALICE);
    let answer = server.client.post(STORE_INVITE, request).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(server.mails().len(), 2);
}

#[tokio::test]
async fn what_the_operator_does_not_want_is_forbidden() {
    let mut server = monitored(|config| {
        config.accounts.allow_homeservers = vec![ServerName::parse("hs.example").unwrap()];
    })
    .await;
    let foreign = invite(BOB, ROOM, "@alice:other.example");
    let ask = async |server: &TestServer, request: Value| {
        let answer = server.client.post(STORE_INVITE, request).await;
        answer.refused(403, "M_FORBIDDEN");
    };
    ask(&server, foreign.clone()).await;
    server.reload(|config| config.accounts.allow_homeservers.clear());
    store(&server, foreign.clone()).await;

    server.reload(|config| {
        config.invites.block_homeservers = vec![ServerName::parse("other.example").unwrap()];
        config.invites.block_rooms = vec!["!bad:hs.example".to_owned()];
        config.invites.block_keywords = vec!["casino".to_owned()];
    });
    ask(&server, foreign).await;
    ask(&server, invite(BOB, "!bad:hs.example", ALICE)).await;
    for name in ["room_name", "room_alias", "sender_display_name"] {
        ask(
            &server,
            with(invite(BOB, ROOM, ALICE), &[(name, "#Grand ＣＡＳＩＮＯ")]),
        )
        .await;
    }
    assert_eq!(rows(&server, "invitations").await, "1");
    assert_eq!(server.mails().len(), 1);
    store(&server, invite(BOB, ROOM, ALICE)).await;
    let refused = "bindery_invitation_requests_total{outcome=\"refused\"}";
    assert_eq!(figure(&server, refused).await, "6");
}

#[tokio::test]
async fn a_server_without_mail_invites_nobody() {
    let server = monitored(|config| config.email.transport = MailTransport::None).await;
    let answer = server
        .client
        .post(STORE_INVITE, invite(BOB, ROOM, ALICE))
        .await;
    let sentence = answer.refused(400, "M_UNRECOGNIZED");
    assert!(sentence.contains("does not send e-mail"), "{sentence}");
    assert_eq!(rows(&server, "invitations").await, "0");
}

#[tokio::test]
async fn so_much_of_an_address_is_revealed_as_is_configured() {
    let server = TestServer::start_with(|config| {
        config.invites.reveal_username = 0;
        config.invites.reveal_domain = 8;
    })
    .await;
    let stored = store(&server, invite("roberta@example.org", ROOM, ALICE)).await;
    assert_eq!(stored["display_name"], "...@example....");
    let stored = store(&server, invite("roberta@b.co", ROOM, ALICE)).await;
    assert_eq!(stored["display_name"], "...@b...");
}
