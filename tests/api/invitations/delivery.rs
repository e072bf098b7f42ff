//! From the invitation to the homeserver of whoever binds the address, and into the room.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::federated::Federated;
use crate::support::homeserver::{ONBIND, Reply};
use crate::support::invites::{JoinLink, ROOM, STORE_INVITE, assert_signed, invite, keys_of};

const ALICE: &str = "@alice:hs.example";

async fn store(site: &Federated, request: Value) -> Value {
    site.server.client.post(STORE_INVITE, request).await.ok()
}

/// Binds an address on version 1.
async fn bind(site: &Federated, address: &str, secret: &str, mxid: &str) -> Value {
    let sid = site.server.validated(address, secret).await;
    site.server.bind(&sid, secret, mxid).await.ok()
}

/// The tokens of the invitations that a homeserver was told of.
fn tokens(told: &Value) -> Vec<&str> {
    let invites = told["invites"].as_array().unwrap();
    invites
        .iter()
        .map(|invite| invite["token"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn from_the_invitation_to_the_room() {
    let site = Federated::start().await;
    site.homeserver.take_binds();
    let stored = store(&site, invite("bob@example.org", ROOM, ALICE)).await;
    let link = JoinLink::of(&site.server.only_mail());
    let bob = site.user("bob");
    bind(&site, "Bob@Example.org", "s", &bob).await;

    let told = site.homeserver.told(1).await.remove(0).body;
    let expected = json!({
        "medium": "email", "address": "bob@example.org", "mxid": bob, "room_id": ROOM,
        "sender": ALICE, "token": stored["token"],
    });
    let mut invites = told["invites"].as_array().unwrap().clone();
    let signed = invites[0]
        .as_object_mut()
        .unwrap()
        .remove("signed")
        .unwrap();
    assert_eq!(invites, [expected]);
    let [servers, own] = keys_of(&stored);
    assert_signed(&signed, "localhost", "ed25519:1", &servers);
    assert_eq!(
        (&signed["mxid"], &signed["token"]),
        (&json!(bob), &stored["token"])
    );
    assert_eq!(
        signed["signatures"]["localhost"].as_object().unwrap().len(),
        1
    );
    assert_signed(&told, "localhost", "ed25519:1", &servers);

    // Whoever has the mail joins by it as well, before and after.
    let joined = link.join(&site.server, &bob).await.ok();
    assert_signed(&joined, "localhost", "ed25519:0", &own);
}

#[tokio::test]
async fn two_users_never_see_each_others_invitations() {
    let site = Federated::start().await;
    site.homeserver.take_binds();
    let (bob, carol) = (site.user("bob"), site.user("carol"));
    let for_bob = store(&site, invite("bob@example.org", ROOM, ALICE)).await;
    let for_carol = store(&site, invite("carol@example.org", ROOM, ALICE)).await;
    let also_for_bob = store(
        &site,
        invite("bob@example.org", "!cellar:hs.example", ALICE),
    )
    .await;
    // Both validate, then both bind at the same time.
    let bobs = site.server.validated("bob@example.org", "b").await;
    let carols = site.server.validated("carol@example.org", "c").await;
    let (b, c) = tokio::join!(
        site.server.bind(&bobs, "b", &bob),
        site.server.bind(&carols, "c", &carol)
    );
    for (answer, mxid) in [(b.ok(), &bob), (c.ok(), &carol)] {
        assert_eq!(answer["mxid"], json!(mxid));
        assert!(answer.get("invites").is_none(), "{answer}");
    }
    let told = site.homeserver.told(2).await;
    assert_eq!(told.len(), 2);
    assert_eq!(
        site.homeserver.most_at_once(),
        1,
        "a homeserver is told one thing after the other"
    );
    for seen in told {
        let mut seen_tokens = tokens(&seen.body);
        seen_tokens.sort_unstable();
        let expected: &[&Value] = if seen.body["mxid"] == json!(bob) {
            &[&for_bob["token"], &also_for_bob["token"]]
        } else {
            &[&for_carol["token"]]
        };
        let mut expected: Vec<&str> = expected
            .iter()
            .map(|token| token.as_str().unwrap())
            .collect();
        expected.sort_unstable();
        assert_eq!(seen_tokens, expected);
        for invite in seen.body["invites"].as_array().unwrap() {
            assert_eq!(invite["mxid"], seen.body["mxid"]);
            assert_eq!(invite["address"], seen.body["address"]);
        }
    }
}

#[tokio::test]
async fn an_invitation_is_signed_by_the_key_that_its_answer_named_whenever_that_changes() {
    let site = Federated::start().await;
    let bob = site.user("bob");
    let first = store(&site, invite("bob@example.org", ROOM, ALICE)).await;
    site.server
        .operate(json!({ "command": "keys_rotate" }))
        .await;
    let second = store(
        &site,
        invite("bob@example.org", "!cellar:hs.example", ALICE),
    )
    .await;
    assert_ne!(keys_of(&first)[0], keys_of(&second)[0]);

    // Between the bind and the delivery it changes once more.
    site.homeserver.reply(ONBIND, Reply::Json(500, json!({})));
    bind(&site, "bob@example.org", "s", &bob).await;
    site.homeserver.told(1).await;
    site.server
        .operate(json!({ "command": "keys_rotate" }))
        .await;
    site.homeserver.take_binds();
    site.server.outbox.run_once().await.unwrap();
    let before = site.homeserver.count(ONBIND);
    site.server.advance(Duration::from_hours(24));
    site.server.outbox.run_once().await.unwrap();
    let told = site.homeserver.told(before + 1).await;

    for (stored, id) in [(&first, "ed25519:1"), (&second, "ed25519:2")] {
        let taken = told[before..].iter().flat_map(|seen| {
            let invites = seen.body["invites"].as_array().unwrap();
            invites
                .iter()
                .filter(|invite| invite["token"] == stored["token"])
        });
        let taken: Vec<&Value> = taken.collect();
        assert_eq!(taken.len(), 1, "{id}");
        assert_signed(&taken[0]["signed"], "localhost", id, &keys_of(stored)[0]);
        let signatures = taken[0]["signed"]["signatures"]["localhost"]
            .as_object()
            .unwrap();
        assert_eq!(
            signatures.len(),
            1,
            "a homeserver gives up at the first that fails"
        );
    }
    for seen in &told[before..] {
        let answer = site
            .server
            .client
            .get("/_matrix/identity/v2/pubkey/ed25519:3", &[])
            .await;
        let current = answer.ok()["public_key"].as_str().unwrap().to_owned();
        assert_signed(&seen.body, "localhost", "ed25519:3", &current);
    }
}

#[tokio::test]
async fn what_has_ended_or_was_taken_back_is_not_delivered() {
    let site = Federated::start_with(|config, _| {
        config.invites.expire_after = Duration::from_hours(1);
    })
    .await;
    site.homeserver.take_binds();
    // It serves the call as the specification has it.
    site.homeserver.script(
        ONBIND,
        [Reply::Json(405, json!({ "errcode": "M_UNRECOGNIZED" }))],
    );
    store(&site, invite("bob@example.org", ROOM, ALICE)).await;
    site.server.advance(Duration::from_hours(1));
    let kept = store(
        &site,
        invite("bob@example.org", "!cellar:hs.example", ALICE),
    )
    .await;
    store(
        &site,
        invite("bob@example.org", ROOM, "@mallory:hs.example"),
    )
    .await;
    let target = json!({ "sender": "@mallory:hs.example" });
    let revoked = json!({ "command": "invites_revoke", "target": target });
    site.server.operate(revoked).await;
    bind(&site, "bob@example.org", "s", &site.user("bob")).await;
    let told = site.homeserver.told(2).await.remove(1);
    assert_eq!(told.method, "PUT");
    let told = told.body;
    assert_eq!(tokens(&told), [kept["token"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_queued_mail_goes_out_as_long_as_somebody_wants_it() {
    use crate::support::smtp::{Behaviour, Fault, SmtpServer, Stage};
    use bindery::config::{MailTransport, SmtpSecurity};

    let mut smtp = SmtpServer::start(Behaviour::default()).await;
    let port = smtp.port();
    let site = Federated::start_with(|config, _| {
        config.email.transport = MailTransport::Smtp;
        config.email.smtp.host = "127.0.0.1".to_owned();
        config.email.smtp.port = port;
        config.email.smtp.security = SmtpSecurity::None;
    })
    .await;
    smtp.behave(|now| now.fault = Some((Stage::Rcpt, Fault::Say("451 4.3.0 later"))));
    let stored = store(&site, invite("bob@example.org", ROOM, ALICE)).await;
    store(
        &site,
        invite("carol@example.org", ROOM, "@mallory:hs.example"),
    )
    .await;
    assert!(smtp.is_empty());
    let revoked =
        json!({ "command": "invites_revoke", "target": { "sender": "@mallory:hs.example" } });
    site.server.operate(revoked).await;
    smtp.behave(|now| now.fault = None);
    let site = site.restart().await;
    site.server.advance(Duration::from_hours(1));
    site.server.outbox.run_once().await.unwrap();
    let received = smtp.next().await;
    assert_eq!(received.to, ["bob@example.org"]);
    let link = JoinLink::of(&crate::support::mailbox::Mail::parse(&received.bytes));
    assert_eq!(link.signing("token"), stored["token"].as_str().unwrap());
    link.join(&site.server, "@bob:hs.example").await.ok();
    site.server.advance(Duration::from_hours(24));
    site.server.outbox.run_once().await.unwrap();
    assert!(
        smtp.is_empty(),
        "once is enough, and nobody wants what was taken back"
    );
}
