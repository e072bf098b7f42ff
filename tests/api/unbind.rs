//! Unbinding by the user's homeserver, which signs the request (X-Matrix).

use std::time::Duration;

use bindery::types::{ServerName, Timestamp};
use serde_json::{Value, json};

use crate::support::federated::{Federated, V2};
use crate::support::homeserver::{KEYS, Reply};
use crate::support::server::{START, UNBIND};

const EMAIL: &str = "alice@example.org";

fn body(mxid: &str, address: &str) -> Value {
    json!({ "mxid": mxid, "threepid": { "medium": "email", "address": address }, "more": { "x": [1] } })
}

fn uri() -> String {
    format!("{V2}/3pid/unbind")
}

/// A site where an address is bound, and whose homeserver shows its keys.
async fn site() -> Federated {
    let site = Federated::start_with(|config, _| {
        config.server.aliases = vec![ServerName::parse("old.example").unwrap()];
    })
    .await;
    let in_a_day = Timestamp::from_millis(START.as_millis() + 24 * 3600 * 1000);
    let name = site.homeserver.name();
    site.homeserver.show_keys(&name, in_a_day);
    bind(&site).await;
    site
}

async fn bind(site: &Federated) {
    let secret = format!("s{}", site.server.mails().len());
    let sid = site.server.validated(EMAIL, &secret).await;
    site.server
        .bind(&sid, &secret, &site.user("alice"))
        .await
        .ok();
}

impl Federated {
    /// What the homeserver puts into the header for this destination.
    fn signed(&self, destination: &str, uri: &str, body: &Value) -> String {
        self.homeserver
            .sign(&self.homeserver.name(), destination, uri, body)
    }

    async fn is_bound(&self) -> bool {
        self.server.looked_up(EMAIL).await.is_some()
    }
}

#[tokio::test]
async fn the_users_homeserver_unbinds_under_any_name_of_ours() {
    let site = site().await;
    for destination in [
        "localhost",
        "old.example",
        "localhost:8090",
        "localhost/_matrix",
    ] {
        for path in [uri(), UNBIND.to_owned()] {
            let body = body(&site.user("alice"), "Alice@Example.org");
            let signed = site.signed(destination, &path, &body);
            let header = format!("{signed},destination=\"{destination}\"");
            let answer = site.unbind_signed(&path, &body, &[header]).await;
            assert_eq!(answer.ok(), json!({}), "{destination} {path}");
            assert!(!site.is_bound().await, "{destination} {path}");
            // An address gets only so many mails.
            site.server.advance(Duration::from_mins(12));
            bind(&site).await;
        }
    }
    assert_eq!(
        site.homeserver.count(KEYS),
        1,
        "known keys are not fetched again"
    );
}

#[tokio::test]
async fn what_was_not_bound_is_not_told() {
    let site = site().await;
    for (mxid, address) in [
        (site.user("bob"), EMAIL),
        (site.user("alice"), "nobody@example.org"),
        (site.user("alice"), "no address at all"),
    ] {
        let body = body(&mxid, address);
        let header = site.signed("localhost", &uri(), &body);
        assert_eq!(
            site.unbind_signed(&uri(), &body, &[header]).await.ok(),
            json!({})
        );
    }
    assert!(site.is_bound().await);
}

#[tokio::test]
async fn a_false_signature_is_forbidden_whatever_is_false_about_it() {
    let site = site().await;
    let body_ = body(&site.user("alice"), EMAIL);
    let good = site.signed("localhost", &uri(), &body_);
    let other_body = body(&site.user("alice"), "other@example.org");
    for (header, why) in [
        (String::new(), "nothing"),
        ("X-Matrix".to_owned(), "no parameters"),
        ("X-Matrix origin=".to_owned(), "half a header"),
        (good.replace("sig=\"", "sig=\"A"), "another signature"),
        (good.replace("ed25519:", "rsa:"), "another algorithm"),
        (
            site.signed("other.example", &uri(), &body_),
            "meant for another",
        ),
        (site.signed("localhost", UNBIND, &body_), "another path"),
        (
            site.signed("localhost", &uri(), &other_body),
            "another body",
        ),
    ] {
        let answer = site.unbind_signed(&uri(), &body_, &[header]).await;
        assert_eq!(answer.status, 403, "{why}: {}", answer.text);
        answer.refused(403, "M_FORBIDDEN");
    }
    let mut headers = Vec::new();
    assert!(site.unbind_signed(&uri(), &body_, &headers).await.status == 403);
    headers.push("Bearer abc".to_owned());
    assert!(site.unbind_signed(&uri(), &body_, &headers).await.status == 403);
    assert!(site.is_bound().await);
}

#[tokio::test]
async fn only_the_users_own_homeserver_may() {
    let site = site().await;
    let body = body("@alice:other.example", EMAIL);
    let header = site.signed("localhost", &uri(), &body);
    let answer = site.unbind_signed(&uri(), &body, &[header]).await;
    answer.refused(403, "M_FORBIDDEN");
    assert_eq!(site.homeserver.count(KEYS), 0, "no keys are fetched for it");
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_never_read_as_not_supported() {
    let site = site().await;
    let body = body(&site.user("alice"), EMAIL);
    let header = [site.signed("localhost", &uri(), &body)];
    for reply in [
        Reply::Drop,
        Reply::Html,
        Reply::Json(404, json!({})),
        Reply::Json(200, json!({})),
    ] {
        site.homeserver.reply(KEYS, reply.clone());
        let answer = site.unbind_signed(&uri(), &body, &header).await;
        assert_eq!(answer.status, 502, "{reply:?}: {}", answer.text);
    }
    assert!(site.is_bound().await);
}

#[tokio::test]
async fn a_session_in_the_body_goes_before_any_header() {
    let site = site().await;
    let sid = site.server.validated(EMAIL, "session").await;
    let mut body = body(&site.user("alice"), EMAIL);
    body["sid"] = json!(sid);
    body["client_secret"] = json!("session");
    let answer = site
        .unbind_signed(&uri(), &body, &["Bearer abc".to_owned()])
        .await;
    assert_eq!(answer.ok(), json!({}));
    assert!(!site.is_bound().await);
}

#[tokio::test]
async fn a_source_asks_only_so_often() {
    let site = site().await;
    let body = body("@alice:other.example", EMAIL);
    let header = [site.signed("localhost", &uri(), &body)];
    for _ in 0..60 {
        let answer = site.unbind_signed(&uri(), &body, &header).await;
        answer.refused(403, "M_FORBIDDEN");
    }
    let answer = site.unbind_signed(&uri(), &body, &header).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
}
