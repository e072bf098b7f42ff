//! # Email associations
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#email-associations>

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::{ApiError, ErrCode};
use super::pages;
use super::params::{FromParams, Params, Refused};
use super::peer::Peer;
use super::state::State;
use crate::services::validation::{EmailTokenRequest, Validation};
use crate::templates::Templates;
use crate::types::{ClientSecret, Email, Invalid, Medium, NextLink, Sid, Token};

/// The body of `requestToken`.
pub struct RequestToken {
    client_secret: ClientSecret,
    email: Email,
    send_attempt: u64,
    next_link: Option<NextLink>,
    brand: Option<String>,
}

impl FromParams for RequestToken {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let client_secret = params.required("client_secret", ClientSecret::parse);
        let text = params.required("email", |text| Ok(text.to_owned()));
        let send_attempt = params.required_value("send_attempt", send_attempt);
        let next_link = params.optional("next_link", NextLink::parse);
        let brand = params.optional("brand", |text| Ok(text.to_owned()));
        let email = Email::parse(&text?).map_err(|invalid| {
            let message = format!("`email` must be {}.", invalid.expected());
            params.fail(ApiError::bad_request(ErrCode::InvalidEmail, message))
        });
        Ok(Self {
            client_secret: client_secret?,
            email: email?,
            send_attempt: send_attempt?,
            next_link: next_link?,
            brand: brand?,
        })
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

/// `POST /_matrix/identity/{api/v1,v2}/validate/email/requestToken`
///
/// Makes a session for the address, or finds the client's own, and sends a mail if `send_attempt` is higher than before.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validateemailrequesttoken>
///
/// # Errors
/// 400 `M_INVALID_EMAIL`, `M_EMAIL_SEND_ERROR`; 429 over a limit.
pub async fn request_token(
    _: Caller,
    validation: web::Data<Validation>,
    templates: web::Data<Templates>,
    peer: Peer,
    http: HttpRequest,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let request: RequestToken = params.read()?;
    let RequestToken {
        client_secret,
        email,
        send_attempt,
        next_link,
        brand,
    } = request;
    let language = Some(pages::language(&templates, &http));
    let request = EmailTokenRequest {
        email,
        client_secret,
        send_attempt,
        next_link,
        language,
        brand,
    };
    let sid = validation.request_email_token(request, peer.0).await?;
    Ok(HttpResponse::Ok().json(json!({ "sid": sid.as_str() })))
}

/// The fields of `submitToken`, from a body or a query.
pub struct SubmitToken {
    sid: Sid,
    client_secret: ClientSecret,
    token: Token,
}

impl FromParams for SubmitToken {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let sid = params.required("sid", Sid::parse);
        let client_secret = params.required("client_secret", ClientSecret::parse);
        let token = params.required_value("token", token);
        Ok(Self {
            sid: sid?,
            client_secret: client_secret?,
            token: token?,
        })
    }
}

/// A token; a number counts as its digits.
fn token(value: &Value) -> Result<Token, Invalid> {
    match value {
        Value::String(text) => Token::parse(text),
        Value::Number(number) if number.is_u64() => Token::parse(&number.to_string()),
        _ => Err(Invalid::expecting("a string or a whole number")),
    }
}

/// `POST /_matrix/identity/{api/v1,v2}/validate/email/submitToken`
///
/// Validates the session if the token is its own. The right token again is a success again; `next_link` is not followed.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validateemailsubmittoken>
///
/// # Errors
/// 400 `M_TOKEN_INCORRECT`, `M_SESSION_EXPIRED`, `M_NO_VALID_SESSION`, each with `"success": false`.
pub async fn submit_token(
    _: Caller,
    validation: web::Data<Validation>,
    peer: Peer,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let SubmitToken {
        sid,
        client_secret,
        token,
    } = params.read()?;
    validation
        .submit_token(Medium::Email, &sid, &client_secret, &token, peer.0)
        .await
        .map_err(|error| ApiError::from(error).with_success(false))?;
    Ok(HttpResponse::Ok().json(json!({ "success": true })))
}

/// `GET /_matrix/identity/{api/v1,v2}/validate/email/submitToken`
///
/// The same for a person who follows a link: answers a page, or leads on to the session's `next_link`.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2validateemailsubmittoken>
///
/// # Errors
/// Every refusal is a page.
pub async fn submit_token_by_link(
    validation: web::Data<Validation>,
    state: web::Data<State>,
    peer: Peer,
    http: HttpRequest,
    params: Result<Params, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let shown = pages::Shown::to(&state, &http);
    let SubmitToken {
        sid,
        client_secret,
        token,
    } = match params.and_then(Params::read) {
        Ok(request) => request,
        Err(error) => return shown.failed(&error),
    };
    let submitted = validation
        .submit_token(Medium::Email, &sid, &client_secret, &token, peer.0)
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
