//! `sign-ed25519`: whoever has the mail gets a signature, and nobody else.

use bindery::config::V1;
use serde_json::{Value, json};

use crate::support::federated::Federated;
use crate::support::invites::{
    JoinLink, ROOM, SIGN, STORE_INVITE, assert_signed, invite, is_valid, keys_of,
};
use crate::support::server::TestServer;

const BOB: &str = "bob@example.org";
const ALICE: &str = "@alice:hs.example";
const MXID: &str = "@bob+1:hs.example";

/// An invitation, as it was answered and as its mail leads on.
async fn invited(server: &TestServer, address: &str) -> (Value, JoinLink) {
    let request = invite(address, ROOM, ALICE);
    let stored = server.client.post(STORE_INVITE, request).await.ok();
    let link = JoinLink::of(&server.mails().pop().unwrap());
    assert_eq!(link.signing("token"), stored["token"].as_str().unwrap());
    (stored, link)
}

#[tokio::test]
async fn the_mailed_key_signs_what_the_invitations_own_key_verifies() {
    let server = TestServer::start().await;
    let (stored, link) = invited(&server, BOB).await;
    let signed = link.join(&server, MXID).await.ok();
    let mut unsigned = signed.clone();
    let signatures = unsigned
        .as_object_mut()
        .unwrap()
        .remove("signatures")
        .unwrap();
    assert_eq!(
        unsigned,
        json!({ "mxid": MXID, "sender": ALICE, "token": stored["token"] })
    );
    assert_eq!(signatures.as_object().unwrap().len(), 1);
    assert_eq!(signatures["localhost"].as_object().unwrap().len(), 1);
    assert_signed(&signed, "localhost", "ed25519:0", &keys_of(&stored)[1]);

    let fields = [
        ("mxid", MXID),
        ("token", &link.signing("token")),
        ("private_key", &link.signing("private_key")),
    ];
    let body: Value = fields
        .into_iter()
        .map(|(k, v)| (k.to_owned(), json!(v)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(server.client.post(SIGN, body.clone()).await.ok(), signed);
    assert_eq!(server.client.post_form(SIGN, &fields).await.ok(), signed);
    let mut standard = body;
    let key = link
        .signing("private_key")
        .replace('-', "+")
        .replace('_', "/")
        + "=";
    standard["private_key"] = json!(key);
    assert_eq!(server.client.post(SIGN, standard).await.ok(), signed);
}

#[tokio::test]
async fn on_version_2_an_account_signs_for_anybody() {
    let site = Federated::start().await;
    let (stored, link) = invited(&site.server, BOB).await;
    let token = site.register("bob").await;
    let body = json!({
        "mxid": site.user("bob"), "token": stored["token"],
        "private_key": link.signing("private_key"),
    });
    let path = format!("{}/sign-ed25519", crate::support::federated::V2);
    site.server
        .client
        .post(&path, body.clone())
        .await
        .refused(401, "M_UNAUTHORIZED");
    let signed = site.post(&token, "sign-ed25519", &body).await.ok();
    assert_signed(&signed, "localhost", "ed25519:0", &keys_of(&stored)[1]);
    // Unlike on version 1, a query is nothing there.
    let target = format!("{path}?mxid=@a:b&token=x&private_key=y");
    let request = site.server.client.request(reqwest::Method::POST, &target);
    let answer = crate::support::client::send(request.bearer_auth(&token)).await;
    answer.refused(400, "M_NOT_JSON");
}

#[tokio::test]
async fn another_key_or_token_signs_nothing() {
    let server = TestServer::start().await;
    let (_, link) = invited(&server, BOB).await;
    let (_, foreign) = invited(&server, "carol@example.org").await;
    let (token, key) = (link.signing("token"), link.signing("private_key"));
    let zeros = "A".repeat(43);
    for (token, key, status, errcode) in [
        (
            token.as_str(),
            foreign.signing("private_key").as_str(),
            403,
            "M_FORBIDDEN",
        ),
        (&foreign.signing("token"), &key, 403, "M_FORBIDDEN"),
        (&token, &zeros, 403, "M_FORBIDDEN"),
        ("unknown", &key, 404, "M_UNRECOGNIZED"),
        ("", &key, 404, "M_UNRECOGNIZED"),
        (&token, "", 400, "M_INVALID_PARAM"),
        (&token, "AAAA", 400, "M_INVALID_PARAM"),
        (
            &token,
            "not base64 at all, but as long as a key is.",
            400,
            "M_INVALID_PARAM",
        ),
    ] {
        let body = json!({ "mxid": MXID, "token": token, "private_key": key });
        let answer = server.client.post(SIGN, body).await;
        let sentence = answer.refused(status, errcode);
        for secret in [token, key] {
            assert!(
                secret.is_empty() || !sentence.contains(secret),
                "{sentence}"
            );
        }
    }
    let answer = server.client.post_raw(SIGN, None, "").await;
    let sentence = answer.refused(400, "M_MISSING_PARAMS");
    for name in ["mxid", "token", "private_key"] {
        assert!(sentence.contains(&format!("`{name}`")), "{sentence}");
    }
    let body = json!({ "mxid": "bob", "token": token, "private_key": key });
    server
        .client
        .post(SIGN, body)
        .await
        .refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn signing_ends_nothing_and_a_restart_neither() {
    let server = TestServer::start().await;
    let (stored, link) = invited(&server, BOB).await;
    let first = link.join(&server, MXID).await.ok();
    assert!(
        is_valid(&server, &stored, 1).await,
        "homeservers ask afterwards"
    );
    let server = server.restart().await;
    assert!(is_valid(&server, &stored, 1).await);
    assert_eq!(link.join(&server, MXID).await.ok(), first);
    link.join(&server, "@other:hs.example").await.ok();
}

#[tokio::test]
async fn links_in_mails_work_however_little_of_version_1_is_served() {
    for level in [V1::Delegate, V1::Off] {
        let site = Federated::start_with(|config, _| {
            config.api.v1 = level;
            config.api.v1_sources.clear();
        })
        .await;
        let token = site.register("alice").await;
        let request = invite(BOB, ROOM, &site.user("alice"));
        let path = STORE_INVITE;
        let answer = site.server.client.post(path, request.clone()).await;
        answer.refused(404, "M_UNRECOGNIZED");
        let stored = site.post(&token, "store-invite", &request).await.ok();
        let link = JoinLink::of(&site.server.only_mail());
        let signed = link.join(&site.server, MXID).await.ok();
        assert_signed(&signed, "localhost", "ed25519:0", &keys_of(&stored)[1]);
    }
}
