//! Invitations over the real binary: killed between each pair of steps, and the operator's commands on them.

use std::net::SocketAddr;
use std::path::Path;

use bindery::signing::{decode_base64, verify_json};
use bindery::types::{KeyId, Timestamp};
use serde_json::{Value, json};

use super::authority::Authority;
use super::dns::DnsServer;
use super::homeserver::{Homeserver, ONBIND, Reply};
use super::mailbox::Mail;
use super::operator::{objects, says, stop};
use super::{Running, Site, V1, bound, call, complaint, until, validated};

const BOB: &str = "bob@example.org";
const ALICE: &str = "@alice:hs.example";
const ROOM: &str = "!attic:hs.example";

/// Invites and answers what the server says.
fn invite(address: SocketAddr, email: &str, sender: &str) -> Value {
    let body = json!({ "medium": "email", "address": email, "room_id": ROOM, "sender": sender });
    let (status, answer) = call(address, "POST", &format!("{V1}/store-invite"), &body).unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Path and query of the URL in the newest mail of an invitation by which a client has its user signed for.
pub fn sign_target(store: &Path) -> String {
    let mails = Mail::all_in(&store.join("outbox"));
    let mut links = mails.iter().map(Mail::link);
    let link = links.rfind(|link| link.contains("signurl=")).unwrap();
    let (_, query) = link.split_once('?').unwrap();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let (_, target) = pairs.find(|(name, _)| name == "signurl").unwrap();
    let url = url::Url::parse(&target).unwrap();
    format!("{}?{}", url.path(), url.query().unwrap())
}

/// Whether the key at a place of an invitation's answer holds.
fn is_valid(address: SocketAddr, stored: &Value, place: usize) -> bool {
    let key = &stored["public_keys"][place];
    let url = url::Url::parse(key["key_validity_url"].as_str().unwrap()).unwrap();
    let public_key: String =
        url::form_urlencoded::byte_serialize(key["public_key"].as_str().unwrap().as_bytes())
            .collect();
    let target = format!("{}?public_key={public_key}", url.path());
    let (status, answer) = call(address, "GET", &target, &Value::Null).unwrap();
    assert_eq!(status, 200, "{answer}");
    answer["valid"].as_bool().unwrap()
}

/// A server that was killed, started again.
fn killed(mut server: Running, site: &Site) -> Running {
    server.signal("KILL");
    server.wait();
    site.serve()
}

#[test]
fn an_invitation_arrives_although_the_server_is_killed_after_every_step() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (authority, dns) = (Authority::new(), runtime.block_on(DnsServer::start()));
    dns.host("hs.example", "127.0.0.1");
    let homeserver = runtime.block_on(Homeserver::start(&authority, "hs.example"));
    let site = Site::new();
    site.configure(&format!(
        "[federation]\nallow_ips = [\"127.0.0.1\"]\ndns = [\"{}\"]\nca_file = \"{}\"\n",
        dns.address(),
        authority.file().display()
    ));
    let mxid = format!("@bob:{}", homeserver.name());
    let server = site.serve();
    let stored = invite(server.address, BOB, ALICE);

    let server = killed(server, &site);
    assert_eq!(
        invite(server.address, BOB, ALICE),
        stored,
        "it is still the same"
    );
    let server = killed(server, &site);
    let sid = validated(server.address, &site.store(), BOB, "s");
    let server = killed(server, &site);
    // Another key signs from here on; the invitation keeps the one that its answer named.
    says(&site, &["keys", "rotate"]);
    let server = killed(server, &site);
    // The homeserver does not answer yet: the server dies while it waits for that.
    homeserver.reply(ONBIND, Reply::Silence);
    let bind = json!({ "sid": sid, "client_secret": "s", "mxid": mxid });
    let (status, answer) = call(server.address, "POST", &format!("{V1}/3pid/bind"), &bind).unwrap();
    assert_eq!(status, 200, "{answer}");
    until(|| homeserver.count(ONBIND) == 1);
    let mut server = server;
    server.signal("KILL");
    server.wait();
    says(&site, &["keys", "rotate"]);
    homeserver.reply(ONBIND, Reply::Json(200, json!({})));
    let server = site.serve();
    assert_eq!(bound(server.address, BOB).as_deref(), Some(mxid.as_str()));
    until(|| {
        !objects(&site, &["invites", "list"])
            .iter()
            .all(|row| row["state"] == "bound")
    });
    let listed = objects(&site, &["invites", "list"]).remove(0);
    assert_eq!(
        (&listed["state"], &listed["mxid"]),
        (&json!("delivered"), &json!(mxid))
    );

    let told = homeserver.seen();
    let told = told.iter().rfind(|seen| seen.target == ONBIND).unwrap();
    let invites = told.body["invites"].as_array().unwrap();
    assert_eq!(invites.len(), 1, "{}", told.body);
    assert_eq!(
        (&invites[0]["token"], &invites[0]["sender"]),
        (&stored["token"], &json!(ALICE))
    );
    let servers_key = decode_base64(stored["public_key"].as_str().unwrap()).unwrap();
    let first = KeyId::parse("ed25519:1").unwrap();
    let signed = invites[0]["signed"].as_object().unwrap();
    verify_json(signed, "localhost", &first, &servers_key).unwrap();

    let server = killed(server, &site);
    let escaped: String = url::form_urlencoded::byte_serialize(mxid.as_bytes()).collect();
    let target = format!("{}&mxid={escaped}", sign_target(&site.store()));
    let (status, signed) = call(server.address, "POST", &target, &Value::Null).unwrap();
    assert_eq!(status, 200, "{signed}");
    let own_key = stored["public_keys"][1]["public_key"].as_str().unwrap();
    let own_key = decode_base64(own_key).unwrap();
    let ephemeral = KeyId::parse("ed25519:0").unwrap();
    verify_json(
        signed.as_object().unwrap(),
        "localhost",
        &ephemeral,
        &own_key,
    )
    .unwrap();
    let server = killed(server, &site);
    for place in [0, 1] {
        assert!(is_valid(server.address, &stored, place), "key {place}");
    }
}

