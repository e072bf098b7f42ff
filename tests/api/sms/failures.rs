//! What goes wrong on the way to a provider, what the operator reads of it, and what the fallback does about it.

use serde_json::json;

use bindery::net::Resolver;
use bindery::sms::SendError;

use super::{message, open_with, sms, taken, webhook};
use crate::support::authority::Authority;
use crate::support::dns::DnsServer;
use crate::support::gateway::{Answer, Gateway};

/// Vonage as the provider and Twilio as the fallback, or the provider alone.
fn both(vonage: &Gateway, twilio: &Gateway, more: &str) -> String {
    format!(
        "[sms]\nprovider = \"vonage\"\nfallback = \"twilio\"\nfrom = \"X\"\nhome_country = \"GB\"\n{more}\
         [sms.presets.vonage]\nbase_url = \"{}\"\nusername = \"abcd1234\"\npassword = \"secret-of-vonage\"\n\
         [sms.presets.twilio]\nbase_url = \"{}\"\nusername = \"AC0123\"\npassword = \"secret-of-twilio\"\n",
        vonage.url(),
        twilio.url()
    )
}

fn vonage_says(status: &str) -> Answer {
    Answer::Json(200, json!({"messages": [{"status": status}]}))
}

fn twilio_says(status: u16, code: u32) -> Answer {
    Answer::Json(status, json!({ "code": code }))
}

