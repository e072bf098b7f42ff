//! Plain lookup, v1.

use serde_json::json;

use crate::support::server::{BULK_LOOKUP, LOOKUP, TestServer};

#[tokio::test]
async fn a_lookup_answers_the_signed_association_with_the_address_as_asked() {
    let server = TestServer::start().await;
    let sid = server.validated("Alice@Example.org", "secret").await;
    let bound = server.bind(&sid, "secret", "@alice:hs.example").await.ok();
    assert_eq!(bound["address"], "alice@example.org");

    let query = [("medium", "email"), ("address", "alice@example.org")];
    let same = server.client.get(LOOKUP, &query).await.ok();
    assert_eq!(same, bound, "the same association, the same signature");

    let query = [("medium", "email"), ("address", "ALICE@example.ORG")];
    let asked = server.client.get(LOOKUP, &query).await.ok();
    assert_eq!(asked["address"], "ALICE@example.ORG");
    assert_eq!(asked["mxid"], "@alice:hs.example");
    assert_ne!(asked["signatures"], bound["signatures"]);
}

#[tokio::test]
async fn what_is_not_bound_is_an_empty_object() {
    let server = TestServer::start().await;
    for address in ["nobody@example.org", "not an address", "", "a@b@c"] {
        let query = [("medium", "email"), ("address", address)];
        assert_eq!(
            server.client.get(LOOKUP, &query).await.ok(),
            json!({}),
            "{address}"
        );
    }
    let query = [("medium", "msisdn"), ("address", "491701234567")];
    assert_eq!(server.client.get(LOOKUP, &query).await.ok(), json!({}));
}

#[tokio::test]
async fn an_unknown_medium_is_refused() {
    let server = TestServer::start().await;
    let query = [("medium", "fax"), ("address", "1")];
    let sentence = server
        .client
        .get(LOOKUP, &query)
        .await
        .refused(400, "M_INVALID_PARAM");
    assert!(sentence.contains("`medium`"));
}

#[tokio::test]
async fn a_bulk_lookup_answers_the_found_ones_as_they_were_asked() {
    let server = TestServer::start().await;
    let sid = server.validated("alice@example.org", "one").await;
    server.bind(&sid, "one", "@alice:hs.example").await.ok();
    let sid = server.validated("bob@example.org", "two").await;
    server.bind(&sid, "two", "@bob:hs.example").await.ok();

    let asked = json!({ "threepids": [
        ["email", "BOB@example.org"],
        ["email", "carol@example.org"],
        ["fax", "alice@example.org"],
        ["msisdn", "alice@example.org"],
        ["email", "alice@example.org"],
    ] });
    assert_eq!(
        server.client.post(BULK_LOOKUP, asked).await.ok(),
        json!({ "threepids": [
            ["email", "BOB@example.org", "@bob:hs.example"],
            ["email", "alice@example.org", "@alice:hs.example"],
        ] })
    );
    let none = server
        .client
        .post(BULK_LOOKUP, json!({ "threepids": [] }))
        .await;
    assert_eq!(none.ok(), json!({ "threepids": [] }));
}

#[tokio::test]
async fn wrong_lists_are_refused() {
    let server = TestServer::start().await;
    for list in [
        json!("email"),
        json!({}),
        json!([1]),
        json!([["email"]]),
        json!([["email", 1]]),
        json!([["email", "a@b.example", "x"]]),
        json!([null]),
    ] {
        let answer = server
            .client
            .post(BULK_LOOKUP, json!({ "threepids": list }))
            .await;
        assert!(
            answer
                .refused(400, "M_INVALID_PARAM")
                .contains("`threepids`")
        );
    }
}

#[tokio::test]
async fn too_many_addresses_at_once_are_refused_and_the_most_allowed_are_served() {
    let server = TestServer::start_with(|config| config.lookup.max_addresses = 1000).await;
    let list = |count: usize| {
        let entry =
            |number: usize| json!(["email", format!("{number}{}@example.org", "x".repeat(50))]);
        json!({ "threepids": (0..count).map(entry).collect::<Vec<_>>() })
    };
    let most = server.client.post(BULK_LOOKUP, list(1000)).await;
    assert_eq!(most.ok(), json!({ "threepids": [] }));
    let more = server.client.post(BULK_LOOKUP, list(1001)).await;
    more.refused(400, "M_TOO_LARGE");
}
