//! What every answer keeps: JSON, CORS, a request id, and errors for unknown paths and wrong methods.

use reqwest::Method;

use crate::support::client::send;
use crate::support::server::{BIND, GET_VALIDATED, LOOKUP, REQUEST_TOKEN, TestServer};

const PATHS: [&str; 6] = [
    "/_matrix/identity/v2",
    REQUEST_TOKEN,
    GET_VALIDATED,
    BIND,
    LOOKUP,
    "/_matrix/identity/versions",
];

#[tokio::test]
async fn every_answer_can_be_read_by_a_web_client() {
    let server = TestServer::start().await;
    let unknown = "/_matrix/identity/v2/no/such/path";
    for path in PATHS.into_iter().chain([unknown]) {
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
        ] {
            let answer = send(server.client.request(method.clone(), path)).await;
            let place = format!("{method} {path}");
            assert_eq!(answer.header("access-control-allow-origin"), "*", "{place}");
            assert_eq!(
                answer.header("access-control-allow-methods"),
                "GET, POST, PUT, DELETE, OPTIONS",
                "{place}"
            );
            assert_eq!(
                answer.header("access-control-allow-headers"),
                "Origin, X-Requested-With, Content-Type, Accept, Authorization",
                "{place}"
            );
            assert_eq!(
                answer.header("access-control-expose-headers"),
                "Retry-After",
                "{place}"
            );
            assert!(
                !answer.header("access-control-max-age").is_empty(),
                "{place}"
            );
            assert!(answer.header("x-request-id").len() >= 16, "{place}");
            answer.json();
            assert!(answer.status.as_u16() < 500, "{place}");
        }
    }
}

#[tokio::test]
async fn preflight_succeeds_on_every_route() {
    let server = TestServer::start().await;
    for path in PATHS {
        let answer = send(server.client.request(Method::OPTIONS, path)).await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_unrecognized() {
    let server = TestServer::start().await;
    for path in [
        "/nothing",
        "/_matrix",
        "/_matrix/identity/v3",
        "/_matrix/identity/api/v1/3pid",
        "/%00",
    ] {
        server
            .client
            .get(path, &[])
            .await
            .refused(404, "M_UNRECOGNIZED");
    }
    let answer = send(server.client.request(Method::DELETE, BIND)).await;
    answer.refused(405, "M_UNRECOGNIZED");
    assert_eq!(answer.header("allow"), "POST, OPTIONS");
    server
        .client
        .get(BIND, &[])
        .await
        .refused(405, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn a_trailing_slash_is_tolerated() {
    let server = TestServer::start().await;
    let answer = server.client.get(&format!("{LOOKUP}/"), &[]).await;
    answer.refused(400, "M_MISSING_PARAMS");
    server
        .client
        .get(&format!("{LOOKUP}//"), &[])
        .await
        .refused(404, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn request_ids_differ() {
    let server = TestServer::start().await;
    let one = server.client.get("/_matrix/identity/v2", &[]).await;
    let other = server.client.get("/_matrix/identity/v2", &[]).await;
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
}
