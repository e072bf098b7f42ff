//! # Key management
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#key-management>

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::answer;
use super::error::{ApiError, ErrCode};
use super::params::{FromParams, Params, Refused};
use crate::services::pubkeys::Pubkeys;
use crate::types::{Invalid, KeyId};

/// `GET /_matrix/identity/{api/v1,v2}/pubkey/{keyId}`
///
/// The public key with this id.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2pubkeykeyid>
///
/// # Errors
/// 404 for an unknown or revoked key.
pub async fn public_key(
    pubkeys: web::Data<Pubkeys>,
    path: web::Path<KeyPath>,
) -> Result<HttpResponse, ApiError> {
    let key = KeyId::parse(&path.key_id)
        .ok()
        .and_then(|id| pubkeys.public_key(&id));
    let public_key = key.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            ErrCode::NotFound,
            "This server has no public key with this id.",
        )
    })?;
    Ok(answer::json(json!({ "public_key": public_key })))
}

/// The path of a key.
#[derive(serde::Deserialize)]
pub struct KeyPath {
    #[serde(rename = "keyId")]
    key_id: String,
}

/// The query of both `isvalid` calls.
pub struct IsValid {
    /// The public key in question, in base64.
    public_key: String,
}

impl FromParams for IsValid {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let any = |text: &str| Ok::<_, Invalid>(text.to_owned());
        Ok(Self {
            public_key: params.required("public_key", any)?,
        })
    }
}

/// `GET /_matrix/identity/{api/v1,v2}/pubkey/isvalid`
///
/// Whether this is a long-term key of the server that holds.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2pubkeyisvalid>
///
/// # Errors
/// 400 without `public_key`.
pub async fn is_valid(
    pubkeys: web::Data<Pubkeys>,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let request: IsValid = params.read()?;
    let valid = pubkeys.is_valid(&request.public_key);
    Ok(answer::json(json!({ "valid": valid })))
}

/// `GET /_matrix/identity/{api/v1,v2}/pubkey/ephemeral/isvalid`
///
/// Whether this is an ephemeral key of an invitation that the server vouches for.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2pubkeyephemeralisvalid>
///
/// # Errors
/// 400 without `public_key`.
pub async fn is_valid_ephemeral(
    pubkeys: web::Data<Pubkeys>,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let request: IsValid = params.read()?;
    let valid = pubkeys.is_valid_ephemeral(&request.public_key)?;
    Ok(answer::json(json!({ "valid": valid })))
}
