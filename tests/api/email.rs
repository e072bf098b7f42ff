//! Validating an e-mail address: sessions, attempts, tokens, and who may not be written to.

use std::time::Duration;

use bindery::config::MailTransport;
use serde_json::{Value, json};

use crate::support::server::{GET_VALIDATED, REQUEST_TOKEN, SUBMIT_TOKEN, TestServer};

const HOUR: Duration = Duration::from_hours(1);
const ALMOST_A_DAY: Duration = Duration::from_millis(24 * 3600 * 1000 - 1);

fn request(email: &str, secret: &str, attempt: impl Into<Value>) -> Value {
    json!({ "email": email, "client_secret": secret, "send_attempt": attempt.into() })
}

fn submission(sid: &str, secret: &str, token: &str) -> Value {
    json!({ "sid": sid, "client_secret": secret, "token": token })
}

#[tokio::test]
async fn the_token_of_the_mail_validates_the_session() {
    let server = TestServer::start().await;
    let sid = server.request_token("Alice@Example.org", "s3cret").await;
    let mail = server.only_mail();
    assert_eq!(mail.to(), "alice@example.org");
    let query = [("sid", sid.as_str()), ("client_secret", "s3cret")];
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(400, "M_SESSION_NOT_VALIDATED");

    server.advance(HOUR);
    let submitted = server
        .client
        .post(SUBMIT_TOKEN, submission(&sid, "s3cret", &mail.token()))
        .await;
    assert_eq!(submitted.ok(), json!({ "success": true }));
    assert_eq!(
        server.client.get(GET_VALIDATED, &query).await.ok(),
        json!({ "medium": "email", "address": "alice@example.org", "validated_at": server.now() })
    );
}

#[tokio::test]
async fn the_right_token_again_is_a_success_and_changes_nothing() {
    let server = TestServer::start().await;
    let sid = server.validated("a@example.org", "s").await;
    let first = server.now();
    server.advance(HOUR);
    let token = server.only_mail().token();
    let again = server
        .client
        .post(SUBMIT_TOKEN, submission(&sid, "s", &token))
        .await;
    assert_eq!(again.ok(), json!({ "success": true }));
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    assert_eq!(
        server.client.get(GET_VALIDATED, &query).await.ok()["validated_at"],
        first
    );
}

#[tokio::test]
async fn the_same_client_gets_the_same_session_and_a_mail_only_for_a_higher_attempt() {
    let server = TestServer::start().await;
    let ask = async |attempt: Value| {
        let answer = server
            .client
            .post(REQUEST_TOKEN, request("a@example.org", "s", attempt))
            .await;
        answer.ok()["sid"].as_str().unwrap().to_owned()
    };
    let sid = ask(json!(1)).await;
    for (attempt, mails) in [
        (json!(1), 1),
        (json!("1"), 1),
        (json!("2"), 2),
        (json!(2), 2),
        (json!(0), 2),
        (json!(7), 3),
        (json!(3), 3),
    ] {
        assert_eq!(ask(attempt.clone()).await, sid);
        assert_eq!(server.mails().len(), mails, "after attempt {attempt}");
    }
    let tokens: Vec<String> = server.mails().iter().map(|mail| mail.token()).collect();
    assert_eq!(tokens[0], tokens[2], "every mail of a session works");
    let submitted = server
        .client
        .post(SUBMIT_TOKEN, submission(&sid, "s", &tokens[0]))
        .await;
    submitted.ok();
}

#[tokio::test]
async fn another_secret_or_address_is_another_session() {
    let server = TestServer::start().await;
    let one = server.request_token("a@example.org", "s").await;
    let other_secret = server.request_token("a@example.org", "t").await;
    let other_address = server.request_token("b@example.org", "s").await;
    let folded = server.request_token("A@EXAMPLE.org", "s").await;
    assert_ne!(one, other_secret);
    assert_ne!(one, other_address);
    assert_eq!(one, folded);
}

#[tokio::test]
async fn a_validated_session_is_not_given_out_again() {
    let server = TestServer::start().await;
    let first = server.validated("a@example.org", "s").await;
    let second = server.request_token("a@example.org", "s").await;
    assert_ne!(first, second);
    let query = [("sid", second.as_str()), ("client_secret", "s")];
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(400, "M_SESSION_NOT_VALIDATED");
    let query = [("sid", first.as_str()), ("client_secret", "s")];
    server.client.get(GET_VALIDATED, &query).await.ok();
}

