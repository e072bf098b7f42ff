//! Presets of an operator's own: whatever a value holds, it stays one value where it stands.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::Url;

use super::{open, sms, taken, to_country};
use crate::support::gateway::{Asked, Gateway};

/// What breaks out of URLs, forms, JSON, headers and templates where nobody takes care.
const NASTY: [&str; 9] = [
    "plain",
    "a&To=%2B1900&x=",
    "\"},{\"to\":\"1900\"},{\"x\":\"",
    "\\\" \\u0022",
    "{{ password }} {% raw %}",
    "#fragment?query/../../path;a=b",
    "%26%22%0d%0a",
    "Grüße – 😀 ' <b>",
    "+ ~ * ( ) ! =",
];

/// A preset with all values in all places.
fn preset(url: &str, kind: &str, body: &str, from: &str, password: &str) -> String {
    let [from, password] = [from, password].map(|text| toml::Value::from(text).to_string());
    format!(
        "[sms]\nprovider = \"own\"\nfrom = {from}\nhome_country = \"GB\"\n\
         [sms.presets.own]\n\
         url = \"{url}/send/{{{{ country }}}}/{{{{ message }}}}?to={{{{ to }}}}&text={{{{ message }}}}&from={{{{ from }}}}&pw={{{{ password }}}}\"\n\
         headers = {{ Content-Type = \"application/{kind}\", Authorization = \"Basic {{{{ (username ~ ':' ~ password) | base64 }}}}\" }}\n\
         body = '''{body}'''\nusername = \"me\"\npassword = {password}\n"
    )
}

async fn asked(kind: &str, body: &str, text: &str, from: &str, password: &str) -> Asked {
    let gateway = Gateway::plain(taken()).await;
    let sms = sms(&preset(&gateway.url(), kind, body, from, password));
    sms.send(to_country("447700900123", "GB", text))
        .await
        .unwrap();
    gateway.last()
}

fn fields(pairs: url::form_urlencoded::Parse<'_>) -> BTreeMap<String, String> {
    let pairs: Vec<_> = pairs.into_owned().collect();
    let fields: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(pairs.len(), fields.len(), "{pairs:?}");
    fields
}

#[tokio::test]
async fn values_stay_one_value_in_urls_and_forms() {
    let body = "to={{ to }}&text={{ message }}&from={{ from }}&pw={{ password }}";
    for nasty in NASTY {
        let asked = asked(
            "x-www-form-urlencoded; charset=utf-8",
            body,
            nasty,
            nasty,
            nasty,
        )
        .await;
        let expected: BTreeMap<String, String> = [
            ("to", "+447700900123"),
            ("text", nasty),
            ("from", nasty),
            ("pw", nasty),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        assert_eq!(
            fields(url::form_urlencoded::parse(asked.body.as_bytes())),
            expected
        );
        let url = Url::parse(&format!("http://x{}", asked.target)).unwrap();
        assert_eq!(fields(url.query_pairs()), expected, "{nasty}");
        let segments: Vec<&str> = url.path_segments().unwrap().collect();
        assert_eq!(segments[..2], ["send", "GB"]);
        assert_eq!(segments.len(), 3, "{nasty}");
        assert_eq!(url.fragment(), None);
    }
}

#[tokio::test]
async fn values_stay_one_value_in_json() {
    let body =
        r#"{"to":{{ to }},"more":[{{ message }},{{ from ~ password }}],"token":{{ token }}}"#;
    for nasty in NASTY.into_iter().chain(["two\nlines\tand a tab"]) {
        // Neither sender nor password can have a line break: the configuration refuses it.
        let short = nasty.lines().next().unwrap();
        let asked = asked("json", body, nasty, short, short).await;
        let read: Value = serde_json::from_str(&asked.body).unwrap();
        let expected = json!({
            "to": "+447700900123", "more": [nasty, format!("{short}{short}")], "token": "123456",
        });
        assert_eq!(read, expected);
    }
}

#[tokio::test]
async fn a_value_that_a_header_cannot_have_stops_the_request_and_not_the_line() {
    let gateway = Gateway::plain(taken()).await;
    let text = format!(
        "[sms]\nprovider = \"own\"\nhome_country = \"GB\"\n[sms.presets.own]\nmethod = \"GET\"\n\
         url = \"{}/\"\nheaders = {{ X-Text = \"{{{{ message }}}}\" }}\n",
        gateway.url()
    );
    let sms = sms(&text);
    sms.send(to_country("447700900123", "GB", "fine"))
        .await
        .unwrap();
    assert_eq!(gateway.last().header("x-text"), "fine");
    let evil = "123456\r\nX-Evil: 1";
    let error = sms
        .send(to_country("447700900123", "GB", evil))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("header"), "{error}");
    assert!(!error.to_string().contains("123456"), "{error}");
    assert_eq!(gateway.asked().len(), 1);
}

#[tokio::test]
async fn methods_and_senders_by_country_are_as_configured() {
    let gateway = Gateway::plain(taken()).await;
    for method in ["GET", "PUT"] {
        let text = format!(
            "[sms]\nprovider = \"own\"\nallow_countries = [\"*\"]\n\
             from = {{ default = \"Example\", us = \"+15005550006\", DE = \"Beispiel\" }}\n\
             [sms.presets.own]\nmethod = \"{method}\"\nurl = \"{}/?from={{{{ from }}}}&to={{{{ to_digits }}}}\"\n",
            gateway.url()
        );
        let sms = sms(&text);
        for (number, country, from) in [
            ("447700900123", "GB", "Example"),
            ("15005550001", "US", "%2B15005550006"),
            ("4915123456789", "DE", "Beispiel"),
        ] {
            sms.send(to_country(number, country, "x")).await.unwrap();
            let asked = gateway.last();
            assert_eq!(asked.method, method);
            assert_eq!(asked.target, format!("/?from={from}&to={number}"));
        }
    }
}

#[tokio::test]
async fn a_preset_that_cannot_work_stops_the_start() {
    let json = "headers = { Content-Type = \"application/json\" }\n";
    for (preset, complaint) in [
        (
            "url = \"{{ to }}\"\n",
            "sms.presets.own.url must become an https URL",
        ),
        (
            "url = \"ftp://gateway.example/\"\n",
            "sms.presets.own.url: ",
        ),
        ("url = \"http://192.0.2.1/\"\n", "asked without TLS"),
        ("url = \"http://[2001:db8::1]/\"\n", "asked without TLS"),
        (
            "url = \"https://{{ country }}.example/\"\n",
            "must lead to the same host",
        ),
        (
            "url = \"https://x.example/{{ to | nonsense }}\"\n",
            "sms.presets.own.url does not work",
        ),
        (
            "url = \"https://x.example/{{ to.area.code }}\"\n",
            "sms.presets.own.url does not work",
        ),
        (
            &format!("url = \"https://x.example/\"\n{json}body = '{{\"to\": \"{{{{ to }}}}\"}}'\n"),
            "sms.presets.own.body must become JSON",
        ),
    ] {
        let text = format!(
            "[sms]\nprovider = \"own\"\nhome_country = \"GB\"\n[sms.presets.own]\n{preset}"
        );
        let error = open(&text).unwrap_err().to_string();
        assert!(error.contains(complaint), "{preset}: {error}");
    }
}
