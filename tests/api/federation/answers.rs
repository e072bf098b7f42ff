//! What homeservers say about a token, and what of it counts.

use serde_json::{Value, json};

use super::*;
use crate::support::homeserver::{Reply, USERINFO};

#[tokio::test]
async fn a_homeserver_vouches_for_its_user() {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("hs.example").await;
    let server = homeserver.name();
    let user = rig.ask(server.as_str()).await.unwrap();
    assert_eq!(user.as_str(), format!("@alice:{server}"));
    let seen = homeserver.seen().remove(0);
    let query = "access_token=opaque+%2B%26%3D%25%2Ftoken";
    assert_eq!(seen.target, format!("{USERINFO}?{query}"));
    assert_eq!(seen.host, server.as_str());
    assert_eq!(seen.sni.as_deref(), Some("hs.example"));
}

#[tokio::test]
async fn a_rejected_token_is_rejected() {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("hs.example").await;
    for status in [401, 403] {
        let body = json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "no" });
        homeserver.reply(USERINFO, Reply::Json(status, body));
        failed(rig.ask(homeserver.name().as_str()).await, Outcome::Rejected);
    }
}

async fn sub(sub: Value, outcome: Outcome) -> String {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("hs.example").await;
    homeserver.reply(USERINFO, Reply::Json(200, json!({ "sub": sub })));
    failed(rig.ask(homeserver.name().as_str()).await, outcome)
}

#[tokio::test]
async fn a_user_of_another_server_is_not_vouched_for() {
    sub(json!("@alice:other.example"), Outcome::Rejected).await;
}

#[tokio::test]
async fn a_user_of_a_look_alike_is_not_vouched_for() {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("hs.example").await;
    let (server, port) = (homeserver.name(), homeserver.port());
    for sub in [
        format!("@alice:HS.example:{port}"),
        format!("@alice:hs.example:0{port}")
            .chars()
            .take(255)
            .collect(),
        "@alice:hs.example".to_owned(),
        format!("@alice:hs.example.:{port}"),
        format!("@alice:evil.example:{server}"),
        format!("@alice:{server}.evil.example"),
        format!("@alice:{server} "),
        format!("@alice:hs.ex\u{430}mple:{port}"),
    ] {
        homeserver.vouch_for(&sub);
        let error = rig.ask(server.as_str()).await.unwrap_err();
        let expected = matches!(error.outcome(), Outcome::Rejected | Outcome::BadAnswer);
        assert!(expected, "{sub}: {error}");
    }
}

#[tokio::test]
async fn an_answer_without_sub_counts_for_nobody() {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("hs.example").await;
    for body in [
        json!({}),
        json!({ "Sub": "x" }),
        json!(null),
        json!([]),
        json!("x"),
    ] {
        homeserver.reply(USERINFO, Reply::Json(200, body));
        failed(
            rig.ask(homeserver.name().as_str()).await,
            Outcome::BadAnswer,
        );
    }
}

#[tokio::test]
async fn a_sub_that_is_an_array_counts_for_nobody() {
    sub(json!(["@alice:hs.example"]), Outcome::BadAnswer).await;
}

#[tokio::test]
async fn a_sub_that_is_no_user_id_counts_for_nobody() {
    for text in [
        "",
        "alice",
        "@alice",
        "alice:hs.example",
        "@a\u{0}:hs.example",
    ] {
        sub(json!(text), Outcome::BadAnswer).await;
    }
}

async fn reply(reply: Reply, outcome: Outcome) -> String {
    let rig = match outcome {
        Outcome::Timeout => Rig::with(impatient).await,
        _ => Rig::new().await,
    };
    let homeserver = rig.homeserver("hs.example").await;
    homeserver.reply(USERINFO, reply);
    failed(rig.ask(homeserver.name().as_str()).await, outcome)
}

#[tokio::test]
async fn a_homeserver_that_says_nothing_is_left_when_time_is_up() {
    reply(Reply::Silence, Outcome::Timeout).await;
}

