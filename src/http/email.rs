//! # Email associations
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#email-associations>

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::answer;
use super::auth::Caller;
use super::error::{ApiError, ErrCode};
use super::pages::Shown;
use super::params::{FromParams, Params, Refused};
use super::peer::Peer;
use super::state::State;
use super::validation::{Common, Submission, follow};
use crate::services::validation::Validation;
use crate::templates::Templates;
use crate::types::{Email, Invalid, Medium, Token};

/// The body of `requestToken`.
pub struct RequestToken {
    email: Email,
    common: Common,
}

impl FromParams for RequestToken {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let text = params.required("email", |text| Ok(text.to_owned()));
        let common = Common::from_params(params);
        let email = Email::parse(&text?).map_err(|invalid| {
            let message = format!("`email` must be {}.", invalid.expected());
            params.fail(ApiError::bad_request(ErrCode::InvalidEmail, message))
        });
        Ok(Self {
            email: email?,
            common: common?,
        })
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
    caller: Caller,
    validation: web::Data<Validation>,
    templates: web::Data<Templates>,
    peer: Peer,
    http: HttpRequest,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let RequestToken { email, common } = params.read()?;
    let request = common.in_language(&templates, &http);
    let sid = validation
        .request_email_token(email, request, caller.mxid(), peer.0)
        .await?;
    Ok(answer::json(json!({ "sid": sid.as_str() })))
}

fn submission(params: &mut Params) -> Result<Submission, Refused> {
    Submission::from_params(params, token)
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
    let submission = params.read_by(submission)?;
    submission.answer(Medium::Email, &validation, peer.0).await
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
    let submission = params.and_then(|params| params.read_by(submission));
    let shown = Shown::to(&state, &http);
    follow(Medium::Email, submission, &validation, shown, peer.0).await
}
