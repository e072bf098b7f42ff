//! What an answer of a provider means for an SMS.

use serde_json::Value;

use super::error::{SendError, Trouble};
use crate::config::{SmsCondition, SmsPreset};
use crate::net::{GatewayAnswer, GatewayError};

/// The longest code with digits that is repeated in the log: phone numbers and our codes are longer.
const LONGEST_CODE: usize = 5;

/// The longest code of letters alone.
const LONGEST_WORD: usize = 40;

/// How the answers of one provider are to be read.
pub(super) struct Verdicts {
    success: Vec<SmsCondition>,
    refused: Vec<SmsCondition>,
    temporary: Vec<SmsCondition>,
    reason: Option<String>,
}

impl Verdicts {
    /// Those of a preset.
    pub(super) fn of(preset: &SmsPreset) -> Self {
        Self {
            success: preset.success.clone(),
            refused: preset.refused.clone(),
            temporary: preset.temporary.clone(),
            reason: preset.reason.clone(),
        }
    }

    /// Whatever has a status of success is one.
    pub(super) fn any_2xx() -> Self {
        Self {
            success: vec![SmsCondition {
                status: (200..300).collect(),
                field: None,
            }],
            refused: Vec::new(),
            temporary: Vec::new(),
            reason: None,
        }
    }

    /// No answer, 429 and 5xx are temporary, whatever else they say. Then success, a refusal of the number, and what the
    /// provider itself calls temporary, are looked for in this order; all else is a refusal for good.
    pub(super) fn judge(
        &self,
        provider: &str,
        answer: Result<GatewayAnswer, GatewayError>,
    ) -> Result<(), SendError> {
        let provider = provider.to_owned();
        let answer = answer.map_err(|source| Trouble::NoAnswer {
            provider: provider.clone(),
            source,
        })?;
        let (status, json) = (answer.status, answer.json());
        let applies = |conditions: &[SmsCondition]| {
            conditions
                .iter()
                .any(|condition| holds(condition, status, json.as_ref()))
        };
        let said = || self.said(status, json.as_ref());
        if status == 429 || status >= 500 {
            let answer = said();
            return Err(Trouble::Deferred { provider, answer }.into());
        }
        if applies(&self.success) {
            return Ok(());
        }
        if applies(&self.refused) {
            let answer = said();
            return Err(SendError::Number { provider, answer });
        }
        if applies(&self.temporary) {
            let answer = said();
            return Err(Trouble::Deferred { provider, answer }.into());
        }
        if json.is_none() && (200..300).contains(&status) {
            let answer = said();
            return Err(Trouble::NotUnderstood { provider, answer }.into());
        }
        Err(SendError::Refused {
            provider,
            answer: said(),
            hint: hint(status),
        })
    }

    /// The status, and the provider's own code if it can be nothing else.
    fn said(&self, status: u16, json: Option<&Value>) -> String {
        let code = self
            .reason
            .as_deref()
            .and_then(|place| scalar(json?.pointer(place)?))
            .filter(|code| is_code(code));
        match code {
            Some(code) => format!("HTTP status {status}, code {code}"),
            None => format!("HTTP status {status}"),
        }
    }
}

fn holds(condition: &SmsCondition, status: u16, json: Option<&Value>) -> bool {
    let status_fits = condition.status.is_empty() || condition.status.contains(&status);
    let field_fits = match &condition.field {
        None => true,
        Some((place, wanted)) => json
            .and_then(|json| scalar(json.pointer(place)?))
            .is_some_and(|found| wanted.contains(&found)),
    };
    status_fits && field_fits
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether this can be nothing but a code: a provider may repeat number, text and credentials anywhere.
fn is_code(code: &str) -> bool {
    let of_letters = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-');
    let is_number = code.bytes().all(|b| b.is_ascii_digit());
    (is_number && (1..=LONGEST_CODE).contains(&code.len()))
        || (code.bytes().all(of_letters) && (1..=LONGEST_WORD).contains(&code.len()))
}

const fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => {
            ": it answers with a redirect, which is not followed; set its url to where it leads"
        }
        401 | 403 => ": check the credentials and what the account may do",
        404 | 405 => ": check its url and method",
        _ => "",
    }
}
