//! What is told to homeservers, and what happens when they do not want to hear it.

mod mails;
mod trouble;

use std::time::Duration;

use bindery::config::{self, Config};
use bindery::random::Random;
use bindery::signing;
use bindery::storage::tables::{InvitationPlace, InvitationRecord, InvitationState};
use bindery::storage::{Store, StoreError, invitations};
use bindery::types::{
    InviteDetails, InviteToken, KeyId, Medium, RoomId, ServerName, ThreePid, Timestamp, UserId,
};
use serde_json::{Map, Value, json};

use crate::support::federated::Federated;
use crate::support::homeserver::{ONBIND, Reply, Seen};
use crate::support::server::{START, TestServer};

const ALICE: &str = "alice@example.org";
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// Longer than any pause between two tries.
const LONG: Duration = Duration::from_hours(8);

/// Stores an invitation into each of the rooms for an address, before a server opens the store.
fn invite(config: &Config, address: &str, rooms: &[&str]) {
    let (settings, name) = (config.store.clone(), config.server.name.clone());
    let invited: Vec<_> = rooms.iter().map(|room| invitation(address, room)).collect();
    // The store waits for its disk, which an asynchronous task may not.
    let storing = std::thread::spawn(move || store_all(&settings, &name, invited));
    storing.join().unwrap();
}

fn store_all(
    settings: &config::Store,
    name: &ServerName,
    invited: Vec<(InvitationPlace, InvitationRecord)>,
) {
    let store = Store::open(settings, name).unwrap();
    let stored = store.write_blocking(move |tx| -> Result<(), StoreError> {
        invited
            .iter()
            .try_for_each(|(place, record)| invitations::put(tx, place, record))
    });
    stored.unwrap();
    assert!(store.close(Duration::from_secs(30)));
}

fn invitation(address: &str, room: &str) -> (InvitationPlace, InvitationRecord) {
    let threepid = ThreePid::parse(Medium::Email, address).unwrap();
    let random = Random::system();
    let record = InvitationRecord {
        token: InviteToken::presented(&format!("token-of-{}", room.trim_start_matches('!'))),
        sender: UserId::parse("@sender:elsewhere.example").unwrap(),
        room_id: RoomId::parse(room).unwrap(),
        details: InviteDetails::default(),
        language: None,
        brand: None,
        public_key: random.bytes().unwrap(),
        server_key: KeyId::parse("ed25519:1").unwrap(),
        stored: START,
        expires: START.plus(DAY * 180),
        state: InvitationState::Pending,
    };
    ((threepid, random.record_id().unwrap()), record)
}

/// A server whose homeserver takes what it is told, with invitations for Alice into these rooms.
async fn invited(rooms: &[&str]) -> Federated {
    let site = Federated::start_with(|config, _| {
        invite(config, ALICE, rooms);
        config.federation.timeout = Duration::from_millis(300);
        config.limits.enabled = false;
    })
    .await;
    site.homeserver.take_binds();
    site
}

/// Binds Alice's address to a user by a new session.
async fn bind(server: &TestServer, mxid: &str) {
    let secret = format!("s{}", server.mails().len());
    let sid = server.validated(ALICE, &secret).await;
    server.bind(&sid, &secret, mxid).await.ok();
}

/// Has tried again what waits, after longer than any pause.
async fn later(server: &TestServer) {
    server.advance(LONG);
    server.outbox.run_once().await.unwrap();
}

/// The rooms of the invitations that a homeserver was told.
fn rooms(told: &Seen) -> Vec<&str> {
    let invites = told.body["invites"].as_array().unwrap().iter();
    let mut rooms: Vec<_> = invites
        .map(|invite| invite["room_id"].as_str().unwrap())
        .collect();
    rooms.sort_unstable();
    rooms
}

