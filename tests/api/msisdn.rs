//! Validating a phone number: which numbers get SMS, sessions, codes, and what follows from them.

mod budget;
mod guessing;
mod limits;
mod provider;

use std::collections::HashSet;
use std::time::Duration;

use bindery::config::{Countries, NumberType, SmsProvider};
use bindery::types::{LookupHash, Medium, Pepper};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::send;
use crate::support::federated::Federated;
use crate::support::phones::{
    ALICE, Phones, REQUEST_TOKEN, SUBMIT_TOKEN, other_than, request, sid, submission,
};
use crate::support::server::{BIND, BULK_LOOKUP, GET_VALIDATED, LOOKUP, TestServer, UNBIND};
use crate::support::smsbox::SmsBox;

const MXID: &str = "@alice:hs.example";

#[tokio::test]
async fn a_number_is_proved_bound_found_and_unbound() {
    let here = Phones::start().await;
    let client = &here.server.client;
    let asked = here.ask(ALICE, "s3cret", 1).await.ok();
    let sid = asked["sid"].as_str().unwrap();
    assert_eq!(
        asked,
        json!({
            "sid": sid, "msisdn": "447400123456", "intl_fmt": "+44 7400 123456", "success": true,
        })
    );
    let sms = here.smsbox.last();
    assert_eq!(
        (sms.to.as_str(), sms.country.as_str()),
        ("+447400123456", "GB")
    );
    assert!(sms.message.contains(&sms.token), "{}", sms.message);
    let query = [("sid", sid), ("client_secret", "s3cret")];
    let early = client.get(GET_VALIDATED, &query).await;
    early.refused(400, "M_SESSION_NOT_VALIDATED");

    here.server.advance(Duration::from_mins(1));
    let submitted = here.submit(sid, "s3cret", sms.token.as_str()).await;
    assert_eq!(submitted.ok(), json!({ "success": true }));
    let again = here.submit(sid, "s3cret", sms.token.as_str()).await;
    assert_eq!(again.ok(), json!({ "success": true }));
    assert_eq!(
        client.get(GET_VALIDATED, &query).await.ok(),
        json!({ "medium": "msisdn", "address": "447400123456", "validated_at": here.server.now() })
    );

    let bind = json!({ "sid": sid, "client_secret": "s3cret", "mxid": MXID });
    let bound = client.post(BIND, bind).await.ok();
    assert_eq!(
        (&bound["medium"], &bound["address"], &bound["mxid"]),
        (&json!("msisdn"), &json!("447400123456"), &json!(MXID))
    );
    let query = [("medium", "msisdn"), ("address", "447400123456")];
    assert_eq!(client.get(LOOKUP, &query).await.ok(), bound);
    let entry = json!(["msisdn", "447400123456"]);
    let found = client
        .post(BULK_LOOKUP, json!({ "threepids": [entry] }))
        .await;
    let found = found.ok()["threepids"].clone();
    assert_eq!(found, json!([["msisdn", "447400123456", MXID]]));

    let unbind = json!({
        "sid": sid, "client_secret": "s3cret", "mxid": MXID,
        "threepid": { "medium": "msisdn", "address": "447400123456" },
    });
    assert_eq!(client.post(UNBIND, unbind).await.ok(), json!({}));
    assert_eq!(client.get(LOOKUP, &query).await.ok(), json!({}));
}

