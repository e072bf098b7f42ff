//! SMS from a message to a provider's HTTP interface, a webhook or a file.

mod failures;
mod presets;
mod templated;

use std::sync::Arc;

use bindery::clock::ManualClock;
use bindery::config::{Config, Environment};
use bindery::net::Resolver;
use bindery::random::Random;
use bindery::sms::{SendError, SetupError, Sms, SmsMessage};
use bindery::types::{Msisdn, Timestamp, Token};
use ring::hmac;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::support::authority::Authority;
use crate::support::gateway::{Answer, Gateway};

/// 2 January 2026, 03:04:05 UTC.
const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_000);

/// The configuration of this file.
#[track_caller]
fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identity.toml");
    std::fs::write(&file, text).unwrap();
    match Config::load(Some(&file), &Environment::default()) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error}"),
    }
}

fn open_with(text: &str, resolver: Resolver) -> Result<Sms, SetupError> {
    let clock = Arc::new(ManualClock::at(NOW));
    let config = config(text);
    Sms::new(
        &config.sms,
        resolver,
        &(clock as Arc<_>),
        &Random::system(),
        Handle::current(),
    )
}

fn open(text: &str) -> Result<Sms, SetupError> {
    open_with(text, Resolver::with_servers(&[]).unwrap())
}

#[track_caller]
fn sms(text: &str) -> Sms {
    open(text).unwrap()
}

/// A message to a number that is kept free for films, and the code in it.
fn message() -> SmsMessage {
    to_country("447700900123", "GB", "Your code is 123456")
}

fn to_country(number: &str, country: &str, text: &str) -> SmsMessage {
    SmsMessage {
        to: Msisdn::parse(number).unwrap(),
        country: country.to_owned(),
        text: text.to_owned(),
        token: Token::from_derived("123456"),
    }
}

/// The configuration of a webhook at a URL.
fn webhook(url: &str) -> String {
    format!(
        "[sms]\nprovider = \"webhook\"\nhome_country = \"GB\"\n\
         [sms.webhook]\nurl = \"{url}/in?x=1\"\nsecret = \"webhook-secret\"\n\
         headers = {{ Authorization = \"Bearer key-of-the-webhook\" }}\n"
    )
}

fn taken() -> Answer {
    Answer::Json(200, json!({}))
}

#[tokio::test]
async fn a_webhook_gets_the_message_as_json_with_a_signature_of_its_bytes() {
    let gateway = Gateway::plain(taken()).await;
    sms(&webhook(&gateway.url())).send(message()).await.unwrap();
    let asked = gateway.last();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("POST", "/in?x=1")
    );
    assert_eq!(
        asked.body,
        r#"{"to":"+447700900123","message":"Your code is 123456","token":"123456","country":"GB"}"#
    );
    assert_eq!(asked.header("content-type"), "application/json");
    assert_eq!(asked.header("authorization"), "Bearer key-of-the-webhook");
    // Worked out with another library.
    assert_eq!(
        asked.header("x-bindery-signature"),
        "sha256=5e549e1d7e407638ccff5e97b232fc70fb55aa01a52fa4252a7696ee41ea05da"
    );
}

#[tokio::test]
async fn a_webhook_can_verify_whatever_a_text_has_in_it() {
    let gateway = Gateway::plain(taken()).await;
    let text = "\"}{\\ \n{{ token }} Grüße 😀";
    let sms = sms(&webhook(&gateway.url()));
    sms.send(to_country("447700900123", "GB", text))
        .await
        .unwrap();
    let asked = gateway.last();
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body["message"], text);
    let signature = asked.header("x-bindery-signature");
    let hex = signature.strip_prefix("sha256=").unwrap();
    let bytes: Vec<u8> = hex
        .as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"webhook-secret");
    hmac::verify(&key, asked.body.as_bytes(), &bytes).unwrap();
}

#[tokio::test]
async fn a_webhook_with_tls_is_verified_by_the_certificates_of_the_file() {
    let authority = Authority::new();
    let gateway = Gateway::start(Some(authority.server("localhost")), taken()).await;
    let text = webhook(&gateway.url());
    let trusting = format!("{text}[sms.presets.x]\nurl = \"https://x.example\"\n").replace(
        "[sms]\n",
        &format!("[sms]\nca_file = \"{}\"\n", authority.file().display()),
    );
    sms(&trusting).send(message()).await.unwrap();
    assert_eq!(gateway.asked().len(), 1);

    let error = sms(&text).send(message()).await.unwrap_err();
    assert!(!error.is_final());
    assert!(
        error
            .to_string()
            .contains("no secure connection to `localhost`"),
        "{error}"
    );
    assert_eq!(gateway.asked().len(), 1, "nothing was said to a stranger");
}

#[tokio::test]
async fn the_file_provider_writes_one_file_for_each_sms_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("outbox");
    let text = format!(
        "[email]\ndirectory = \"{}\"\n[sms]\nprovider = \"file\"\n",
        outbox.display()
    );
    let sms = sms(&text);
    sms.check().unwrap();
    for text in ["Your code is 123456", "Another\nGrüße"] {
        sms.send(to_country("447700900123", "GB", text))
            .await
            .unwrap();
    }
    let mut files: Vec<_> = std::fs::read_dir(&outbox)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let contents: Vec<String> = files
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(
        contents,
        [
            "To: +447700900123\nCountry: GB\n\nYour code is 123456\n",
            "To: +447700900123\nCountry: GB\n\nAnother\nGrüße\n"
        ]
    );
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("2026-01-02T030405.000Z-00000"), "{name}");
        assert_eq!(path.extension().unwrap(), "sms");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(
        outbox.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[tokio::test]
async fn without_a_provider_nothing_is_sent_and_that_is_known_before() {
    let sms = sms("");
    assert!(matches!(sms.check(), Err(SendError::NoTransport)));
    let error = sms.send(message()).await.unwrap_err();
    assert!(error.is_final() && !error.refuses_number());
    assert_eq!(
        error.to_string(),
        "no SMS can be sent while sms.provider is \"none\""
    );
}

#[tokio::test]
async fn nothing_shows_number_text_code_or_secret() {
    let text = webhook("http://localhost:1")
        .replace("[sms]\n", "[sms]\nfallback = \"twilio\"\nfrom = \"X\"\n")
        + "[sms.presets.twilio]\nusername = \"AC0123\"\npassword = \"token-of-twilio\"\n";
    let config = config(&text);
    let shown = format!("{:?} {config:?} {:?}", sms(&text), message());
    for secret in [
        "123456",
        "447700900123",
        "Your code",
        "webhook-secret",
        "key-of-the",
        "token-of",
    ] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}