/// Nothing of the message, and nothing that is secret.
#[track_caller]
fn is_discreet(error: &SendError) {
    let text = error.to_string();
    for secret in [
        "7700900",
        "123456",
        "secret-of",
        "webhook-secret",
        "key-of-the-webhook",
        "works!",
    ] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn every_failure_of_a_webhook_is_told_apart_and_in_one_discreet_sentence() {
    let gateway = Gateway::plain(taken()).await;
    let quick = webhook(&gateway.url()).replace("[sms]\n", "[sms]\ntimeout = \"1s\"\n");
    let echo = json!({"error": "+447700900123 123456 webhook-secret"});
    for (answer, is_final, words) in [
        (
            Answer::Json(429, echo.clone()),
            false,
            "did not take the SMS now (HTTP status 429)",
        ),
        (
            Answer::Json(503, echo.clone()),
            false,
            "did not take the SMS now (HTTP status 503)",
        ),
        (
            Answer::Html(502),
            false,
            "did not take the SMS now (HTTP status 502)",
        ),
        (
            Answer::Json(400, echo.clone()),
            true,
            "refused the SMS for good (HTTP status 400)",
        ),
        (
            Answer::Json(403, echo),
            true,
            "(HTTP status 403): check the credentials",
        ),
        (Answer::Html(404), true, "(HTTP status 404): check its url"),
        (
            Answer::Redirect(format!("{}/else", gateway.url())),
            true,
            "a redirect, which is not followed",
        ),
        (Answer::Large, false, "is longer than 65536 bytes"),
        (Answer::Endless, false, "is longer than 65536 bytes"),
        (Answer::Drop, false, "gave no answer"),
        (Answer::Noise, false, "gave no answer"),
        (Answer::Silence, false, "did not answer in time"),
        (Answer::Half, false, "did not answer in time"),
    ] {
        gateway.answer(answer.clone());
        let slow = matches!(answer, Answer::Silence | Answer::Half);
        let text = if slow {
            quick.clone()
        } else {
            webhook(&gateway.url())
        };
        let before = gateway.asked().len();
        let error = sms(&text).send(message()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(
            (error.is_final(), error.refuses_number()),
            (is_final, false),
            "{error}"
        );
        if !slow {
            assert_eq!(
                gateway.asked().len(),
                before + 1,
                "{words}: asked once, and nowhere else"
            );
        }
        is_discreet(&error);
    }
}

#[tokio::test]
async fn a_page_in_place_of_json_is_no_answer_to_rely_on() {
    let [vonage, twilio] = [
        Gateway::plain(Answer::Html(200)).await,
        Gateway::plain(taken()).await,
    ];
    let alone = both(&vonage, &twilio, "").replace("fallback = \"twilio\"\n", "");
    let error = sms(&alone).send(message()).await.unwrap_err();
    assert!(!error.is_final());
    assert!(
        error
            .to_string()
            .contains("is not JSON as its interface has it (HTTP status 200)"),
        "{error}"
    );
    is_discreet(&error);
}

#[tokio::test]
async fn nobody_is_told_anything_before_the_certificate_is_right() {
    let authority = Authority::new();
    for (tls, words) in [
        (
            Authority::called("Somebody").server("localhost"),
            "UnknownIssuer",
        ),
        (authority.expired_server("localhost"), "expired"),
        (authority.server("other.example"), "not valid for name"),
    ] {
        let gateway = Gateway::start(Some(tls), taken()).await;
        let trust = format!("[sms]\nca_file = \"{}\"\n", authority.file().display());
        let text = webhook(&gateway.url()).replace("[sms]\n", &trust);
        let error = sms(&text).send(message()).await.unwrap_err();
        assert!(!error.is_final());
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(gateway.asked().is_empty());
        is_discreet(&error);
    }
    let plain = Gateway::plain(taken()).await;
    let url = format!("https://localhost:{}", plain.port());
    let error = sms(&webhook(&url)).send(message()).await.unwrap_err();
    assert!(!error.is_final());
    assert!(plain.asked().is_empty());
}

#[tokio::test]
async fn without_tls_only_an_address_next_door_is_asked() {
    let gateway = Gateway::plain(taken()).await;
    let dns = DnsServer::start().await;
    dns.host("near.example", "127.0.0.1");
    dns.host("far.example", "192.0.2.1");
    dns.host("mixed.example", "127.0.0.1");
    dns.host("mixed.example", "192.0.2.1");
    let ask = async |host: &str| {
        let resolver = Resolver::with_servers(&[dns.address()]).unwrap();
        let url = format!("http://{host}:{}", gateway.port());
        let sms = open_with(&webhook(&url), resolver).unwrap();
        sms.send(message()).await
    };
    ask("near.example").await.unwrap();
    ask("127.0.0.1").await.unwrap();
    assert_eq!(gateway.asked().len(), 2);
    for host in ["far.example", "mixed.example"] {
        let error = ask(host).await.unwrap_err();
        assert!(error.to_string().contains("asked without TLS"), "{error}");
    }
    assert_eq!(gateway.asked().len(), 2);
}

#[tokio::test]
async fn the_fallback_is_tried_where_another_provider_may_succeed() {
    let fine = twilio_says(201, 0);
    for answer in [
        vonage_says("1"),
        vonage_says("4"),
        vonage_says("9"),
        Answer::Json(500, json!({})),
        Answer::Json(401, json!({})),
        Answer::Html(200),
        Answer::Drop,
        Answer::Silence,
    ] {
        let [vonage, twilio] = [
            Gateway::plain(answer).await,
            Gateway::plain(fine.clone()).await,
        ];
        let text = both(&vonage, &twilio, "timeout = \"6s\"\n");
        sms(&text).send(message()).await.unwrap();
        assert_eq!((vonage.asked().len(), twilio.asked().len()), (1, 1));
    }
}

#[tokio::test]
async fn the_fallback_is_left_alone_where_it_is_not_needed_or_cannot_help() {
    for (answer, is_sent) in [(vonage_says("0"), true), (vonage_says("7"), false)] {
        let [vonage, twilio] = [Gateway::plain(answer).await, Gateway::plain(taken()).await];
        let sent = sms(&both(&vonage, &twilio, "")).send(message()).await;
        assert_eq!(sent.is_ok(), is_sent);
        assert!(
            sent.err()
                .is_none_or(|error| error.refuses_number() && error.is_final())
        );
        assert_eq!((vonage.asked().len(), twilio.asked().len()), (1, 0));
    }
}

#[tokio::test]
async fn when_both_fail_both_are_named_and_it_is_final_only_if_nothing_can_help() {
    for (first, second, is_final, is_the_number) in [
        (vonage_says("4"), twilio_says(401, 20003), true, false),
        (vonage_says("1"), twilio_says(401, 20003), false, false),
        (vonage_says("4"), twilio_says(503, 0), false, false),
        (vonage_says("1"), twilio_says(503, 0), false, false),
        (vonage_says("1"), twilio_says(400, 21211), true, true),
        (vonage_says("4"), twilio_says(400, 21211), true, true),
    ] {
        let [vonage, twilio] = [Gateway::plain(first).await, Gateway::plain(second).await];
        let error = sms(&both(&vonage, &twilio, ""))
            .send(message())
            .await
            .unwrap_err();
        let text = error.to_string();
        assert_eq!(
            (error.is_final(), error.refuses_number()),
            (is_final, is_the_number),
            "{text}"
        );
        assert!(
            text.starts_with("vonage ") && text.contains("; and the fallback: twilio "),
            "{text}"
        );
        is_discreet(&error);
    }
}