#[tokio::test]
async fn a_number_of_an_account_is_found_by_its_hash() {
    let smsbox = SmsBox::start().await;
    let here = Federated::start_with(|config, _| smsbox.serve(&mut config.sms)).await;
    let body = request("GB", ALICE, "s", 1);
    for path in ["requestToken", "submitToken"] {
        let path = format!("/_matrix/identity/v2/validate/msisdn/{path}");
        let nobody = here.server.client.post(&path, body.clone()).await;
        nobody.refused(401, "M_UNAUTHORIZED");
    }
    let token = here.register("alice").await;
    let asked = here
        .post(&token, "validate/msisdn/requestToken", &body)
        .await;
    let sid = sid(&asked);
    let code = smsbox.last().token;
    let body = submission(&sid, "s", code);
    let submitted = here
        .post(&token, "validate/msisdn/submitToken", &body)
        .await;
    assert_eq!(submitted.ok(), json!({ "success": true }));
    let body = json!({ "sid": sid, "client_secret": "s", "mxid": here.user("alice") });
    here.post(&token, "3pid/bind", &body).await.ok();

    let details = here.get(&token, "hash_details", &[]).await.ok();
    let pepper = details["lookup_pepper"].as_str().unwrap();
    let hash = LookupHash::of(
        "447400123456",
        Medium::Msisdn,
        &Pepper::parse(pepper).unwrap(),
    );
    let hash = bindery::signing::encode_base64(hash.as_bytes());
    let hash = hash.replace('+', "-").replace('/', "_");
    let body = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
    let found = here.post(&token, "lookup", &body).await.ok();
    assert_eq!(found["mappings"], json!({ hash: here.user("alice") }));
}

#[tokio::test]
async fn however_a_number_is_written_it_is_the_same_session() {
    let here = Phones::start().await;
    let first = sid(&here.ask(ALICE, "s", 1).await);
    for (country, number) in [
        ("gb", "7400123456"),
        ("GB", "+44 (0)7400 123456"),
        ("GB", "447400123456"),
        ("US", "+44.7400.123456"),
        ("DE", "0044 7400-123456"),
        ("Gb", "\u{202a}+44\u{a0}7400\u{a0}123456\u{202c}"),
    ] {
        let body = request(country, number, "s", 1);
        let answer = here.server.client.post(REQUEST_TOKEN, body).await;
        assert_eq!(sid(&answer), first, "{country} {number}");
    }
    assert_eq!(here.smsbox.taken().len(), 1);
}

#[tokio::test]
async fn numbers_that_are_none_and_numbers_that_cost_get_no_sms() {
    let here = Phones::start().await;
    for (country, number, errcode) in [
        // No numbers, too short ones, too long ones.
        ("GB", "", "M_INVALID_ADDRESS"),
        ("GB", "+", "M_INVALID_ADDRESS"),
        ("GB", "0740", "M_INVALID_ADDRESS"),
        ("GB", "07400 12345", "M_INVALID_ADDRESS"),
        ("GB", "07400 1234567", "M_INVALID_ADDRESS"),
        ("GB", "+999 7400 123456", "M_INVALID_ADDRESS"),
        ("XX", "07400 123456", "M_INVALID_ADDRESS"),
        ("GB", "alice@example.org", "M_INVALID_ADDRESS"),
        // Extensions and letters.
        ("GB", "07400 123456 x5", "M_INVALID_ADDRESS"),
        ("GB", "07400 123456 ext. 5", "M_INVALID_ADDRESS"),
        ("GB", "tel:+447400123456;ext=5", "M_INVALID_ADDRESS"),
        ("GB", "07400 123456#5", "M_INVALID_ADDRESS"),
        ("US", "1-800-FLOWERS", "M_INVALID_ADDRESS"),
        // Emergencies and short codes.
        ("GB", "999", "M_INVALID_ADDRESS"),
        ("US", "911", "M_INVALID_ADDRESS"),
        // What is valid and would cost.
        ("GB", "0909 879 0000", "M_DESTINATION_REJECTED"),
        ("GB", "0843 012 3456", "M_DESTINATION_REJECTED"),
        ("GB", "0800 123 4567", "M_DESTINATION_REJECTED"),
        ("GB", "07640 123456", "M_DESTINATION_REJECTED"),
        ("GB", "070 1234 5678", "M_DESTINATION_REJECTED"),
        ("GB", "020 7946 0018", "M_DESTINATION_REJECTED"),
        ("GB", "056 0123 4567", "M_DESTINATION_REJECTED"),
        ("DE", "0180 5 012345", "M_DESTINATION_REJECTED"),
        // Other countries, islands with plans of their own, satellites.
        ("DE", "0151 23456789", "M_DESTINATION_REJECTED"),
        ("US", "415 555 2671", "M_DESTINATION_REJECTED"),
        ("GB", "+44 7911 123456", "M_DESTINATION_REJECTED"),
        ("GB", "+881 612345678", "M_DESTINATION_REJECTED"),
    ] {
        let body = request(country, number, "s", 1);
        let answer = here.server.client.post(REQUEST_TOKEN, body).await;
        let sentence = answer.refused(400, errcode);
        assert!(number.is_empty() || number == "+" || !sentence.contains(number));
    }
    for country in ["", "G", "GBR", "44", "ß"] {
        let body = request(country, ALICE, "s", 1);
        let answer = here.server.client.post(REQUEST_TOKEN, body).await;
        answer.refused(400, "M_INVALID_PARAM");
    }
    let number = json!({
        "country": "GB", "phone_number": 7_400_123_456_u64, "client_secret": "s", "send_attempt": 1,
    });
    let answer = here.server.client.post(REQUEST_TOKEN, number).await;
    answer.refused(400, "M_INVALID_PARAM");
    let answer = here.server.client.post(REQUEST_TOKEN, json!({})).await;
    let sentence = answer.refused(400, "M_MISSING_PARAMS");
    for name in ["client_secret", "country", "phone_number", "send_attempt"] {
        assert!(sentence.contains(name), "{sentence}");
    }
    assert_eq!(here.smsbox.asked(), 0);
}

