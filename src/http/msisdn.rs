//! # Phone number associations
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#phone-number-associations>

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::answer;
use super::auth::Caller;
use super::error::ApiError;
use super::pages::Shown;
use super::params::{FromParams, Params, Refused};
use super::peer::Peer;
use super::state::State;
use super::validation::{Common, Submission, follow};
use crate::services::validation::Validation;
use crate::templates::Templates;
use crate::types::{Country, Invalid, Medium, Token};

/// The body of `requestToken`.
pub struct RequestToken {
    country: Country,
    /// As it was typed in; only where numbers are validated at all it is read.
    phone_number: String,
    common: Common,
}

impl FromParams for RequestToken {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let country = params.required("country", Country::parse);
        let phone_number = params.required("phone_number", |text| Ok(text.to_owned()));
        let common = Common::from_params(params);
        Ok(Self {
            country: country?,
            phone_number: phone_number?,
            common: common?,
        })
    }
}

/// `POST /_matrix/identity/{api/v1,v2}/validate/msisdn/requestToken`
///
/// Makes a session for the number, or finds the client's own, and sends an SMS if `send_attempt` is higher than before.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validatemsisdnrequesttoken>
///
/// # Errors
/// 400 `M_INVALID_ADDRESS`, `M_DESTINATION_REJECTED`, `M_SEND_ERROR`, `M_UNRECOGNIZED` where there is no provider; 429 over
/// a limit or the day's budget.
pub async fn request_token(
    caller: Caller,
    validation: web::Data<Validation>,
    templates: web::Data<Templates>,
    peer: Peer,
    http: HttpRequest,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let RequestToken {
        country,
        phone_number,
        common,
    } = params.read()?;
    let request = common.in_language(&templates, &http);
    let (sid, number) = validation
        .request_sms_token(&country, &phone_number, request, caller.mxid(), peer.0)
        .await?;
    Ok(answer::json(json!({
        "sid": sid.as_str(),
        "msisdn": number.msisdn().as_str(),
        "intl_fmt": number.international(),
        "success": true,
    })))
}

fn submission(params: &mut Params) -> Result<Submission, Refused> {
    Submission::from_params(params, code)
}

/// A code as people type it in, perhaps in groups; a number counts as its digits, and as those of the code that it lost on
/// its left.
fn code(value: &Value) -> Result<Token, Invalid> {
    match value {
        Value::String(text) => {
            let code: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            Token::parse(&code)
        }
        Value::Number(number) => match number.as_u64() {
            Some(number) => Token::parse(&format!("{number:06}")),
            None => Err(EXPECTED),
        },
        _ => Err(EXPECTED),
    }
}

const EXPECTED: Invalid = Invalid::expecting("a string or a whole number");

/// `POST /_matrix/identity/{api/v1,v2}/validate/msisdn/submitToken`
///
/// Validates the session if the code is its own. The right code again is a success again; `next_link` is not followed.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2validatemsisdnsubmittoken>
///
/// # Errors
/// 400 `M_TOKEN_INCORRECT`, `M_SESSION_EXPIRED`, `M_NO_VALID_SESSION`; 429 after too many wrong codes; each with
/// `"success": false`.
pub async fn submit_token(
    _: Caller,
    validation: web::Data<Validation>,
    peer: Peer,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let submission = params.read_by(submission)?;
    submission.answer(Medium::Msisdn, &validation, peer.0).await
}

/// `GET /_matrix/identity/{api/v1,v2}/validate/msisdn/submitToken`
///
/// The same for a person who follows a link: answers a page, or leads on to the session's `next_link`.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2validatemsisdnsubmittoken>
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
    follow(Medium::Msisdn, submission, &validation, shown, peer.0).await
}
