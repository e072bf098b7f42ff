//! The one error of the API: a status, an errcode, and a sentence. What a service reports is turned into it here,
//! exhaustively, and its cause is kept for the request's log line.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

use crate::limits::{Action, Limited};
use crate::random::RandomError;
use crate::services::accounts::RegisterError;
use crate::services::associations::{BindError, LookupError, UnbindError};
use crate::services::invitations::{InviteError, SignError};
use crate::services::terms::AcceptError;
use crate::services::validation::{PhoneError, Unserved, ValidationError};
use crate::services::{FederationError, Outcome, SendError, SmsError, StoreError};

/// The errcodes that this server answers (specification, "Standard error response").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrCode {
    /// The body is not an object.
    BadJson,
    /// No SMS go to numbers of this country or kind.
    DestinationRejected,
    /// The mail could not be sent.
    EmailSendError,
    /// Not allowed.
    Forbidden,
    /// Not a phone number.
    InvalidAddress,
    /// Not an e-mail address.
    InvalidEmail,
    /// A parameter has a wrong type or value.
    InvalidParam,
    /// The pepper of a lookup is not the one that holds.
    InvalidPepper,
    /// Too many requests.
    LimitExceeded,
    /// Required parameters are missing.
    MissingParams,
    /// No such thing.
    NotFound,
    /// The body cannot be read.
    NotJson,
    /// No such session.
    NoValidSession,
    /// The SMS could not be sent.
    SendError,
    /// The session came to its end.
    SessionExpired,
    /// The session's token has not been submitted.
    SessionNotValidated,
    /// A policy of this server has not been accepted.
    TermsNotSigned,
    /// The 3PID is bound to a user.
    ThreepidInUse,
    /// The token is wrong.
    TokenIncorrect,
    /// The body, or a list in it, is too large.
    TooLarge,
    /// Our own failure.
    Unknown,
    /// No or no valid access token, or not this account's business.
    Unauthorized,
    /// The token to be ended is unknown.
    UnknownToken,
    /// The path, method or medium is not served.
    Unrecognized,
}

impl ErrCode {
    /// The code as clients read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "M_BAD_JSON",
            Self::DestinationRejected => "M_DESTINATION_REJECTED",
            Self::EmailSendError => "M_EMAIL_SEND_ERROR",
            Self::Forbidden => "M_FORBIDDEN",
            Self::InvalidAddress => "M_INVALID_ADDRESS",
            Self::InvalidEmail => "M_INVALID_EMAIL",
            Self::InvalidParam => "M_INVALID_PARAM",
            Self::InvalidPepper => "M_INVALID_PEPPER",
            Self::LimitExceeded => "M_LIMIT_EXCEEDED",
            Self::MissingParams => "M_MISSING_PARAMS",
            Self::NotFound => "M_NOT_FOUND",
            Self::NotJson => "M_NOT_JSON",
            Self::NoValidSession => "M_NO_VALID_SESSION",
            Self::SendError => "M_SEND_ERROR",
            Self::SessionExpired => "M_SESSION_EXPIRED",
            Self::SessionNotValidated => "M_SESSION_NOT_VALIDATED",
            Self::TermsNotSigned => "M_TERMS_NOT_SIGNED",
            Self::ThreepidInUse => "M_THREEPID_IN_USE",
            Self::TokenIncorrect => "M_TOKEN_INCORRECT",
            Self::TooLarge => "M_TOO_LARGE",
            Self::Unknown => "M_UNKNOWN",
            Self::Unauthorized => "M_UNAUTHORIZED",
            Self::UnknownToken => "M_UNKNOWN_TOKEN",
            Self::Unrecognized => "M_UNRECOGNIZED",
        }
    }
}