#[tokio::test]
async fn the_operator_says_which_countries_and_kinds_of_numbers_get_sms() {
    let here = Phones::start_with(|config| {
        config.sms.allow_countries = Countries::all();
        config.sms.allow_types = vec![NumberType::MobileOrFixed, NumberType::Fixed];
    })
    .await;
    for (country, number, errcode) in [
        ("US", "415 555 2671", None),
        ("GB", "020 7946 0018", None),
        ("GB", ALICE, Some("M_DESTINATION_REJECTED")),
        ("GB", "0909 879 0000", Some("M_DESTINATION_REJECTED")),
        ("GB", "+881 612345678", Some("M_DESTINATION_REJECTED")),
    ] {
        let body = request(country, number, "s", 1);
        let answer = here.server.client.post(REQUEST_TOKEN, body).await;
        match errcode {
            None => assert_eq!(here.smsbox.last().country, country, "{}", answer.text),
            Some(errcode) => {
                answer.refused(400, errcode);
            }
        }
    }
    assert_eq!(here.smsbox.taken().len(), 2);
}

#[tokio::test]
async fn without_a_provider_there_is_no_such_medium() {
    let server = TestServer::start().await;
    assert_eq!(server.config.sms.provider, SmsProvider::None);
    for number in [ALICE, "no number"] {
        let body = request("GB", number, "s", 1);
        let answer = server.client.post(REQUEST_TOKEN, body).await;
        let sentence = answer.refused(400, "M_UNRECOGNIZED");
        assert!(sentence.contains("SMS"), "{sentence}");
    }
}

