//! # Establishing associations
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#establishing-associations>

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{FromParams, Params, Refused};
use super::peer::Peer;
use crate::services::SignedRequest;
use crate::services::associations::{Associations, UnbindError};
use crate::services::validation::{Validation, ValidationError};
use crate::types::{ClientSecret, Invalid, Medium, Sid, ThreePid, Timestamp, UserId};

/// The query of `getValidated3pid`.
pub struct GetValidated {
    sid: Sid,
    client_secret: ClientSecret,
}

impl FromParams for GetValidated {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let sid = params.required("sid", Sid::parse);
        let client_secret = params.required("client_secret", ClientSecret::parse);
        Ok(Self {
            sid: sid?,
            client_secret: client_secret?,
        })
    }
}

/// `GET /_matrix/identity/{api/v1,v2}/3pid/getValidated3pid`
///
/// The 3PID that a validated session proves, and since when.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv23pidgetvalidated3pid>
///
/// # Errors
/// 404 `M_NO_VALID_SESSION`; 400 `M_SESSION_EXPIRED`, `M_SESSION_NOT_VALIDATED`.
pub async fn get_validated_3pid(
    _: Caller,
    validation: web::Data<Validation>,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let GetValidated { sid, client_secret } = params.read()?;
    let session = validation
        .validated(&sid, &client_secret)
        .map_err(|error| match error {
            ValidationError::NoSession => ApiError::no_session_404(),
            other => other.into(),
        })?;
    Ok(answer::json(Proved {
        medium: session.threepid.medium(),
        address: session.threepid.address(),
        validated_at: session.validated_at,
    }))
}

/// The answer of `getValidated3pid`.
#[derive(Serialize)]
struct Proved<'a> {
    medium: Medium,
    address: &'a str,
    validated_at: Timestamp,
}

/// The body of `bind`.
pub struct Bind {
    sid: Sid,
    client_secret: ClientSecret,
    mxid: UserId,
}

impl FromParams for Bind {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let sid = params.required("sid", Sid::parse);
        let client_secret = params.required("client_secret", ClientSecret::parse);
        let mxid = params.required("mxid", UserId::parse);
        Ok(Self {
            sid: sid?,
            client_secret: client_secret?,
            mxid: mxid?,
        })
    }
}

/// `POST /_matrix/identity/{api/v1,v2}/3pid/bind`
///
/// Publishes the association of the session's 3PID with a user, and answers it signed.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv23pidbind>
///
/// # Errors
/// 404 `M_NO_VALID_SESSION`; 400 `M_SESSION_EXPIRED`, `M_SESSION_NOT_VALIDATED`; 403 `M_UNAUTHORIZED` for a user who is
/// not the account's own, `M_FORBIDDEN` for one whose homeserver is not served.
pub async fn bind(
    caller: Caller,
    associations: web::Data<Associations>,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let Bind {
        sid,
        client_secret,
        mxid,
    } = params.read()?;
    let association = associations
        .bind(sid, &client_secret, mxid, caller.mxid())
        .await?;
    Ok(answer::json(association))
}

/// The body of `unbind`.
pub struct Unbind {
    mxid: UserId,
    /// None for an address that cannot be anybody's.
    threepid: Option<ThreePid>,
    session: Option<(Sid, ClientSecret)>,
}

impl FromParams for Unbind {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let mxid = params.required("mxid", UserId::parse);
        let threepid = params.required_value("threepid", threepid);
        let sid = params.optional("sid", Sid::parse);
        let client_secret = params.optional("client_secret", ClientSecret::parse);
        Ok(Self {
            mxid: mxid?,
            threepid: threepid?,
            session: sid?.zip(client_secret?),
        })
    }
}

/// A 3PID object. An address that is none is let through as such: it can be nobody's, and a homeserver would read a 400
/// as "not supported".
fn threepid(value: &Value) -> Result<Option<ThreePid>, Invalid> {
    const EXPECTED: Invalid =
        Invalid::expecting("an object with the strings `medium` and `address`");
    let field = |name: &str| value.get(name).and_then(Value::as_str).ok_or(EXPECTED);
    let (medium, address) = (field("medium")?, field("address")?);
    let medium = Medium::parse(medium)
        .map_err(|_| Invalid::expecting("an object whose `medium` is `email` or `msisdn`"))?;
    Ok(ThreePid::parse(medium, address).ok())
}

/// `POST /_matrix/identity/{api/v1,v2}/3pid/unbind`
///
/// Removes the association of a 3PID with a user, for whoever proves the 3PID by a session, or for the user's homeserver,
/// which signs the request. Takes no token; one that is shown is ignored.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv23pidunbind>
///
/// # Errors
/// 403 `M_FORBIDDEN` without proof or for a false signature; 400 `M_SESSION_EXPIRED`, `M_SESSION_NOT_VALIDATED`; 502 or
/// 504 when the homeserver's keys cannot be had.
pub async fn unbind(
    associations: web::Data<Associations>,
    peer: Peer,
    http: HttpRequest,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let content = Value::Object(params.fields().into_owned());
    let Unbind {
        mxid,
        threepid,
        session,
    } = params.read()?;
    if let Some((sid, client_secret)) = session {
        let threepid = threepid.ok_or(UnbindError::Forbidden)?;
        associations
            .unbind_by_session(sid, &client_secret, mxid, threepid)
            .await?;
    } else {
        let request = signed_request(&http, &content);
        associations
            .unbind_by_homeserver(request, mxid, threepid, peer.0)
            .await?;
    }
    Ok(answer::json(json!({})))
}

/// What a homeserver signed: the request as it arrived, from `/_matrix` on.
fn signed_request<'a>(http: &'a HttpRequest, content: &'a Value) -> SignedRequest<'a> {
    let target = http
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str());
    let start = target.find("/_matrix").unwrap_or_default();
    SignedRequest {
        authorization: http
            .headers()
            .get_all(header::AUTHORIZATION)
            .filter_map(|value| value.to_str().ok())
            .collect(),
        method: http.method().as_str(),
        uri: target.get(start..).unwrap_or_default(),
        content,
        our_names: &[],
    }
}