/// A refusal as the client sees it, with the cause that only the log sees.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    errcode: ErrCode,
    message: Cow<'static, str>,
    more: Map<String, Value>,
    retry_after: Option<u64>,
    limit: Option<Action>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl ApiError {
    /// A refusal in one of our own sentences.
    pub fn new(
        status: StatusCode,
        errcode: ErrCode,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            errcode,
            message: message.into(),
            more: Map::new(),
            retry_after: None,
            limit: None,
            cause: None,
        }
    }

    /// A 400.
    pub fn bad_request(errcode: ErrCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, errcode, message)
    }

    /// A 400 for a parameter whose value is wrong.
    pub fn invalid_param(name: &str, expected: &str) -> Self {
        Self::bad_request(
            ErrCode::InvalidParam,
            format!("`{name}` must be {expected}."),
        )
    }

    /// A 429.
    pub fn limited(limited: &Limited) -> Self {
        Self {
            limit: Some(limited.action),
            ..Self::too_many("Too many requests; try again later.", limited.retry_after)
        }
    }

    fn too_many(message: &'static str, retry_after: Duration) -> Self {
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrCode::LimitExceeded,
            message,
        );
        let millis = retry_after.as_millis().max(1);
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        error
            .more
            .insert("retry_after_ms".to_owned(), millis.into());
        error.retry_after = Some(millis.div_ceil(1000));
        error
    }

    /// A 503 for a request that is one too many at once.
    pub fn overloaded() -> Self {
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrCode::Unknown,
            "The server has too much to do at the moment; try again in a moment.",
        );
        error.retry_after = Some(1);
        error
    }

    /// A failure of the server itself.
    pub fn internal(cause: impl StdError + Send + Sync + 'static) -> Self {
        let error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrCode::Unknown,
            "The server failed to do this; its operator finds the reason in the log.",
        );
        error.caused_by(cause)
    }

    /// A 404 for a session that does not exist.
    pub fn no_session_404() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrCode::NoValidSession, NO_SESSION)
    }

    /// With a further field in the answer.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// With `success` in the answer, as `submitToken` wants it.
    #[must_use]
    pub fn with_success(mut self, success: bool) -> Self {
        self.more.insert("success".to_owned(), success.into());
        self
    }

    fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// The errcode, for the log line and for pages.
    pub fn errcode(&self) -> ErrCode {
        self.errcode
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the log is to say of this refusal.
    pub fn report(&self) -> Report {
        Report {
            errcode: self.errcode,
            limit: self.limit,
            cause: self.cause.as_deref().map(chain),
        }
    }
}

/// What the log says of a refusal; it travels with the answer to where the request is logged.
#[derive(Debug, Clone)]
pub struct Report {
    /// The errcode that the client was given.
    pub errcode: ErrCode,
    /// The limit that was reached, if one was.
    pub limit: Option<Action>,
    /// What the log should know and the client should not.
    pub cause: Option<String>,
}

/// An error and its sources in one line.
fn chain(error: &(dyn StdError + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut body = self.more.clone();
        body.insert("errcode".to_owned(), self.errcode.as_str().into());
        body.insert("error".to_owned(), json!(self.message));
        let mut response = HttpResponse::build(self.status);
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        let mut response = response.json(body);
        response.extensions_mut().insert(self.report());
        response
    }
}

impl From<RandomError> for ApiError {
    fn from(error: RandomError) -> Self {
        Self::internal(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            let mut answer = Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrCode::Unknown,
                "The server cannot store anything at the moment; try again later.",
            );
            answer.retry_after = Some(Duration::from_secs(30).as_secs());
            return answer.caused_by(error);
        }
        Self::internal(error)
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::NotAllowed => {
                Self::new(StatusCode::FORBIDDEN, ErrCode::Forbidden, NOT_SERVED)
            }
            RegisterError::Federation(error) => match error.outcome() {
                Outcome::Success | Outcome::Rejected | Outcome::Forged => Self::new(
                    StatusCode::UNAUTHORIZED,
                    ErrCode::Unauthorized,
                    "The homeserver does not vouch for this token.",
                )
                .caused_by(error),
                Outcome::Refused => Self::invalid_param(
                    "matrix_server_name",
                    "a homeserver at an address that this server may connect to",
                )
                .caused_by(error),
                _ => error.into(),
            },
            RegisterError::Limited(limited) => Self::limited(&limited),
            RegisterError::Random(error) => error.into(),
            RegisterError::Store(error) => error.into(),
        }
    }
}