#[tokio::test]
async fn a_code_may_come_in_groups_or_as_a_number_without_its_zeros() {
    let here = Phones::unlimited().await;
    let (mut sid, mut code) = (String::new(), "1".to_owned());
    // One in a hundred begins with two zeros.
    for number in 0..2000 {
        if code.starts_with("00") {
            break;
        }
        (sid, code) = here.session(ALICE, &format!("s{number}")).await;
    }
    assert!(code.starts_with("00"), "{code}");
    let secret = format!("s{}", here.smsbox.taken().len() - 1);
    let number: u64 = code.parse().unwrap();
    let (left, right) = code.split_at(3);
    let spaced = format!(" {left} {right}\u{a0}");
    for right in [
        json!(number),
        json!(code),
        json!(spaced),
        json!(format!("\t{code}\n")),
    ] {
        let answer = here.submit(&sid, &secret, right.clone()).await;
        assert_eq!(answer.ok(), json!({ "success": true }), "{right}");
    }
    for wrong in [
        json!(number + 1_000_000),
        json!(number.to_string()),
        json!(format!("+{code}")),
        json!(format!("{code}0")),
    ] {
        let answer = here.submit(&sid, &secret, wrong).await;
        answer.refused(400, "M_TOKEN_INCORRECT");
    }
    for strange in [
        json!(-5),
        json!(12.5),
        json!(true),
        json!([code]),
        json!("  "),
    ] {
        let answer = here.submit(&sid, &secret, strange).await;
        answer.refused(400, "M_INVALID_PARAM");
    }
    let null = here.submit(&sid, &secret, Value::Null).await;
    null.refused(400, "M_MISSING_PARAMS");
    let form = [
        ("sid", sid.as_str()),
        ("client_secret", &secret),
        ("token", &spaced),
    ];
    here.server.client.post_form(SUBMIT_TOKEN, &form).await.ok();
}

#[tokio::test]
async fn codes_have_six_digits_and_differ_from_session_to_session() {
    let here = Phones::unlimited().await;
    let (mut sids, mut codes) = (HashSet::new(), HashSet::new());
    for number in 0..60 {
        let (sid, code) = here.session(ALICE, &format!("s{number}")).await;
        assert!(sid.len() >= 22, "128 bits take 22 characters");
        assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()));
        sids.insert(sid);
        codes.insert(code);
    }
    assert_eq!(sids.len(), 60);
    // Two of 60 may have the same code once in 570 runs, and three pairs never.
    assert!(codes.len() > 57, "{codes:?}");
}

#[tokio::test]
async fn an_sms_goes_out_for_a_higher_attempt_only_and_says_the_same() {
    let here = Phones::unlimited().await;
    let first = sid(&here.ask(ALICE, "s", 1).await);
    for (attempt, sms) in [(1, 1), (0, 1), (2, 2), (2, 2), (7, 3), (3, 3)] {
        assert_eq!(sid(&here.ask(ALICE, "s", attempt).await), first);
        assert_eq!(here.smsbox.taken().len(), sms, "after attempt {attempt}");
    }
    let codes: HashSet<String> = here
        .smsbox
        .taken()
        .into_iter()
        .map(|sms| sms.token)
        .collect();
    assert_eq!(codes.len(), 1);
    let as_text = json!({
        "country": "GB", "phone_number": ALICE, "client_secret": "s", "send_attempt": "8",
    });
    here.server.client.post(REQUEST_TOKEN, as_text).await.ok();
    assert_eq!(here.smsbox.taken().len(), 4);
}

#[tokio::test]
async fn a_code_works_for_a_quarter_of_an_hour_and_its_session_for_a_day_after() {
    let here = Phones::start().await;
    let (sid, code) = here.session(ALICE, "s").await;
    here.server
        .advance(Duration::from_millis(15 * 60 * 1000 - 1));
    here.submit(&sid, "s", code).await.ok();
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    here.server
        .advance(Duration::from_millis(24 * 3600 * 1000 - 1));
    here.server.client.get(GET_VALIDATED, &query).await.ok();
    here.server.advance(Duration::from_millis(1));
    let late = here.server.client.get(GET_VALIDATED, &query).await;
    late.refused(400, "M_SESSION_EXPIRED");

    let (sid, code) = here.session(ALICE, "t").await;
    here.server.advance(Duration::from_mins(15));
    let late = here.submit(&sid, "t", code.as_str()).await;
    late.refused(400, "M_SESSION_EXPIRED");
    assert_eq!(late.json()["success"], false);
    let (other, code) = here.session(ALICE, "t").await;
    assert_ne!(other, sid, "no revival");
    here.submit(&other, "t", code).await.ok();
}

