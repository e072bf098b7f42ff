use std::time::Duration;

use super::keys::KeyProblem;
use crate::net::RequestError;

/// A homeserver did not vouch, or what claims to come from it cannot be believed. One sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// The homeserver does not know the token.
    #[error("`{server}` rejects the token (status {status})")]
    Rejected {
        /// The homeserver.
        server: String,
        /// Its answer: 401 or 403.
        status: u16,
    },
    /// The homeserver vouches for a user that is not its own.
    #[error("`{0}` vouched for a user of another server")]
    VouchedForOther(String),
    /// The `Authorization` header is no X-Matrix, or lacks a part.
    #[error("the X-Matrix header is malformed: {0}")]
    Malformed(&'static str),
    /// The request is meant for another server.
    #[error("the request of `{0}` is meant for another server")]
    OtherDestination(String),
    /// The homeserver has no such key.
    #[error("`{0}` has no key with the id that the signature names")]
    UnknownKey(String),
    /// The signature does not hold.
    #[error("the signature of `{0}` does not hold")]
    BadSignature(String),
    /// The homeserver's keys were fetched too often of late.
    #[error("the keys of `{server}` were fetched too often of late")]
    KeyFetchLimited {
        /// The homeserver.
        server: String,
        /// After how long a next fetch is allowed.
        retry_after: Duration,
    },
    /// The homeserver answers what a homeserver does not answer.
    #[error("`{server}` answers wrongly: {problem}")]
    BadAnswer {
        /// The homeserver.
        server: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The homeserver's keys are not in order.
    #[error("the keys of `{server}` are not in order: {problem}")]
    BadKeys {
        /// The homeserver.
        server: String,
        /// What is wrong.
        problem: KeyProblem,
    },
    /// There is no answer.
    #[error("cannot ask the homeserver `{server}`: {source}")]
    Request {
        /// The homeserver.
        server: String,
        /// Why not.
        source: RequestError,
    },
    /// The homeserver answers that it does not take what it was told.
    #[error("`{server}` does not take it: it answers {status}{}", .errcode.as_ref().map(|errcode| format!(" {errcode}")).unwrap_or_default())]
    NotTaken {
        /// The homeserver.
        server: String,
        /// Its status.
        status: u16,
        /// Its errcode, if it gave one.
        errcode: Option<String>,
    },
    /// The homeserver does not know the call.
    #[error("`{0}` does not know the call: it serves onbind neither by POST nor by PUT")]
    NoSuchCall(String),
    /// What is to be told cannot be written as JSON. A mistake of ours.
    #[error("what is to be told cannot be written as JSON")]
    Unwritable,
    /// There is no answer in time, all steps of finding the homeserver included.
    #[error("`{0}` did not answer within federation.timeout")]
    Timeout(String),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// How asking a homeserver, or checking its signature, went: what answers and metrics are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It vouched, or its signature holds.
    Success,
    /// It does not vouch.
    Rejected,
    /// What claims to be its is false or malformed.
    Forged,
    /// It lies where this server does not go.
    Refused,
    /// It cannot be reached.
    Unreachable,
    /// It was reached, and answered nonsense.
    BadAnswer,
    /// It was too slow.
    Timeout,
    /// It was asked too often.
    Limited,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::Rejected,
        Self::Forged,
        Self::Refused,
        Self::Unreachable,
        Self::BadAnswer,
        Self::Timeout,
        Self::Limited,
    ];

    /// Its name where it is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Rejected => "rejected",
            Self::Forged => "forged",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::BadAnswer => "bad_answer",
            Self::Timeout => "timeout",
            Self::Limited => "limited",
        }
    }
}

impl FederationError {
    pub(super) fn request(server: &impl ToString, source: RequestError) -> Self {
        Self::Request {
            server: server.to_string(),
            source,
        }
    }

    /// After how long to ask again, if it was asked too often.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeyFetchLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether it is what the homeserver was told that it does not take, so that it might take something else: it answered
    /// as a homeserver does, with an errcode, and did not ask for patience.
    pub fn refuses_content(&self) -> bool {
        matches!(self, Self::NotTaken { status, errcode: Some(_), .. } if *status != 429)
    }

    /// Sorts the error by what the asker is to be told.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Rejected { .. }
            | Self::VouchedForOther(_)
            | Self::NotTaken { .. }
            | Self::NoSuchCall(_) => Outcome::Rejected,
            Self::Malformed(_)
            | Self::OtherDestination(_)
            | Self::UnknownKey(_)
            | Self::BadSignature(_) => Outcome::Forged,
            Self::KeyFetchLimited { .. } => Outcome::Limited,
            Self::BadAnswer { .. } | Self::BadKeys { .. } => Outcome::BadAnswer,
            Self::Timeout(_) => Outcome::Timeout,
            Self::Stopping | Self::Unwritable => Outcome::Unreachable,
            Self::Request { source, .. } => match source {
                RequestError::BadName(_) | RequestError::Refused { .. } => Outcome::Refused,
                RequestError::Timeout { .. } => Outcome::Timeout,
                RequestError::TooLarge { .. } => Outcome::BadAnswer,
                RequestError::Resolve(_)
                | RequestError::Connect { .. }
                | RequestError::Tls { .. }
                | RequestError::Broken { .. } => Outcome::Unreachable,
            },
        }
    }
}