#[tokio::test]
async fn sessions_end_and_stay_ended() {
    let server = TestServer::start().await;
    let sid = server.request_token("a@example.org", "s").await;
    let token = server.only_mail().token();
    server.advance(ALMOST_A_DAY);
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(400, "M_SESSION_NOT_VALIDATED");
    server.advance(Duration::from_millis(1));
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(400, "M_SESSION_EXPIRED");
    let late = server
        .client
        .post(SUBMIT_TOKEN, submission(&sid, "s", &token))
        .await;
    late.refused(400, "M_SESSION_EXPIRED");
    assert_eq!(late.json()["success"], false);
    assert_ne!(
        server.request_token("a@example.org", "s").await,
        sid,
        "no revival"
    );
}

#[tokio::test]
async fn a_validated_session_is_good_for_a_day_from_its_validation() {
    let server = TestServer::start().await;
    let sid = server.request_token("a@example.org", "s").await;
    server.advance(23 * HOUR);
    let token = server.only_mail().token();
    server
        .client
        .post(SUBMIT_TOKEN, submission(&sid, "s", &token))
        .await
        .ok();
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    server.advance(ALMOST_A_DAY);
    server.client.get(GET_VALIDATED, &query).await.ok();
    server.advance(Duration::from_millis(1));
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(400, "M_SESSION_EXPIRED");
    let late = server
        .client
        .post(SUBMIT_TOKEN, submission(&sid, "s", &token))
        .await;
    late.refused(400, "M_SESSION_EXPIRED");
}

#[tokio::test]
async fn ended_sessions_are_swept_a_day_later_and_others_are_not() {
    let server = TestServer::start().await;
    let ended = server.request_token("a@example.org", "s").await;
    server.advance(25 * HOUR);
    let living = server.request_token("a@example.org", "s").await;
    assert_eq!(server.sweeper.sessions().await.unwrap(), 0);
    server.advance(23 * HOUR);
    assert_eq!(server.sweeper.sessions().await.unwrap(), 1);
    let query = [("sid", ended.as_str()), ("client_secret", "s")];
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(404, "M_NO_VALID_SESSION");
    assert_eq!(server.request_token("a@example.org", "s").await, living);
}

#[tokio::test]
async fn wrong_tokens_are_counted_and_the_tenth_burns_the_session() {
    let server = TestServer::start().await;
    let sid = server.request_token("a@example.org", "s").await;
    let token = server.only_mail().token();
    for _ in 0..9 {
        let wrong = server
            .client
            .post(SUBMIT_TOKEN, submission(&sid, "s", "wrong"))
            .await;
        wrong.refused(400, "M_TOKEN_INCORRECT");
        assert_eq!(wrong.json()["success"], false);
    }
    let server = server.restart().await;
    let last = server
        .client
        .post(SUBMIT_TOKEN, submission(&sid, "s", "wrong"))
        .await;
    last.refused(400, "M_TOKEN_INCORRECT");
    let right = server
        .client
        .post(SUBMIT_TOKEN, submission(&sid, "s", &token))
        .await;
    right.refused(400, "M_NO_VALID_SESSION");
    assert_eq!(right.json()["success"], false);
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(404, "M_NO_VALID_SESSION");

    // Mails are named, and so sorted, by the time.
    server.advance(Duration::from_secs(1));
    let fresh = server.request_token("a@example.org", "s").await;
    assert_ne!(fresh, sid);
    let newest = server.mails().pop().unwrap().token();
    assert_ne!(newest, token);
    server
        .client
        .post(SUBMIT_TOKEN, submission(&fresh, "s", &newest))
        .await
        .ok();
}

#[tokio::test]
async fn parallel_guesses_are_all_counted() {
    let server = TestServer::start().await;
    let sid = server.request_token("a@example.org", "s").await;
    let mut guesses = tokio::task::JoinSet::new();
    for guess in 0..40 {
        let client = server.client.clone();
        let body = submission(&sid, "s", &format!("wrong{guess}"));
        guesses
            .spawn(async move { client.post(SUBMIT_TOKEN, body).await.json()["errcode"].clone() });
    }
    let answers = guesses.join_all().await;
    let incorrect = answers
        .iter()
        .filter(|code| **code == "M_TOKEN_INCORRECT")
        .count();
    assert_eq!(incorrect, 10, "no guess beyond the tenth was compared");
}

#[tokio::test]
async fn a_guesser_cannot_tell_a_wrong_secret_from_an_unknown_session() {
    let server = TestServer::start().await;
    let sid = server.request_token("a@example.org", "s").await;
    let token = server.only_mail().token();
    let mut answers = Vec::new();
    for (sid, secret, token) in [
        (sid.as_str(), "other", token.as_str()),
        ("unknown", "s", token.as_str()),
        (sid.as_str(), "other", "wrong"),
    ] {
        let answer = server
            .client
            .post(SUBMIT_TOKEN, submission(sid, secret, token))
            .await;
        answer.refused(400, "M_NO_VALID_SESSION");
        answers.push(answer.text);
        let query = [("sid", sid), ("client_secret", secret)];
        server
            .client
            .get(GET_VALIDATED, &query)
            .await
            .refused(404, "M_NO_VALID_SESSION");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "the answers are the same to the letter");
    server
        .client
        .post(SUBMIT_TOKEN, submission(&sid, "s", &token))
        .await
        .ok();
}

