//! What the calls that validate an address share, whichever medium it is of.

use std::net::IpAddr;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::answer;
use super::error::ApiError;
use super::pages;
use super::params::{Params, Refused};
use crate::services::validation::{Request, Validation};
use crate::templates::Templates;
use crate::types::{ClientSecret, Invalid, Medium, NextLink, Sid, Token};

/// The fields of `requestToken` that do not name the address.
pub struct Common {
    client_secret: ClientSecret,
    send_attempt: u64,
    next_link: Option<NextLink>,
    brand: Option<String>,
}

impl Common {
    /// Reads them.
    pub(super) fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let client_secret = params.required("client_secret", ClientSecret::parse);
        let send_attempt = params.required_value("send_attempt", send_attempt);
        let next_link = params.optional("next_link", NextLink::parse);
        let brand = params.optional("brand", |text| Ok(text.to_owned()));
        Ok(Self {
            client_secret: client_secret?,
            send_attempt: send_attempt?,
            next_link: next_link?,
            brand: brand?,
        })
    }

    /// The request in the language that the client asks for.
    pub(super) fn in_language(self, templates: &Templates, http: &HttpRequest) -> Request {
        Request {
            client_secret: self.client_secret,
            send_attempt: self.send_attempt,
            next_link: self.next_link,
            language: Some(pages::language(templates, http)),
            brand: self.brand,
        }
    }
}

/// A whole number, or one in a string as matrix-js-sdk sends it.
fn send_attempt(value: &Value) -> Result<u64, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("a whole number of at least 0");
    match value {
        Value::Number(number) => number.as_u64().ok_or(EXPECTED),
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map_err(|_| EXPECTED)
        }
        _ => Err(EXPECTED),
    }
}

/// The fields of `submitToken`, from a body or a query.
pub struct Submission {
    sid: Sid,
    client_secret: ClientSecret,
    token: Token,
}

impl Submission {
    /// Reads them, the token as its medium has it.
    pub(super) fn from_params(
        params: &mut Params,
        token: impl FnOnce(&Value) -> Result<Token, Invalid>,
    ) -> Result<Self, Refused> {
        let sid = params.required("sid", Sid::parse);
        let client_secret = params.required("client_secret", ClientSecret::parse);
        let token = params.required_value("token", token);
        Ok(Self {
            sid: sid?,
            client_secret: client_secret?,
            token: token?,
        })
    }

    /// Submits the token for a program, which is told what came of it.
    pub(super) async fn answer(
        self,
        medium: Medium,
        validation: &Validation,
        peer: Option<IpAddr>,
    ) -> Result<HttpResponse, ApiError> {
        validation
            .submit_token(medium, &self.sid, &self.client_secret, &self.token, peer)
            .await
            .map_err(|error| ApiError::from(error).with_success(false))?;
        Ok(answer::json(json!({ "success": true })))
    }
}

/// Submits the token for a person who follows a link: shows a page, or leads on to the session's `next_link`.
pub(super) async fn follow(
    medium: Medium,
    submission: Result<Submission, ApiError>,
    validation: &Validation,
    shown: pages::Shown<'_>,
    peer: Option<IpAddr>,
) -> Result<HttpResponse, ApiError> {
    let Submission {
        sid,
        client_secret,
        token,
    } = match submission {
        Ok(submission) => submission,
        Err(error) => return shown.failed(&error),
    };
    let submitted = validation
        .submit_token(medium, &sid, &client_secret, &token, peer)
        .await;
    match submitted {
        Ok(confirmed) => match confirmed.next_link {
            Some(link) => Ok(HttpResponse::Found()
                .insert_header((header::LOCATION, link))
                .finish()),
            None => shown.verified(None),
        },
        Err(error) => shown.failed(&error.into()),
    }
}