/// Checks the one signature that an object has, by one of the server's keys as it shows them.
async fn assert_signed(server: &TestServer, object: &Map<String, Value>, key: &str) {
    let path = format!("/_matrix/identity/v2/pubkey/{key}");
    let shown = server.client.get(&path, &[]).await.ok();
    let public = signing::decode_base64(shown["public_key"].as_str().unwrap()).unwrap();
    let id = KeyId::parse(key).unwrap();
    signing::verify_json(object, "localhost", &id, &public).unwrap();
    let signatures = object["signatures"].as_object().unwrap();
    assert_eq!(signatures.len(), 1);
    assert_eq!(signatures["localhost"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_homeserver_is_told_of_a_bind_without_invitations() {
    let site = Federated::start().await;
    site.homeserver.take_binds();
    let sid = site.server.validated("Alice@Example.org", "s").await;
    let mut bound = site.server.bind(&sid, "s", &site.user("alice")).await.ok();
    let told = site.homeserver.told(1).await.remove(0);
    assert_eq!(told.method, "POST");
    let mut body = told.body;
    assert_signed(&site.server, body.as_object().unwrap(), "ed25519:1").await;
    assert_eq!(body["invites"], json!([]));
    let unsigned = |association: &mut Value| {
        let object = association.as_object_mut().unwrap();
        object.remove("signatures");
        object.remove("invites");
    };
    unsigned(&mut body);
    unsigned(&mut bound);
    assert_eq!(body, bound);
    later(&site.server).await;
    assert_eq!(site.homeserver.count(ONBIND), 1);
    assert!(site.server.outgoing(false).await.is_empty());
}

#[tokio::test]
async fn invitations_are_told_with_the_bind_each_signed_once() {
    let site = invited(&["!a:elsewhere.example", "!b"]).await;
    let alice = site.user("alice");
    bind(&site.server, &alice).await;
    let told = site.homeserver.told(1).await.remove(0);
    assert_signed(&site.server, told.body.as_object().unwrap(), "ed25519:1").await;
    assert_eq!(rooms(&told), ["!a:elsewhere.example", "!b"]);
    for invite in told.body["invites"].as_array().unwrap() {
        let mut invite = invite.clone();
        let signed = invite["signed"].take();
        assert_signed(&site.server, signed.as_object().unwrap(), "ed25519:1").await;
        let room = invite["room_id"].as_str().unwrap().to_owned();
        let token = format!("token-of-{}", room.trim_start_matches('!'));
        assert_eq!(signed["mxid"], alice);
        assert_eq!(signed["token"], token);
        assert_eq!(signed.as_object().unwrap().len(), 3);
        let expected = json!({
            "medium": "email", "address": ALICE, "mxid": alice, "room_id": room,
            "sender": "@sender:elsewhere.example", "token": token, "signed": null,
        });
        assert_eq!(invite, expected);
    }
    // Whoever is bound next gets none of them.
    site.server.outbox.run_once().await.unwrap();
    bind(&site.server, &site.user("bob")).await;
    let told = site.homeserver.told(2).await.remove(1);
    assert_eq!(rooms(&told), Vec::<&str>::new());
}

#[tokio::test]
async fn an_operators_bind_is_told_as_well() {
    let site = invited(&["!a"]).await;
    let request = json!({
        "command": "associations_add", "threepid": ["email", ALICE], "mxid": site.user("alice"),
    });
    site.server.command(request).await;
    assert_eq!(rooms(&site.homeserver.told(1).await[0]), ["!a"]);
}

#[tokio::test]
async fn an_invitation_is_signed_by_the_key_that_was_named_after_a_rotation_too() {
    let site = invited(&["!a"]).await;
    site.homeserver.script(
        ONBIND,
        [Reply::Json(500, json!({ "errcode": "M_UNKNOWN" }))],
    );
    bind(&site.server, &site.user("alice")).await;
    site.homeserver.told(1).await;
    site.server.outbox.run_once().await.unwrap();
    site.server
        .command(json!({ "command": "keys_rotate" }))
        .await;
    later(&site.server).await;
    let told = site.homeserver.told(2).await.remove(1);
    assert_signed(&site.server, told.body.as_object().unwrap(), "ed25519:2").await;
    let signed = told.body["invites"][0]["signed"].as_object().unwrap();
    assert_signed(&site.server, signed, "ed25519:1").await;
}

#[tokio::test]
async fn an_invitation_whose_key_was_revoked_is_given_up_and_says_so() {
    let site = invited(&["!a"]).await;
    site.server
        .command(json!({ "command": "keys_rotate" }))
        .await;
    let revoke = json!({ "command": "keys_revoke", "key": "ed25519:1", "force": true });
    site.server.command(revoke).await;
    bind(&site.server, &site.user("alice")).await;
    let told = site.homeserver.told(1).await.remove(0);
    assert_eq!(rooms(&told), Vec::<&str>::new());
    site.server.outbox.run_once().await.unwrap();
    let failed = site.server.outgoing(true).await;
    assert_eq!(failed.len(), 1);
    let reason = failed[0]["last_error"].as_str().unwrap();
    assert!(reason.contains("ed25519:1, which is revoked"), "{reason}");
    later(&site.server).await;
    assert_eq!(site.homeserver.count(ONBIND), 1);
}

#[tokio::test]
async fn a_homeserver_is_told_nothing_of_a_bind_that_was_undone_meanwhile() {
    let site = invited(&["!a"]).await;
    site.homeserver.reply(ONBIND, Reply::Drop);
    bind(&site.server, &site.user("alice")).await;
    site.homeserver.told(1).await;
    site.server.outbox.run_once().await.unwrap();
    let remove = json!({
        "command": "associations_remove", "target": { "threepid": ["email", ALICE] },
    });
    site.server.command(remove).await;
    site.homeserver.take_binds();
    later(&site.server).await;
    assert_eq!(site.homeserver.count(ONBIND), 1);
    assert!(site.server.outgoing(false).await.is_empty());

    bind(&site.server, &site.user("bob")).await;
    let told = site.homeserver.told(2).await.remove(1);
    assert_eq!(told.body["mxid"], site.user("bob"));
    assert_eq!(rooms(&told), ["!a"]);
}

#[tokio::test]
async fn a_bind_to_another_user_takes_the_invitations_along() {
    let site = invited(&["!a"]).await;
    site.homeserver.reply(ONBIND, Reply::Drop);
    bind(&site.server, &site.user("alice")).await;
    site.homeserver.told(1).await;
    site.server.outbox.run_once().await.unwrap();
    bind(&site.server, &site.user("bob")).await;
    site.homeserver.take_binds();
    later(&site.server).await;
    later(&site.server).await;
    let mut told = site.homeserver.told(2).await;
    told.retain(|told| told.body["mxid"] == site.user("bob"));
    assert_eq!(rooms(told.last().unwrap()), ["!a"]);
    let of_alice = site.homeserver.seen();
    let of_alice = of_alice
        .iter()
        .filter(|seen| seen.body["mxid"] == site.user("alice"));
    assert_eq!(of_alice.count(), 1);
    assert!(site.server.outgoing(false).await.is_empty());
}

#[tokio::test]
async fn a_restart_between_bind_and_delivery_loses_nothing() {
    let site = invited(&["!a"]).await;
    site.homeserver.reply(ONBIND, Reply::Silence);
    bind(&site.server, &site.user("alice")).await;
    site.homeserver.told(1).await;
    // It is in the middle of telling.
    let site = site.restart().await;
    site.homeserver.take_binds();
    later(&site.server).await;
    let told = site.homeserver.told(2).await;
    assert_eq!(rooms(told.last().unwrap()), ["!a"]);
    assert!(site.server.outgoing(false).await.is_empty());
}

#[tokio::test]
async fn a_homeserver_is_told_one_thing_at_a_time() {
    let site = invited(&[]).await;
    let mut sids = Vec::new();
    for number in 0..12 {
        let (address, secret) = (format!("user{number}@example.org"), format!("s{number}"));
        sids.push((site.server.validated(&address, &secret).await, secret));
    }
    let user = site.user("alice");
    let binds = sids
        .iter()
        .map(|(sid, secret)| site.server.bind(sid, secret, &user));
    futures_util::future::join_all(binds).await;
    site.homeserver.told(12).await;
    site.server.outbox.run_once().await.unwrap();
    assert_eq!(site.homeserver.most_at_once(), 1);
    assert_eq!(site.homeserver.count(ONBIND), 12);
    assert!(site.server.outgoing(false).await.is_empty());
}

/// When something is due, as a list shows it.
fn due(item: &Value) -> Timestamp {
    Timestamp::from_millis(item["due"].as_u64().unwrap())
}
