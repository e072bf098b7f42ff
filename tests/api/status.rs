//! Versions and status.

use serde_json::json;

use crate::support::server::TestServer;

#[tokio::test]
async fn both_versions_say_that_they_are_there() {
    let server = TestServer::start().await;
    for path in [
        "/_matrix/identity/api/v1",
        "/_matrix/identity/v2",
        "/_matrix/identity/v2/",
    ] {
        assert_eq!(server.client.get(path, &[]).await.ok(), json!({}), "{path}");
    }
}

#[tokio::test]
async fn versions_end_where_the_token_in_the_query_was_dropped() {
    let server = TestServer::start().await;
    let answer = server
        .client
        .get("/_matrix/identity/versions", &[])
        .await
        .ok();
    let versions: Vec<&str> = answer["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect();
    assert_eq!(versions[..4], ["r0.1.0", "r0.2.0", "r0.2.1", "r0.3.0"]);
    let numbered: Vec<String> = (1..=19).map(|minor| format!("v1.{minor}")).collect();
    assert_eq!(versions[4..], numbered);
}
