//! `bindery test-sms`, `bindery check` on the settings of SMS, and what they say.

use std::process::Output;

use serde_json::json;
use tokio::runtime::Runtime;

use super::gateway::{Answer, Gateway};
use super::{Site, complaint};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A site whose provider is Twilio at one gateway, and whose fallback is a webhook at another.
fn site(twilio: &Gateway, webhook: &Gateway) -> Site {
    let site = Site::new();
    site.configure(&format!(
        "[sms]\nprovider = \"twilio\"\nfallback = \"webhook\"\nfrom = \"Example\"\nhome_country = \"GB\"\n\
         [sms.presets.twilio]\nbase_url = \"{}\"\nusername = \"AC0123\"\npassword = \"token-of-twilio\"\n\
         [sms.webhook]\nurl = \"{}\"\nsecret = \"secret-of-webhook\"\n",
        twilio.url(),
        webhook.url()
    ));
    site
}

fn is_discreet(text: &str) {
    for secret in ["7700900", "000000", "token-of", "secret-of"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_test_sms_takes_the_way_of_the_others_and_says_what_became_of_it() {
    let runtime = Runtime::new().unwrap();
    let gateway = |answer| runtime.block_on(Gateway::plain(answer));
    let twilio = gateway(Answer::Json(201, json!({"sid": "SM0"})));
    let webhook = gateway(Answer::Json(200, json!({})));
    let site = site(&twilio, &webhook);
    let mut command = site.command(&["test-sms", "+44 7700 900123"]);
    // Nobody listens there.
    for proxy in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env(proxy, "http://127.0.0.1:1");
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = said(&output);
    assert!(text.starts_with("The SMS was taken by twilio"), "{text}");
    assert_eq!(
        twilio.last().body,
        "To=%2B447700900123&From=Example&Body=Your+code+is+000000"
    );
    assert!(webhook.asked().is_empty());

    twilio.answer(Answer::Json(401, json!({"code": 20003})));
    let output = site.run(&["test-sms", "+447700900123"]);
    assert!(output.status.success());
    assert_eq!(webhook.asked().len(), 1);
    assert!(
        said(&output).contains("or by the fallback"),
        "{}",
        said(&output)
    );
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let words =
        "twilio refused the SMS for good (HTTP status 401, code 20003): check the credentials";
    assert!(
        log.contains(words) && log.contains("the fallback took the SMS"),
        "{log}"
    );
    is_discreet(&log);

    webhook.answer(Answer::Html(404));
    let text = complaint(&site.run(&["test-sms", "+447700900123"]));
    assert!(
        text.contains("bindery: the SMS was not sent: twilio refused"),
        "{text}"
    );
    assert!(
        text.contains("and the fallback: the SMS webhook refused"),
        "{text}"
    );
    is_discreet(&text);
}

#[test]
fn a_first_try_writes_an_sms_beside_the_mails_and_logs_neither_number_nor_code() {
    let site = Site::new();
    site.configure("[sms]\nprovider = \"file\"\n");
    let output = site.run(&["test-sms", "+447700900123"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let outbox = site.store().join("outbox");
    assert!(said(&output).contains(&format!("written to {}", outbox.display())));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("an SMS was written to"), "{log}");
    // The name of the file numbers it.
    is_discreet(&log.replace("Z-000000-", "Z-"));
    let mut files = std::fs::read_dir(&outbox).unwrap();
    let file = files.next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.ends_with("\n\nYour code is 000000\n"), "{text}");
    assert!(files.next().is_none());
}

#[test]
fn a_number_must_be_international_and_a_provider_must_be_there() {
    let site = Site::new();
    for wrong in [
        "07700900123",
        "+0123456",
        "+44",
        "+44770090012345678",
        "+44 x",
    ] {
        let text = complaint(&site.run(&["test-sms", wrong]));
        assert!(
            text.contains("a phone number with + and its country code"),
            "{text}"
        );
    }
    let text = complaint(&site.run(&["test-sms", "+447700900123"]));
    assert!(text.contains("sms.provider is \"none\""), "{text}");
}

#[test]
fn check_names_a_preset_that_cannot_work() {
    let site = Site::new();
    site.configure(
        "[sms]\nprovider = \"own\"\nhome_country = \"GB\"\n[sms.presets.own]\nurl = \"http://192.0.2.1/\"\n",
    );
    let text = complaint(&site.run(&["check"]));
    assert!(
        text.contains("sms.presets.own.url") && text.contains("use https"),
        "{text}"
    );
    site.configure("[sms]\nprovider = \"file\"\n");
    let output = site.run(&["check"]);
    assert!(
        said(&output).contains("sms            ok"),
        "{}",
        said(&output)
    );
}