#[tokio::test]
async fn tokens_and_sids_are_long_and_never_the_same() {
    let server = TestServer::start_with(|config| config.limits.enabled = false).await;
    let mut seen = std::collections::HashSet::new();
    for number in 0..50 {
        let sid = server
            .request_token("a@example.org", &format!("s{number}"))
            .await;
        assert!(sid.len() >= 22, "128 bits take 22 characters");
        assert!(seen.insert(sid));
    }
    for mail in server.mails() {
        let token = mail.token();
        assert!(token.len() >= 22, "128 bits take 22 characters");
        assert!(seen.insert(token));
    }
    assert_eq!(seen.len(), 100);
}

#[tokio::test]
async fn a_token_may_come_as_a_number_form_or_query() {
    let server = TestServer::start().await;
    let sid = server.request_token("a@example.org", "s").await;
    let number = json!({ "sid": sid, "client_secret": "s", "token": 123_456 });
    server
        .client
        .post(SUBMIT_TOKEN, number)
        .await
        .refused(400, "M_TOKEN_INCORRECT");
    let token = server.only_mail().token();
    let fields = [
        ("sid", sid.as_str()),
        ("client_secret", "s"),
        ("token", token.as_str()),
    ];
    assert_eq!(
        server.client.post_form(SUBMIT_TOKEN, &fields).await.ok(),
        json!({ "success": true })
    );
    let in_query = server
        .client
        .request(reqwest::Method::POST, SUBMIT_TOKEN)
        .query(&fields);
    crate::support::client::send(in_query).await.ok();
}

#[tokio::test]
async fn a_follower_of_the_specifications_link_is_led_on_to_the_next_link() {
    let server = TestServer::start().await;
    let mut body = request("a@example.org", "s", 1);
    body["next_link"] = json!("https://app.example/#/x?y=1");
    let sid = server.client.post(REQUEST_TOKEN, body).await.ok()["sid"]
        .as_str()
        .unwrap()
        .to_owned();
    let token = server.only_mail().token();
    let query = [
        ("sid", sid.as_str()),
        ("client_secret", "s"),
        ("token", token.as_str()),
        ("next_link", "https://evil.example"),
    ];
    let answer = server.client.get(SUBMIT_TOKEN, &query).await;
    assert_eq!(answer.status, 302);
    assert_eq!(
        answer.header("location"),
        format!("https://app.example/#/x?y=1&sid={sid}")
    );
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    server.client.get(GET_VALIDATED, &query).await.ok();
}

#[tokio::test]
async fn a_follower_of_a_wrong_link_sees_a_page_and_confirms_nothing() {
    let server = TestServer::start().await;
    let sid = server.request_token("a@example.org", "s").await;
    let query = [
        ("sid", sid.as_str()),
        ("client_secret", "s"),
        ("token", "wrong"),
    ];
    let answer = server.client.get(SUBMIT_TOKEN, &query).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let missing = server.client.get(SUBMIT_TOKEN, &[]).await;
    assert_eq!(missing.status, 400);
    assert_eq!(missing.header("content-type"), "text/html; charset=utf-8");

    let token = server.only_mail().token();
    let query = [
        ("sid", sid.as_str()),
        ("client_secret", "s"),
        ("token", token.as_str()),
    ];
    let head = server
        .client
        .request(reqwest::Method::HEAD, SUBMIT_TOKEN)
        .query(&query);
    head.send().await.unwrap();
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(400, "M_SESSION_NOT_VALIDATED");
}

#[tokio::test]
async fn next_links_that_are_not_plain_web_links_are_refused_and_nothing_is_sent() {
    let server = TestServer::start_with(|config| {
        config.api.next_link_hosts = vec!["app.example".to_owned()];
    })
    .await;
    for link in [
        "javascript:alert(1)",
        "data:text/html,x",
        "//app.example",
        "https://user:pw@app.example",
        "https://evil.example",
        "https://app.example.evil.example",
        "https://app.example\\@evil.example",
        "https://app.example/\r\nSet-Cookie: a=b",
        "",
    ] {
        let mut body = request("a@example.org", "s", 1);
        body["next_link"] = json!(link);
        let answer = server.client.post(REQUEST_TOKEN, body).await;
        assert!(
            answer.refused(400, "M_INVALID_PARAM").contains("next_link"),
            "{link:?}"
        );
    }
    assert!(server.mails().is_empty());
    let mut body = request("a@example.org", "s", 1);
    body["next_link"] = json!("https://APP.example/after");
    server.client.post(REQUEST_TOKEN, body).await.ok();
}