#[tokio::test]
async fn a_homeserver_that_stops_half_way_is_left_when_time_is_up() {
    reply(Reply::Half, Outcome::Timeout).await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_left_when_time_is_up() {
    let rig = Rig::with(impatient).await;
    rig.dns.host("hs.example", "127.0.0.1");
    let (_listener, address) = trap();
    let server = format!("hs.example:{}", address.port());
    failed(rig.ask(&server).await, Outcome::Timeout);
}

#[tokio::test]
async fn an_answer_of_5_mb_is_not_read() {
    let text = reply(Reply::Large, Outcome::BadAnswer).await;
    assert!(text.contains("federation.max_response"), "{text}");
}

#[tokio::test]
async fn an_answer_of_5_mb_that_is_not_announced_is_not_read_to_its_end() {
    let text = reply(Reply::Chunked, Outcome::BadAnswer).await;
    assert!(text.contains("federation.max_response"), "{text}");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_on() {
    let text = reply(Reply::Endless, Outcome::BadAnswer).await;
    assert!(text.contains("federation.max_response"), "{text}");
}

#[tokio::test]
async fn endless_headers_are_not_read_on() {
    reply(Reply::EndlessHeaders, Outcome::Unreachable).await;
}

#[tokio::test]
async fn a_page_is_no_answer() {
    reply(Reply::Html, Outcome::BadAnswer).await;
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    reply(Reply::Noise, Outcome::Unreachable).await;
    reply(Reply::Drop, Outcome::Unreachable).await;
}

#[tokio::test]
async fn other_statuses_are_no_answer() {
    for status in [201, 204, 400, 404, 429, 500, 503] {
        let body = json!({ "sub": "@alice:hs.example" });
        reply(Reply::Json(status, body), Outcome::BadAnswer).await;
    }
}

#[tokio::test]
async fn a_redirect_takes_the_token_nowhere() {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("hs.example").await;
    let (listener, address) = trap();
    let there = format!("https://hs.example:{}/", address.port());
    homeserver.reply(USERINFO, Reply::Redirect(there));
    failed(
        rig.ask(homeserver.name().as_str()).await,
        Outcome::BadAnswer,
    );
    nobody_came(&listener);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let rig = Rig::new().await;
    rig.dns.host("hs.example", "127.0.0.1");
    let tls = rig.authority.server("other.example");
    let homeserver = Homeserver::start_with("hs.example", tls).await;
    let error = rig.ask(homeserver.name().as_str()).await.unwrap_err();
    assert!(is_tls(&error), "{error}");
    assert!(homeserver.seen().is_empty());
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let rig = Rig::new().await;
    let stranger = Authority::called("Bindery test authority");
    rig.dns.host("hs.example", "127.0.0.1");
    let homeserver = Homeserver::start(&stranger, "hs.example").await;
    let error = rig.ask(homeserver.name().as_str()).await.unwrap_err();
    assert!(is_tls(&error), "{error}");
    assert!(homeserver.seen().is_empty());
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let rig = Rig::new().await;
    rig.dns.host("hs.example", "127.0.0.1");
    let tls = rig.authority.expired_server("hs.example");
    let homeserver = Homeserver::start_with("hs.example", tls).await;
    let error = rig.ask(homeserver.name().as_str()).await.unwrap_err();
    assert!(is_tls(&error), "{error}");
}

#[tokio::test]
async fn one_slow_homeserver_does_not_hold_up_another() {
    let rig = Rig::new().await;
    let slow = rig.homeserver("slow.example").await;
    let quick = rig.homeserver("quick.example").await;
    slow.reply(USERINFO, Reply::Silence);
    let many: Vec<_> = (0..100)
        .map(|_| {
            let (federation, server) = (rig.federation.clone(), slow.name());
            tokio::spawn(async move { federation.userinfo(&server, TOKEN).await })
        })
        .collect();
    rig.ask(quick.name().as_str()).await.unwrap();
    for one in many {
        one.abort();
    }
    assert!(slow.connections() <= 4, "{}", slow.connections());
}
