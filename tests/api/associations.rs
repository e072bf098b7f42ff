//! Binding and unbinding by a session.

use std::time::Duration;

use bindery::signing;
use bindery::types::KeyId;
use serde_json::{Value, json};

use crate::support::server::{BIND, START, TestServer, UNBIND};

const DAY: Duration = Duration::from_hours(24);

fn unbinding(sid: &str, secret: &str, mxid: &str, address: &str) -> Value {
    json!({
        "sid": sid,
        "client_secret": secret,
        "mxid": mxid,
        "threepid": { "medium": "email", "address": address },
    })
}

#[tokio::test]
async fn a_bind_answers_the_association_signed_by_the_key_that_the_server_shows() {
    let server = TestServer::start().await;
    let sid = server.validated("Alice@Example.org", "s").await;
    server.advance(Duration::from_secs(5));
    let bound = server.bind(&sid, "s", "@alice:hs.example").await.ok();

    let ts = START.as_millis() + 5000;
    let mut unsigned = bound.clone();
    unsigned.as_object_mut().unwrap().remove("signatures");
    assert_eq!(
        unsigned,
        json!({
            "address": "alice@example.org",
            "medium": "email",
            "mxid": "@alice:hs.example",
            "ts": ts,
            "not_before": ts,
            "not_after": ts + 36_500 * 24 * 3600 * 1000,
        })
    );
    let key = server
        .client
        .get("/_matrix/identity/v2/pubkey/ed25519:1", &[])
        .await
        .ok();
    let public = signing::decode_base64(key["public_key"].as_str().unwrap()).unwrap();
    let object = bound.as_object().unwrap();
    let id = KeyId::parse("ed25519:1").unwrap();
    signing::verify_json(object, "localhost", &id, &public).unwrap();
    assert_eq!(object["signatures"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_bind_is_in_every_lookup_at_once_and_replaces_the_one_before() {
    let server = TestServer::start().await;
    let sid = server.validated("a@example.org", "s").await;
    server.bind(&sid, "s", "@one:hs.example").await.ok();
    assert_eq!(
        server.looked_up("a@example.org").await.as_deref(),
        Some("@one:hs.example")
    );
    server.bind(&sid, "s", "@two:hs.example").await.ok();
    assert_eq!(
        server.looked_up("a@example.org").await.as_deref(),
        Some("@two:hs.example")
    );
    let server = server.restart().await;
    assert_eq!(
        server.looked_up("a@example.org").await.as_deref(),
        Some("@two:hs.example")
    );
}

#[tokio::test]
async fn a_bind_needs_a_session_that_is_validated_and_has_not_ended() {
    let server = TestServer::start().await;
    let sid = server.request_token("a@example.org", "s").await;
    server
        .bind(&sid, "s", "@a:hs.example")
        .await
        .refused(400, "M_SESSION_NOT_VALIDATED");
    server
        .bind(&sid, "other", "@a:hs.example")
        .await
        .refused(404, "M_NO_VALID_SESSION");
    server
        .bind("unknown", "s", "@a:hs.example")
        .await
        .refused(404, "M_NO_VALID_SESSION");
    server.advance(DAY);
    server
        .bind(&sid, "s", "@a:hs.example")
        .await
        .refused(400, "M_SESSION_EXPIRED");

    let sid = server.validated("a@example.org", "s").await;
    server.advance(DAY);
    server
        .bind(&sid, "s", "@a:hs.example")
        .await
        .refused(400, "M_SESSION_EXPIRED");
    assert_eq!(server.looked_up("a@example.org").await, None);
}

#[tokio::test]
async fn what_is_no_user_id_is_not_bound() {
    let server = TestServer::start().await;
    let sid = server.validated("a@example.org", "s").await;
    let long = format!("@{}:hs.example", "a".repeat(250));
    for mxid in [
        "",
        "a",
        "@a",
        "a:hs.example",
        "@a:",
        "@a:hs/x",
        "@a:hs.example:99999",
        "@a:b@c",
        "@nul\0:hs.example",
        &long,
    ] {
        let answer = server.bind(&sid, "s", mxid).await;
        assert!(
            answer.refused(400, "M_INVALID_PARAM").contains("`mxid`"),
            "{mxid:?}"
        );
    }
    for mxid in [
        "@:hs.example",
        "@Historical Name/\u{fc}!:hs.example",
        "@a:[::1]:8448",
        "@a:127.0.0.1",
        "@a:HS.Example",
    ] {
        assert_eq!(server.bind(&sid, "s", mxid).await.ok()["mxid"], mxid);
    }
}

#[tokio::test]
async fn all_missing_fields_are_named_at_once() {
    let server = TestServer::start().await;
    let sentence = server
        .client
        .post(BIND, json!({}))
        .await
        .refused(400, "M_MISSING_PARAMS");
    assert_eq!(
        sentence,
        "Missing parameters: `sid`, `client_secret`, `mxid`."
    );
    let nulls = json!({ "sid": null, "client_secret": "s", "mxid": null });
    let sentence = server
        .client
        .post(BIND, nulls)
        .await
        .refused(400, "M_MISSING_PARAMS");
    assert_eq!(sentence, "Missing parameters: `sid`, `mxid`.");
}

#[tokio::test]
async fn a_session_unbinds_its_own_address_and_is_out_of_lookups_at_once() {
    let server = TestServer::start().await;
    let sid = server.validated("a@example.org", "s").await;
    server.bind(&sid, "s", "@a:hs.example").await.ok();
    let body = unbinding(&sid, "s", "@a:hs.example", "A@Example.org");
    assert_eq!(
        server.client.post(UNBIND, body.clone()).await.ok(),
        json!({})
    );
    assert_eq!(server.looked_up("a@example.org").await, None);
    assert_eq!(
        server.client.post(UNBIND, body).await.ok(),
        json!({}),
        "idempotent"
    );
    let server = server.restart().await;
    assert_eq!(server.looked_up("a@example.org").await, None);
    server.bind(&sid, "s", "@a:hs.example").await.ok();
}

#[tokio::test]
async fn an_unbind_for_another_user_says_nothing_and_removes_nothing() {
    let server = TestServer::start().await;
    let sid = server.validated("a@example.org", "s").await;
    server.bind(&sid, "s", "@a:hs.example").await.ok();
    let body = unbinding(&sid, "s", "@other:hs.example", "a@example.org");
    assert_eq!(server.client.post(UNBIND, body).await.ok(), json!({}));
    assert_eq!(
        server.looked_up("a@example.org").await.as_deref(),
        Some("@a:hs.example")
    );
}

#[tokio::test]
async fn an_unbind_without_proof_of_this_address_is_forbidden() {
    let server = TestServer::start().await;
    let sid = server.validated("a@example.org", "s").await;
    server.bind(&sid, "s", "@a:hs.example").await.ok();
    let other = server.validated("b@example.org", "t").await;
    let pending = server.request_token("a@example.org", "u").await;

    let mut no_session = unbinding(&sid, "s", "@a:hs.example", "a@example.org");
    no_session.as_object_mut().unwrap().remove("sid");
    let mut phone = unbinding(&sid, "s", "@a:hs.example", "491701234567");
    phone["threepid"]["medium"] = json!("msisdn");
    for body in [
        no_session,
        phone,
        unbinding("unknown", "s", "@a:hs.example", "a@example.org"),
        unbinding(&sid, "wrong", "@a:hs.example", "a@example.org"),
        unbinding(&other, "t", "@a:hs.example", "a@example.org"),
        unbinding(&sid, "s", "@a:hs.example", "not an address"),
    ] {
        server
            .client
            .post(UNBIND, body)
            .await
            .refused(403, "M_FORBIDDEN");
    }
    let body = unbinding(&pending, "u", "@a:hs.example", "a@example.org");
    server
        .client
        .post(UNBIND, body)
        .await
        .refused(400, "M_SESSION_NOT_VALIDATED");
    server.advance(DAY);
    let body = unbinding(&sid, "s", "@a:hs.example", "a@example.org");
    server
        .client
        .post(UNBIND, body)
        .await
        .refused(400, "M_SESSION_EXPIRED");
    assert_eq!(
        server.looked_up("a@example.org").await.as_deref(),
        Some("@a:hs.example")
    );
}

#[tokio::test]
async fn a_malformed_unbind_is_named() {
    let server = TestServer::start().await;
    for threepid in [
        json!("email"),
        json!([]),
        json!({}),
        json!({ "medium": "email" }),
        json!({ "medium": "email", "address": 7 }),
        json!({ "medium": "fax", "address": "1" }),
        json!({ "medium": 1, "address": "1" }),
    ] {
        let body = json!({ "mxid": "@a:hs.example", "threepid": threepid });
        let answer = server.client.post(UNBIND, body).await;
        assert!(
            answer
                .refused(400, "M_INVALID_PARAM")
                .contains("`threepid`")
        );
    }
    let answer = server.client.post(UNBIND, json!({})).await;
    let sentence = answer.refused(400, "M_MISSING_PARAMS");
    assert_eq!(sentence, "Missing parameters: `mxid`, `threepid`.");
}

#[tokio::test]
async fn an_association_holds_until_the_end_that_it_promised() {
    let server = TestServer::start_with(|config| config.associations.lifetime = DAY / 2).await;
    let sid = server.validated("a@example.org", "s").await;
    server.bind(&sid, "s", "@a:hs.example").await.ok();
    server.advance(Duration::from_millis(12 * 3600 * 1000 - 1));
    assert!(server.looked_up("a@example.org").await.is_some());
    server.advance(Duration::from_millis(1));
    assert_eq!(server.looked_up("a@example.org").await, None);
}
