//! Requests that homeservers sign, and the keys that they sign with.

use bindery::federation::{KeyProblem, SignedRequest};
use bindery::types::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::support::homeserver::{KEYS, Reply};

const URI: &str = "/_matrix/identity/v2/3pid/unbind";
const OURS: &str = "id.example";
const DAY: Duration = Duration::from_hours(24);

fn body() -> Value {
    json!({ "mxid": "@alice:hs.example", "threepid": { "medium": "email", "address": "a@b.example" } })
}

/// A homeserver that shows its key for a day.
async fn signing(rig: &Rig) -> Homeserver {
    let homeserver = rig.homeserver("hs.example").await;
    homeserver.show_keys(&homeserver.name(), START.plus(DAY));
    homeserver
}

async fn verify(rig: &Rig, header: &str) -> Result<ServerName, FederationError> {
    let request = SignedRequest {
        authorization: vec![header],
        method: "POST",
        uri: URI,
        content: &body(),
        our_names: &[OURS.to_owned()],
    };
    rig.federation.verify_request(&request).await
}

fn signed(homeserver: &Homeserver) -> String {
    homeserver.sign(&homeserver.name(), OURS, URI, &body())
}

#[tokio::test]
async fn a_signed_request_is_its_homeservers() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    let origin = verify(&rig, &signed(&homeserver)).await.unwrap();
    assert_eq!(origin, homeserver.name());
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_when_they_end() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    for _ in 0..3 {
        verify(&rig, &signed(&homeserver)).await.unwrap();
    }
    assert_eq!(homeserver.count(KEYS), 1);
    rig.clock.advance(DAY);
    homeserver.show_keys(&homeserver.name(), START.plus(3 * DAY));
    verify(&rig, &signed(&homeserver)).await.unwrap();
    assert_eq!(homeserver.count(KEYS), 2);
}

#[tokio::test]
async fn many_requests_at_once_fetch_the_keys_once() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    let header = signed(&homeserver);
    let verified = futures_util::future::join_all((0..20).map(|_| verify(&rig, &header))).await;
    assert!(verified.iter().all(Result::is_ok));
    assert_eq!(homeserver.count(KEYS), 1);
}

#[tokio::test]
async fn a_false_signature_fetches_nothing_more() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    verify(&rig, &signed(&homeserver)).await.unwrap();
    let other = homeserver.sign(&homeserver.name(), "other.example", URI, &body());
    failed(verify(&rig, &other).await, Outcome::Forged);
    assert_eq!(homeserver.count(KEYS), 1);
}

#[tokio::test]
async fn an_unknown_key_id_fetches_again_at_a_limited_rate() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    let genuine = signed(&homeserver);
    verify(&rig, &genuine).await.unwrap();
    let unknown = genuine.replace("ed25519:hs", "ed25519:new");
    for _ in 0..9 {
        failed(verify(&rig, &unknown).await, Outcome::Forged);
    }
    assert_eq!(homeserver.count(KEYS), 10);
    failed(verify(&rig, &unknown).await, Outcome::Limited);
    assert_eq!(homeserver.count(KEYS), 10);
    // What is known is used without a fetch.
    verify(&rig, &genuine).await.unwrap();
    rig.clock.advance(Duration::from_secs(6));
    failed(verify(&rig, &unknown).await, Outcome::Forged);
}

#[tokio::test]
async fn malformed_headers_and_other_destinations_fetch_nothing() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    let elsewhere = signed(&homeserver) + ",destination=other.example";
    for header in ["X-Matrix", "Bearer abc", "", &elsewhere] {
        failed(verify(&rig, header).await, Outcome::Forged);
    }
    assert_eq!(homeserver.connections(), 0);
}

/// The problem with keys that are shown like this.
async fn problem(rig: &Rig, homeserver: &Homeserver, keys: Value) -> KeyProblem {
    homeserver.reply(KEYS, Reply::Json(200, keys));
    match verify(rig, &signed(homeserver)).await.unwrap_err() {
        FederationError::BadKeys { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn keys_of_another_server_are_refused() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    let keys = homeserver.keys(&name("other.example"), START.plus(DAY));
    let problem = problem(&rig, &homeserver, keys).await;
    assert_eq!(problem, KeyProblem::OtherServer);
}

#[tokio::test]
async fn expired_keys_are_refused() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    for until in [START, Timestamp::from_millis(0)] {
        let keys = homeserver.keys(&homeserver.name(), until);
        let problem = problem(&rig, &homeserver, keys).await;
        assert_eq!(problem, KeyProblem::Expired);
    }
}

#[tokio::test]
async fn keys_that_are_valid_for_ever_are_fetched_again_after_a_week() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    let for_ever = Timestamp::from_millis(9_007_199_254_740_991);
    homeserver.show_keys(&homeserver.name(), for_ever);
    verify(&rig, &signed(&homeserver)).await.unwrap();
    rig.clock.advance(Duration::from_secs(7 * 24 * 60 * 60 - 1));
    verify(&rig, &signed(&homeserver)).await.unwrap();
    assert_eq!(homeserver.count(KEYS), 1);
    rig.clock.advance(Duration::from_secs(1));
    homeserver.reply(KEYS, Reply::Drop);
    failed(
        verify(&rig, &signed(&homeserver)).await,
        Outcome::Unreachable,
    );
}

#[tokio::test]
async fn keys_that_the_server_did_not_sign_are_refused() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    let mut keys = homeserver.keys(&homeserver.name(), START.plus(DAY));
    keys["signatures"] = json!({});
    let problem = problem(&rig, &homeserver, keys).await;
    assert_eq!(problem, KeyProblem::Unsigned);
}

#[tokio::test]
async fn bad_answers_about_keys_are_no_keys() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    for (reply, outcome) in [
        (Reply::Html, Outcome::BadAnswer),
        (Reply::Large, Outcome::BadAnswer),
        (Reply::Json(500, json!({})), Outcome::BadAnswer),
        (Reply::Redirect(KEYS.to_owned()), Outcome::BadAnswer),
        (Reply::Noise, Outcome::Unreachable),
    ] {
        homeserver.reply(KEYS, reply);
        failed(verify(&rig, &signed(&homeserver)).await, outcome);
    }
    // They were not remembered.
    homeserver.show_keys(&homeserver.name(), START.plus(DAY));
    verify(&rig, &signed(&homeserver)).await.unwrap();
}

#[tokio::test]
async fn silence_about_keys_ends_when_time_is_up() {
    let rig = Rig::with(impatient).await;
    let homeserver = signing(&rig).await;
    homeserver.reply(KEYS, Reply::Silence);
    failed(verify(&rig, &signed(&homeserver)).await, Outcome::Timeout);
}

#[tokio::test]
async fn who_claims_to_ask_is_told_without_asking_anybody() {
    let rig = Rig::new().await;
    let homeserver = signing(&rig).await;
    let header = signed(&homeserver);
    let request = SignedRequest {
        authorization: vec!["Bearer abc", &header],
        method: "POST",
        uri: URI,
        content: &body(),
        our_names: &[],
    };
    assert!(request.is_signed());
    assert_eq!(request.claimed_origin().unwrap(), homeserver.name());
    assert_eq!(homeserver.connections(), 0);
}
