//! Key management.

use serde_json::json;

use crate::support::server::TestServer;

const V1: &str = "/_matrix/identity/api/v1";
const V2: &str = "/_matrix/identity/v2";

async fn public_key(server: &TestServer) -> String {
    let answer = server
        .client
        .get(&format!("{V1}/pubkey/ed25519:1"), &[])
        .await
        .ok();
    answer["public_key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_servers_key_is_the_same_under_every_spelling_of_its_path() {
    let server = TestServer::start().await;
    let key = public_key(&server).await;
    assert_eq!(key.len(), 43, "32 bytes in unpadded base64");
    for path in [
        "pubkey/ed25519:1",
        "pubkey/ed25519%3A1",
        "pubkey/ed25519%3a1",
        "pubkey/ed25519:1/",
    ] {
        for version in [V1, V2] {
            let answer = server
                .client
                .get(&format!("{version}/{path}"), &[])
                .await
                .ok();
            assert_eq!(answer, json!({ "public_key": key }), "{version}/{path}");
        }
    }
}

#[tokio::test]
async fn unknown_keys_are_not_found() {
    let server = TestServer::start().await;
    for id in [
        "ed25519:0",
        "ed25519:2",
        "curve25519:1",
        "ed25519:",
        "ed25519",
        "%20",
        "ed25519:1%00",
    ] {
        let answer = server.client.get(&format!("{V2}/pubkey/{id}"), &[]).await;
        answer.refused(404, "M_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_key_is_valid_in_any_base64_and_after_a_restart() {
    let server = TestServer::start().await;
    let key = public_key(&server).await;
    let server = server.restart().await;
    assert_eq!(public_key(&server).await, key);
    let url_safe = key.replace('+', "-").replace('/', "_");
    let padded = format!("{key}=");
    for spelling in [&key, &url_safe, &padded] {
        let query = [("public_key", spelling.as_str())];
        for version in [V1, V2] {
            let answer = server
                .client
                .get(&format!("{version}/pubkey/isvalid"), &query)
                .await;
            assert_eq!(answer.ok(), json!({ "valid": true }), "{spelling}");
        }
    }
}

#[tokio::test]
async fn other_keys_are_not_valid() {
    let server = TestServer::start().await;
    let long = "A".repeat(5000);
    for other in ["", "AAAA", "not base64!", &"A".repeat(43), &long] {
        let query = [("public_key", other)];
        for path in ["pubkey/isvalid", "pubkey/ephemeral/isvalid"] {
            let answer = server.client.get(&format!("{V2}/{path}"), &query).await;
            assert_eq!(answer.ok(), json!({ "valid": false }), "{path} {other}");
        }
    }
}

#[tokio::test]
async fn a_key_must_be_named() {
    let server = TestServer::start().await;
    for path in ["pubkey/isvalid", "pubkey/ephemeral/isvalid"] {
        let answer = server.client.get(&format!("{V1}/{path}"), &[]).await;
        assert!(
            answer
                .refused(400, "M_MISSING_PARAMS")
                .contains("`public_key`")
        );
    }
}