impl From<FederationError> for ApiError {
    /// A homeserver that cannot be asked is a failure of the way there.
    fn from(error: FederationError) -> Self {
        if let FederationError::KeyFetchLimited { retry_after, .. } = &error {
            let limited = Limited {
                action: Action::KeyFetchesByServer,
                retry_after: *retry_after,
            };
            return Self::limited(&limited);
        }
        let (status, message) = match error.outcome() {
            Outcome::Timeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "The homeserver did not answer in time.",
            ),
            Outcome::BadAnswer => (
                StatusCode::BAD_GATEWAY,
                "The homeserver's answer cannot be used.",
            ),
            _ => (StatusCode::BAD_GATEWAY, "The homeserver cannot be reached."),
        };
        Self::new(status, ErrCode::Unknown, message).caused_by(error)
    }
}

const NOT_SERVED: &str = "This server does not serve users of this homeserver.";
const NO_SESSION: &str = "There is no session with this `sid` and `client_secret`.";
const EXPIRED: &str = "The session has expired; ask for a new token.";
const NOT_VALIDATED: &str = "The session's token has not been submitted yet.";

impl From<ValidationError> for ApiError {
    fn from(error: ValidationError) -> Self {
        match error {
            ValidationError::NoSession => Self::bad_request(ErrCode::NoValidSession, NO_SESSION),
            ValidationError::Expired => Self::bad_request(ErrCode::SessionExpired, EXPIRED),
            ValidationError::NotValidated => {
                Self::bad_request(ErrCode::SessionNotValidated, NOT_VALIDATED)
            }
            ValidationError::TokenIncorrect => {
                Self::bad_request(ErrCode::TokenIncorrect, "The token is wrong.")
            }
            ValidationError::NextLinkHost => Self::invalid_param(
                "next_link",
                "a link to a host that this server's operator allows",
            ),
            ValidationError::Limited(limited) => Self::limited(&limited),
            ValidationError::Send(error) => error.into(),
            ValidationError::Phone(error) => error.into(),
            ValidationError::Template(error) => Self::internal(error),
            ValidationError::Random(error) => error.into(),
            ValidationError::Store(error) => error.into(),
        }
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NoTransport => Self::bad_request(
                ErrCode::Unrecognized,
                "This server does not send e-mail, so it cannot validate e-mail addresses.",
            ),
            SendError::NeedsSmtpUtf8 => Self::bad_request(
                ErrCode::InvalidEmail,
                "This server cannot send to addresses with other characters than ASCII before the `@`.",
            ),
            SendError::Refused { .. } | SendError::NoSmtpUtf8 { .. } | SendError::Address => {
                Self::bad_request(
                    ErrCode::EmailSendError,
                    "The mail server refused to take a mail for this address.",
                )
                .caused_by(error)
            }
            SendError::Temporary(_) => Self::bad_request(
                ErrCode::EmailSendError,
                "The mail could not be sent at the moment; try again later.",
            )
            .caused_by(error),
            SendError::Message(_) => Self::internal(error),
        }
    }
}

impl From<PhoneError> for ApiError {
    fn from(error: PhoneError) -> Self {
        match error {
            PhoneError::Number(invalid) => Self::bad_request(
                ErrCode::InvalidAddress,
                format!("`phone_number` must be {}.", invalid.expected()),
            ),
            PhoneError::Unserved(Unserved::Country) => Self::bad_request(
                ErrCode::DestinationRejected,
                "This server sends no SMS to numbers of this country.",
            ),
            PhoneError::Unserved(Unserved::Kind) => Self::bad_request(
                ErrCode::DestinationRejected,
                "This server sends no SMS to numbers of this kind; use that of a mobile phone.",
            ),
            PhoneError::Stopped => Self::bad_request(
                ErrCode::SendError,
                "The operator of this server has stopped all SMS; try again another day.",
            ),
            PhoneError::OverBudget { again_in } => Self::too_many(
                "This server has sent all the SMS that it sends in a day; try again later.",
                again_in,
            ),
            PhoneError::Send(SmsError::NoTransport) => Self::bad_request(
                ErrCode::Unrecognized,
                "This server does not send SMS, so it cannot validate phone numbers.",
            ),
            PhoneError::Send(error) => Self::bad_request(
                ErrCode::SendError,
                "The SMS for this number could not be sent.",
            )
            .caused_by(error),
        }
    }
}