#[tokio::test]
async fn an_address_that_is_not_exactly_one_mailbox_is_refused_and_nobody_is_written_to() {
    let server = TestServer::start_with(|config| config.limits.enabled = false).await;
    let long_local = format!("{}@example.org", "a".repeat(65));
    let long = format!("a@{}.example", ["b"; 130].join("."));
    for address in [
        "",
        "a",
        "@example.org",
        "a@",
        "a@b@c.example",
        "a@b.example@c.example",
        "a@b.example,c@d.example",
        "a@b.example;c@d.example",
        "a@b.example c@d.example",
        "X <a@b.example>",
        "<a@b.example>",
        "a@b.example>",
        "a@b.example\r\nBcc: c@d.example",
        "a@b.example\nDATA",
        "a\r\nRCPT TO:<c@d.example>@b.example",
        "\"a b\"@b.example",
        "\"a\"@b.example",
        "a(comment)@b.example",
        "a@(comment)b.example",
        "a@[127.0.0.1]",
        "a@127.0.0.1",
        "a@b.example\0",
        "a\0@b.example",
        "a\u{202e}@b.example",
        "a@b..example",
        "a@.example",
        "a@-b.example",
        ".a@b.example",
        "a.@b.example",
        "a..b@b.example",
        "a%0d@b.example\r",
        " a@b.example",
        "a@b.example ",
        "a@stra\u{df}e.example",
        "a@\u{ff45}xample.org",
        "mailto:a@b.example?cc=c@d.example",
        &long_local,
        &long,
    ] {
        let answer = server
            .client
            .post(REQUEST_TOKEN, request(address, "s", 1))
            .await;
        answer.refused(400, "M_INVALID_EMAIL");
        let form = [
            ("email", address),
            ("client_secret", "s"),
            ("send_attempt", "1"),
        ];
        server
            .client
            .post_form(REQUEST_TOKEN, &form)
            .await
            .refused(400, "M_INVALID_EMAIL");
    }
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn an_internationalised_domain_is_one_address_however_it_is_written() {
    let server = TestServer::start().await;
    let sid = server.request_token("a@B\u{dc}CHER.example", "s").await;
    assert_eq!(
        server.request_token("a@xn--bcher-kva.example", "s").await,
        sid
    );
    assert_eq!(
        server.request_token("a@bu\u{308}cher.example", "s").await,
        sid
    );
    assert_eq!(server.only_mail().to(), "a@b\u{fc}cher.example");
}

#[tokio::test]
async fn a_local_part_outside_ascii_needs_a_server_that_can_send_there() {
    let server = TestServer::start().await;
    let answer = server
        .client
        .post(REQUEST_TOKEN, request("j\u{f6}rg@example.org", "s", 1))
        .await;
    answer.refused(400, "M_INVALID_EMAIL");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn wrong_values_are_named() {
    let server = TestServer::start().await;
    for (field, value) in [
        ("client_secret", json!("")),
        ("client_secret", json!("sp ace")),
        ("client_secret", json!("nul\0")),
        ("client_secret", json!("x".repeat(256))),
        ("client_secret", json!(7)),
        ("client_secret", json!(["s"])),
        ("email", json!(7)),
        ("email", json!({ "a": 1 })),
        ("send_attempt", json!(-1)),
        ("send_attempt", json!(1.5)),
        ("send_attempt", json!("")),
        ("send_attempt", json!("one")),
        ("send_attempt", json!("+1")),
        ("send_attempt", json!(true)),
        ("send_attempt", json!([1])),
        ("send_attempt", json!("99999999999999999999999")),
        ("next_link", json!(7)),
        ("next_link", json!({})),
    ] {
        let mut body = request("a@example.org", "s", 1);
        body[field] = value.clone();
        let answer = server.client.post(REQUEST_TOKEN, body).await;
        let sentence = answer.refused(400, "M_INVALID_PARAM");
        assert!(
            sentence.contains(&format!("`{field}`")),
            "{field} {value}: {sentence}"
        );
    }
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_server_without_a_transport_says_so() {
    let server =
        TestServer::start_with(|config| config.email.transport = MailTransport::None).await;
    let answer = server
        .client
        .post(REQUEST_TOKEN, request("a@example.org", "s", 1))
        .await;
    answer.refused(400, "M_UNRECOGNIZED");
}
