//! A server that validates phone numbers, together with the webhook that takes its SMS.

use bindery::config::Config;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, send};
use super::server::TestServer;
use super::smsbox::SmsBox;

pub const REQUEST_TOKEN: &str = "/_matrix/identity/api/v1/validate/msisdn/requestToken";
pub const SUBMIT_TOKEN: &str = "/_matrix/identity/api/v1/validate/msisdn/submitToken";

/// A number of a British mobile phone.
pub const ALICE: &str = "07400 123456";

/// The server, the webhook, and their clients.
pub struct Phones {
    pub server: TestServer,
    pub smsbox: SmsBox,
}

impl Phones {
    /// A server on the defaults that sends SMS to British numbers.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same, as `change` changes it.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let smsbox = SmsBox::start().await;
        let server = TestServer::start_with(|config| {
            smsbox.serve(&mut config.sms);
            change(config);
        })
        .await;
        Self { server, smsbox }
    }

    /// The same without limits, where many sessions are needed.
    pub async fn unlimited() -> Self {
        Self::start_with(|config| {
            config.limits.enabled = false;
            config.sms.daily_budget = 1_000_000;
        })
        .await
    }

    /// Stops the server and starts another on the same folder and clock.
    pub async fn restart(self) -> Self {
        Self {
            server: Box::pin(self.server.restart()).await,
            ..self
        }
    }

    /// Asks for a code for a British number.
    pub async fn ask(&self, number: &str, secret: &str, attempt: u64) -> Answer {
        let body = request("GB", number, secret, attempt);
        self.server.client.post(REQUEST_TOKEN, body).await
    }

    /// The same from an address, by way of a proxy.
    pub async fn ask_from(&self, number: &str, secret: &str, from: &str) -> Answer {
        let request = self.server.client.request(Method::POST, REQUEST_TOKEN);
        let request = request.header("x-forwarded-for", from);
        send(request.json(&self::request("GB", number, secret, 1))).await
    }

    /// Asks for a code, and answers the session's id and the code.
    pub async fn session(&self, number: &str, secret: &str) -> (String, String) {
        let sid = sid(&self.ask(number, secret, 1).await);
        (sid, self.smsbox.last().token)
    }

    /// Submits a code.
    pub async fn submit(&self, sid: &str, secret: &str, code: impl Into<Value>) -> Answer {
        let body = submission(sid, secret, code);
        self.server.client.post(SUBMIT_TOKEN, body).await
    }

    /// Proves a number and answers the session's id.
    pub async fn validated(&self, number: &str, secret: &str) -> String {
        let (sid, code) = self.session(number, secret).await;
        self.submit(&sid, secret, code).await.ok();
        sid
    }
}

pub fn request(country: &str, number: &str, secret: &str, attempt: u64) -> Value {
    json!({
        "country": country, "phone_number": number, "client_secret": secret, "send_attempt": attempt,
    })
}

pub fn submission(sid: &str, secret: &str, code: impl Into<Value>) -> Value {
    json!({ "sid": sid, "client_secret": secret, "token": code.into() })
}

/// The session's id in a success.
#[track_caller]
pub fn sid(answer: &Answer) -> String {
    answer.ok()["sid"].as_str().unwrap().to_owned()
}

/// A code that is another one than this.
pub fn other_than(code: &str) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:06}", (number + 1) % 1_000_000)
}