impl From<BindError> for ApiError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::NoSession => Self::no_session_404(),
            BindError::Expired => Self::bad_request(ErrCode::SessionExpired, EXPIRED),
            BindError::NotValidated => {
                Self::bad_request(ErrCode::SessionNotValidated, NOT_VALIDATED)
            }
            BindError::OtherUser => Self::new(
                StatusCode::FORBIDDEN,
                ErrCode::Unauthorized,
                "`mxid` must be the user that the access token belongs to.",
            ),
            BindError::NotServed => {
                Self::new(StatusCode::FORBIDDEN, ErrCode::Forbidden, NOT_SERVED)
            }
            BindError::Sign(error) => Self::internal(error),
            BindError::Random(error) => Self::internal(error),
            BindError::Store(error) => error.into(),
        }
    }
}

impl From<InviteError> for ApiError {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::OtherUser => Self::new(
                StatusCode::FORBIDDEN,
                ErrCode::Unauthorized,
                "`sender` must be the user that the access token belongs to.",
            ),
            InviteError::NotServed => {
                Self::new(StatusCode::FORBIDDEN, ErrCode::Forbidden, NOT_SERVED)
            }
            InviteError::Blocked => Self::new(
                StatusCode::FORBIDDEN,
                ErrCode::Forbidden,
                "This server's operator does not allow this invitation.",
            ),
            InviteError::InUse(mxid) => Self::bad_request(
                ErrCode::ThreepidInUse,
                "The address is bound to a user, who can be invited as such.",
            )
            .with("mxid", mxid.as_str()),
            InviteError::Limited(limited) => Self::limited(&limited),
            InviteError::Send(SendError::NoTransport) => Self::bad_request(
                ErrCode::Unrecognized,
                "This server does not send e-mail, so it cannot invite e-mail addresses.",
            ),
            InviteError::Send(error) => error.into(),
            InviteError::Template(error) => Self::internal(error),
            error @ (InviteError::Key(_) | InviteError::OtherSecret) => Self::internal(error),
            InviteError::Random(error) => error.into(),
            InviteError::Store(error) => error.into(),
        }
    }
}

impl From<SignError> for ApiError {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Unknown => Self::new(
                StatusCode::NOT_FOUND,
                ErrCode::Unrecognized,
                "There is no invitation with this token, or it has ended.",
            ),
            SignError::NotItsKey => Self::new(
                StatusCode::FORBIDDEN,
                ErrCode::Forbidden,
                "The private key is not the one of this invitation.",
            ),
            SignError::Sign(error) => Self::internal(error),
            SignError::Store(error) => error.into(),
        }
    }
}

impl From<UnbindError> for ApiError {
    fn from(error: UnbindError) -> Self {
        match error {
            UnbindError::Forbidden => Self::new(
                StatusCode::FORBIDDEN,
                ErrCode::Forbidden,
                "Nothing in this request proves that it may remove this association.",
            ),
            UnbindError::Expired => Self::bad_request(ErrCode::SessionExpired, EXPIRED),
            UnbindError::NotValidated => {
                Self::bad_request(ErrCode::SessionNotValidated, NOT_VALIDATED)
            }
            UnbindError::Federation(error) => match error.outcome() {
                // A homeserver reads 400, 404 and 501 as "not supported", and forgets the binding.
                Outcome::Success | Outcome::Rejected | Outcome::Forged => Self::new(
                    StatusCode::FORBIDDEN,
                    ErrCode::Forbidden,
                    "The signature of this request is missing, malformed or false.",
                )
                .caused_by(error),
                _ => error.into(),
            },
            UnbindError::Limited(limited) => Self::limited(&limited),
            UnbindError::Store(error) => error.into(),
        }
    }
}

impl From<AcceptError> for ApiError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::UnknownUrl => Self::invalid_param(
                "user_accepts",
                "a list of URLs that `GET terms` names at the moment",
            ),
            AcceptError::Store(error) => error.into(),
        }
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Limited(limited) => Self::limited(&limited),
            LookupError::Sign(error) => Self::internal(error),
            LookupError::Store(error) => error.into(),
        }
    }
}