/// Does the same things to the invitations of a site, whose addresses end in this domain, and answers what was seen but
/// for ids and times.
fn tour(site: &Site, domain: &str) -> Vec<Value> {
    let bob = format!("bob@{domain}");
    let mut seen = Vec::new();
    let listed = objects(site, &["invites", "list", "email", &bob]);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["threepid"], json!(["email", bob]));
    assert_eq!(listed[0]["server_key"], "ed25519:1");
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let text = says(site, &["invites", "list", "email", &bob]);
    let words = format!("{id} email {bob} by {ALICE} into {ROOM} on ");
    assert!(
        text.starts_with(&words) && text.contains(": waits until "),
        "{text}"
    );
    seen.push(listed[0]["state"].clone());

    let by_mallory = ["invites", "list", "--sender", "@mallory:hs.example"];
    seen.push(json!(objects(site, &by_mallory).len()));
    seen.extend(objects(site, &["invites", "resend", &id]));
    seen.extend(objects(site, &["invites", "revoke", &id]));
    seen.extend(objects(site, &["invites", "revoke", &id]));
    seen.extend(objects(site, &["invites", "resend", &id]));
    seen.extend(objects(
        site,
        &[
            "invites",
            "revoke",
            "--for",
            "email",
            &format!("carol@{domain}"),
        ],
    ));
    seen.extend(objects(
        site,
        &["invites", "revoke", "--sender", "@mallory:hs.example"],
    ));
    seen.push(json!(objects(site, &["invites", "list"]).len()));
    seen
}

/// Three invitations, of which one is by somebody else.
fn three(server: &Running, domain: &str) -> [Value; 3] {
    [
        ("bob", ALICE),
        ("carol", ALICE),
        ("dave", "@mallory:hs.example"),
    ]
    .map(|(name, sender)| invite(server.address, &format!("{name}@{domain}"), sender))
}

#[test]
fn commands_on_invitations_do_the_same_with_and_without_a_server() {
    let site = Site::new();
    let mut server = site.serve();
    let stored = three(&server, "one.example");
    let running = tour(&site, "one.example");
    let changed = |rows: usize| json!({ "changed": rows });
    assert_eq!(
        running,
        [
            json!("pending"),
            json!(1),
            changed(1),
            changed(1),
            changed(0),
            changed(0),
            changed(1),
            changed(1),
            json!(0),
        ]
    );
    for stored in &stored {
        assert!(
            !is_valid(server.address, stored, 1),
            "a revoked key does not hold"
        );
        assert!(is_valid(server.address, stored, 0));
    }
    until(|| server.log.lock().unwrap().matches("bindery::audit").count() == 5);
    let log = server.log.lock().unwrap().clone();
    assert!(!log.contains("one.example"), "{log}");

    three(&server, "two.example");
    stop(&mut server);
    assert_eq!(tour(&site, "two.example"), running);
}

