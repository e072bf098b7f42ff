//! Who calls, decided before anything else of a request is looked at.
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#authentication>

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::{FromRequest, HttpRequest, web};

use super::error::{ApiError, ErrCode};
use super::routes::{Route, Version};
use crate::services::accounts::{Account, Accounts};
use crate::services::terms::Terms;
use crate::types::{AccessToken, UserId};

/// The account of a v2 call. A handler that takes this cannot be reached without a token, nor before its user has accepted
/// the terms.
pub struct Authenticated(pub Account);

/// The account of a v2 call that the terms do not stand in the way of: accepting them, and leaving. A handler may also
/// take it as a [`Result`], to answer a refusal in its own way.
pub struct AuthenticatedNoTerms(pub Account);

/// Who makes a call that v1 and v2 share: anybody on v1, an account on v2.
pub enum Caller {
    /// A call of v1, which knows no accounts.
    Anyone,
    /// The account of a v2 call.
    Account(Account),
}

impl Caller {
    /// The user of the account, on v2.
    pub fn mxid(&self) -> Option<&UserId> {
        match self {
            Self::Anyone => None,
            Self::Account(account) => Some(&account.mxid),
        }
    }
}

/// Why a call may not be made.
#[derive(Debug)]
pub enum Refusal {
    /// No token was shown.
    NoToken,
    /// The token is not one of ours, or has ended.
    UnknownToken,
    /// The user has not accepted every policy in its current version.
    TermsNotSigned,
    /// The store failed.
    Failed(ApiError),
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let unauthorized = |message: &'static str| {
            Self::new(StatusCode::UNAUTHORIZED, ErrCode::Unauthorized, message)
        };
        match refusal {
            Refusal::NoToken => unauthorized("This call needs an access token of this server."),
            Refusal::UnknownToken => {
                unauthorized("The access token is unknown or has ended; register again.")
            }
            Refusal::TermsNotSigned => Self::new(
                StatusCode::FORBIDDEN,
                ErrCode::TermsNotSigned,
                "This server's terms must be accepted first; `GET terms` names them.",
            ),
            Refusal::Failed(error) => error,
        }
    }
}

impl From<Refusal> for actix_web::Error {
    fn from(refusal: Refusal) -> Self {
        ApiError::from(refusal).into()
    }
}

/// The account whose token the request shows.
fn authenticate(request: &HttpRequest) -> Result<Account, Refusal> {
    let token = presented_token(request).ok_or(Refusal::NoToken)?;
    let accounts = request
        .app_data::<web::Data<Accounts>>()
        .ok_or(Refusal::UnknownToken)?;
    match accounts.authenticate(&token) {
        Ok(Some(account)) => Ok(account),
        Ok(None) => Err(Refusal::UnknownToken),
        Err(error) => Err(Refusal::Failed(error.into())),
    }
}

/// The account whose token the request shows, if its user has accepted the terms.
fn authenticate_with_terms(request: &HttpRequest) -> Result<Account, Refusal> {
    let account = authenticate(request)?;
    let terms = request
        .app_data::<web::Data<Terms>>()
        .ok_or(Refusal::TermsNotSigned)?;
    match terms.are_accepted(&account.mxid) {
        Ok(true) => Ok(account),
        Ok(false) => Err(Refusal::TermsNotSigned),
        Err(error) => Err(Refusal::Failed(error.into())),
    }
}

/// The token of the header, or else of the query.
fn presented_token(request: &HttpRequest) -> Option<AccessToken> {
    let bearer = request
        .headers()
        .get_all(header::AUTHORIZATION)
        .filter_map(|value| value.to_str().ok()?.split_once(' '))
        .find(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| AccessToken::presented(token.trim()));
    bearer.or_else(|| {
        url::form_urlencoded::parse(request.query_string().as_bytes())
            .find(|(name, _)| name == "access_token")
            .map(|(_, token)| AccessToken::presented(&token))
    })
}

impl FromRequest for Authenticated {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(authenticate_with_terms(request).map(Self))
    }
}

impl FromRequest for AuthenticatedNoTerms {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(authenticate(request).map(Self))
    }
}

impl FromRequest for Caller {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match request.app_data::<Route>().map(Route::version) {
            Some(Version::V1) => Ok(Self::Anyone),
            _ => authenticate_with_terms(request).map(Self::Account),
        })
    }
}