#[tokio::test]
async fn a_session_is_of_one_medium() {
    let here = Phones::start().await;
    let phone = here.session(ALICE, "s").await;
    let sid = here.server.request_token("alice@example.org", "s").await;
    let mailed = here.server.only_mail().token();
    let answer = here.submit(&sid, "s", mailed).await;
    answer.refused(400, "M_NO_VALID_SESSION");
    let email = crate::support::server::SUBMIT_TOKEN;
    let body = submission(&phone.0, "s", phone.1.as_str());
    let answer = here.server.client.post(email, body).await;
    answer.refused(400, "M_NO_VALID_SESSION");
    let page = format!("/verify/email?sid={}&token={}", phone.0, phone.1);
    assert_eq!(here.server.client.get(&page, &[]).await.status, 400);
    here.submit(&phone.0, "s", phone.1).await.ok();
}

#[tokio::test]
async fn a_guesser_cannot_tell_a_wrong_secret_from_an_unknown_session() {
    let here = Phones::start().await;
    let (sid, code) = here.session(ALICE, "s").await;
    let mut answers = HashSet::new();
    for (sid, secret, code) in [
        (sid.as_str(), "other", code.clone()),
        ("unknown", "s", code.clone()),
        (sid.as_str(), "other", other_than(&code)),
    ] {
        let answer = here.submit(sid, secret, code).await;
        answer.refused(400, "M_NO_VALID_SESSION");
        answers.insert(answer.text);
    }
    assert_eq!(answers.len(), 1, "the answers are the same to the letter");
}

#[tokio::test]
async fn a_follower_of_the_specifications_link_sees_a_page_or_is_led_on() {
    let here = Phones::start().await;
    let mut body = request("GB", ALICE, "s", 1);
    body["next_link"] = json!("https://app.example/#/x?y=1");
    let sid = sid(&here.server.client.post(REQUEST_TOKEN, body).await);
    let code = here.smsbox.last().token;
    let link = |code: &str| {
        let fields = [
            ("sid", sid.as_str()),
            ("client_secret", "s"),
            ("token", code),
        ];
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        format!("{SUBMIT_TOKEN}?{query}&next_link=https://evil.example")
    };
    let wrong = here.server.client.get(&link(&other_than(&code)), &[]).await;
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.header("content-type"), "text/html; charset=utf-8");
    send(here.server.client.request(Method::HEAD, &link(&code))).await;
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    let not_yet = here.server.client.get(GET_VALIDATED, &query).await;
    not_yet.refused(400, "M_SESSION_NOT_VALIDATED");
    let right = here.server.client.get(&link(&code), &[]).await;
    assert_eq!(right.status, 302);
    let onward = format!("https://app.example/#/x?y=1&sid={sid}");
    assert_eq!(right.header("location"), onward);
    here.server.client.get(GET_VALIDATED, &query).await.ok();

    let (sid, code) = here.session("07400 200000", "s").await;
    let query = [
        ("sid", sid.as_str()),
        ("client_secret", "s"),
        ("token", &code),
    ];
    let page = here.server.client.get(SUBMIT_TOKEN, &query).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
}

#[tokio::test]
async fn next_links_keep_the_rules_of_mails() {
    let here = Phones::start_with(|config| {
        config.api.next_link_hosts = vec!["app.example".to_owned()];
    })
    .await;
    for link in [
        "javascript:alert(1)",
        "https://other.example/",
        "//app.example",
    ] {
        let mut body = request("GB", ALICE, "s", 1);
        body["next_link"] = json!(link);
        let answer = here.server.client.post(REQUEST_TOKEN, body).await;
        answer.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(here.smsbox.asked(), 0);
}
