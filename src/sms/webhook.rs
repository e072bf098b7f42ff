//! The webhook: a program of the operator's gets each SMS as JSON, signed, and sends it in whatever way it likes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use ring::hmac;
use serde::Serialize;
use url::Url;

use super::SmsMessage;
use super::error::{SendError, SetupError};
use super::verdict::Verdicts;
use crate::config::{Secret, SmsWebhook};
use crate::net::{GatewayRequest, Gateways, Method};

const NAME: &str = "the SMS webhook";

pub(super) struct Webhook {
    url: Url,
    headers: BTreeMap<String, Secret>,
    key: hmac::Key,
    verdicts: Verdicts,
    gateways: Gateways,
}

#[derive(Serialize)]
struct Body<'a> {
    to: String,
    message: &'a str,
    token: &'a str,
    country: &'a str,
}

impl Webhook {
    pub(super) fn new(settings: &SmsWebhook, gateways: Gateways) -> Result<Self, SetupError> {
        let (Some(url), Some(secret)) = (&settings.url, &settings.secret) else {
            return Err(SetupError::Missing("sms.webhook".to_owned()));
        };
        Gateways::check(url).map_err(|source| SetupError::Url {
            key: "sms.webhook.url".to_owned(),
            source,
        })?;
        Ok(Self {
            url: url.clone(),
            headers: settings.headers.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()),
            verdicts: Verdicts::any_2xx(),
            gateways,
        })
    }

    pub(super) async fn send(
        &self,
        message: &SmsMessage,
        patience: Duration,
    ) -> Result<(), SendError> {
        let body = Body {
            to: message.international(),
            message: &message.text,
            token: message.token.expose(),
            country: &message.country,
        };
        let body = serde_json::to_vec(&body).map_err(|error| SendError::Request {
            provider: NAME.to_owned(),
            problem: error.to_string(),
        })?;
        let exposed = |(name, value): (&String, &Secret)| (name.clone(), value.expose().to_owned());
        let mut headers: Vec<_> = self.headers.iter().map(exposed).collect();
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        headers.push(("X-Bindery-Signature".to_owned(), self.signature(&body)));
        let request = GatewayRequest {
            method: Method::Post,
            url: self.url.clone(),
            headers,
            body: Some(body),
        };
        let answer = self.gateways.send(request, patience).await;
        self.verdicts.judge(NAME, answer)
    }

    /// By which the webhook knows that the body comes from here as it is.
    fn signature(&self, body: &[u8]) -> String {
        let mac = hmac::sign(&self.key, body);
        let mut signature = "sha256=".to_owned();
        for byte in mac.as_ref() {
            // Writing into a string cannot fail.
            let _ = write!(signature, "{byte:02x}");
        }
        signature
    }
}
