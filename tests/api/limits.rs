//! Limits on requests, mails and guesses.

use std::num::NonZeroU32;
use std::time::Duration;

use bindery::config::Rate;
use serde_json::json;

use crate::support::client::{Answer, send};
use crate::support::server::{GET_VALIDATED, REQUEST_TOKEN, SUBMIT_TOKEN, TestServer};

fn per_hour(count: u32) -> Vec<Rate> {
    let count = NonZeroU32::new(count).unwrap();
    vec![Rate {
        count,
        per: Duration::from_hours(1),
        burst: count,
    }]
}

async fn ask(server: &TestServer, email: &str, secret: &str, from: &str) -> Answer {
    let body = json!({ "email": email, "client_secret": secret, "send_attempt": 1 });
    let request = server.client.request(reqwest::Method::POST, REQUEST_TOKEN);
    send(request.header("x-forwarded-for", from).json(&body)).await
}

#[tokio::test]
async fn an_address_gets_only_so_many_mails_whoever_asks() {
    let server = TestServer::start().await;
    for number in 0..5 {
        ask(
            &server,
            "a@example.org",
            &format!("s{number}"),
            &format!("192.0.2.{number}"),
        )
        .await
        .ok();
    }
    let answer = ask(&server, "A@example.org", "s5", "192.0.2.99").await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    let millis = answer.json()["retry_after_ms"].as_u64().unwrap();
    assert_eq!(millis, 12 * 60 * 1000, "a fifth of an hour");
    assert_eq!(answer.header("retry-after"), "720");
    assert_eq!(server.mails().len(), 5);

    ask(&server, "b@example.org", "s", "192.0.2.99").await.ok();
    server.advance(Duration::from_millis(millis - 1));
    ask(&server, "a@example.org", "s5", "192.0.2.99")
        .await
        .refused(429, "M_LIMIT_EXCEEDED");
    server.advance(Duration::from_millis(1));
    ask(&server, "a@example.org", "s5", "192.0.2.99").await.ok();
}

#[tokio::test]
async fn a_refused_request_leaves_no_session_behind() {
    let server =
        TestServer::start_with(|config| config.limits.email_by_address = per_hour(1)).await;
    let first = ask(&server, "a@example.org", "s", "192.0.2.1").await.ok();
    ask(&server, "a@example.org", "t", "192.0.2.1")
        .await
        .refused(429, "M_LIMIT_EXCEEDED");
    let again = ask(&server, "a@example.org", "s", "192.0.2.1").await.ok();
    assert_eq!(
        first, again,
        "a request that sends no mail is not limited as one"
    );
}

#[tokio::test]
async fn a_source_causes_only_so_many_mails_whatever_it_claims_to_be() {
    let server = TestServer::start_with(|config| config.limits.email_by_ip = per_hour(3)).await;
    for number in 0..3 {
        ask(&server, &format!("a{number}@example.org"), "s", "192.0.2.1")
            .await
            .ok();
    }
    ask(&server, "b@example.org", "s", "192.0.2.1")
        .await
        .refused(429, "M_LIMIT_EXCEEDED");
    let forged = ask(&server, "b@example.org", "s", "198.51.100.1, 192.0.2.1").await;
    forged.refused(429, "M_LIMIT_EXCEEDED");
    ask(&server, "b@example.org", "s", "198.51.100.1")
        .await
        .ok();
}

#[tokio::test]
async fn an_ipv6_source_is_its_network() {
    let server = TestServer::start_with(|config| config.limits.email_by_ip = per_hour(1)).await;
    ask(&server, "a@example.org", "s", "2001:db8:1:2::1")
        .await
        .ok();
    let same = ask(&server, "b@example.org", "s", "2001:db8:1:2:ffff::9").await;
    same.refused(429, "M_LIMIT_EXCEEDED");
    ask(&server, "b@example.org", "s", "2001:db8:1:3::1")
        .await
        .ok();
}

#[tokio::test]
async fn a_guesser_is_stopped_whichever_sessions_it_tries() {
    let server =
        TestServer::start_with(|config| config.limits.wrong_tokens_by_ip = per_hour(3)).await;
    let sid = server.request_token("a@example.org", "s").await;
    let token = server.only_mail().token();
    let submit = async |sid: &str, token: &str, from: &str| {
        let body = json!({ "sid": sid, "client_secret": "s", "token": token });
        let request = server.client.request(reqwest::Method::POST, SUBMIT_TOKEN);
        send(request.header("x-forwarded-for", from).json(&body)).await
    };
    for number in 0..2 {
        let unknown = submit(&format!("unknown{number}"), "x", "192.0.2.1").await;
        unknown.refused(400, "M_NO_VALID_SESSION");
    }
    submit(&sid, "wrong", "192.0.2.1")
        .await
        .refused(400, "M_TOKEN_INCORRECT");
    submit(&sid, &token, "192.0.2.1")
        .await
        .refused(429, "M_LIMIT_EXCEEDED");
    let page = format!("/verify/email?sid={sid}&token={token}");
    let shown = server.client.request(reqwest::Method::GET, &page);
    let shown = send(shown.header("x-forwarded-for", "192.0.2.1")).await;
    assert_eq!(shown.status, 429);
    submit(&sid, &token, "192.0.2.2").await.ok();
}

#[tokio::test]
async fn a_source_makes_only_so_many_requests_of_any_kind() {
    let server = TestServer::start_with(|config| config.limits.requests_by_ip = per_hour(10)).await;
    for number in 0..10 {
        let path = if number % 2 == 0 {
            "/_matrix/identity/v2"
        } else {
            "/unknown"
        };
        assert_ne!(server.client.get(path, &[]).await.status, 429);
    }
    let answer = server.client.get("/", &[]).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(!answer.header("x-request-id").is_empty());
    assert!(!answer.header("retry-after").is_empty());
    let homeserver = server.client.get(GET_VALIDATED, &[]).await;
    homeserver.refused(400, "M_MISSING_PARAMS");
    server.advance(Duration::from_hours(1));
    server.client.get("/_matrix/identity/v2", &[]).await.ok();
}