#[test]
fn a_mail_that_is_asked_for_again_goes_out_and_is_the_same_invitation() {
    let site = Site::new();
    let mut server = site.serve();
    invite(server.address, BOB, ALICE);
    let mails = || Mail::all_in(&site.store().join("outbox"));
    let first = mails().remove(0).link();
    let id = objects(&site, &["invites", "list"]).remove(0)["id"].clone();
    says(&site, &["invites", "resend", id.as_str().unwrap()]);
    until(|| mails().len() == 2);
    assert_eq!(mails().remove(1).link(), first);
    // Asked for while no server runs, it goes out with the next start.
    stop(&mut server);
    says(&site, &["invites", "resend", id.as_str().unwrap()]);
    let server = site.serve();
    until(|| mails().len() == 3);

    // Who has bound the address needs no mail.
    let sid = validated(server.address, &site.store(), BOB, "s");
    let bind = json!({ "sid": sid, "client_secret": "s", "mxid": "@bob:127.0.0.1:1" });
    let (status, answer) = call(server.address, "POST", &format!("{V1}/3pid/bind"), &bind).unwrap();
    assert_eq!(status, 200, "{answer}");
    let refused = complaint(&site.run(&["invites", "resend", id.as_str().unwrap()]));
    assert!(refused.contains("waits for nobody"), "{refused}");
}

#[test]
fn under_another_secret_what_was_mailed_still_works_and_an_invitation_is_a_new_one() {
    let site = Site::new();
    let mut server = site.serve();
    let stored = invite(server.address, BOB, ALICE);
    let target = format!("{}&mxid=@bob:hs.example", sign_target(&site.store()));
    stop(&mut server);
    std::fs::write(site.store().join("secret.key"), "A".repeat(43)).unwrap();
    let server = site.serve();
    let (status, signed) = call(server.address, "POST", &target, &Value::Null).unwrap();
    assert_eq!(status, 200, "{signed}");
    let again = invite(server.address, BOB, ALICE);
    assert_ne!(again["token"], stored["token"]);
    assert_eq!(invite(server.address, BOB, ALICE), again);
    let target = format!("{}&mxid=@bob:hs.example", sign_target(&site.store()));
    let (status, signed) = call(server.address, "POST", &target, &Value::Null).unwrap();
    assert_eq!(status, 200, "{signed}");
    assert_eq!(signed["token"], again["token"]);
}

#[test]
fn a_key_that_invitations_need_is_revoked_only_by_force() {
    let site = Site::new();
    let server = site.serve();
    let stored = invite(server.address, BOB, ALICE);
    says(&site, &["keys", "rotate"]);
    let carol = invite(server.address, "carol@example.org", ALICE);
    assert_ne!(carol["public_key"], stored["public_key"]);
    assert!(is_valid(server.address, &stored, 0));
    let refused = complaint(&site.run(&["keys", "revoke", "ed25519:1"]));
    assert!(
        refused.contains("1 invitations") && refused.contains("--force"),
        "{refused}"
    );
    assert!(is_valid(server.address, &stored, 0));
    says(&site, &["keys", "revoke", "ed25519:1", "--force"]);
    assert!(!is_valid(server.address, &stored, 0));

    // The same invitation again is promised to be signed by a key that holds.
    let again = invite(server.address, BOB, ALICE);
    assert_eq!(again["token"], stored["token"]);
    assert_eq!(again["public_key"], carol["public_key"]);
    let listed = objects(&site, &["invites", "list", "email", BOB]).remove(0);
    assert_eq!(listed["server_key"], "ed25519:2");
    let stored_at = listed["stored"].as_u64().unwrap();
    assert!(
        Timestamp::from_millis(stored_at)
            < Timestamp::from_millis(listed["expires"].as_u64().unwrap())
    );
}
