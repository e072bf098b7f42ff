//! # Association lookup, v1
//!
//! The plain lookups of the first version of the API.
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#association-lookup>

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::answer;
use super::error::ApiError;
use super::params::{FromParams, Params, Refused};
use super::peer::Peer;
use super::state::BodyLimits;
use crate::services::associations::Associations;
use crate::types::{Invalid, Medium, ThreePid};

/// The query of `lookup`.
pub struct Lookup {
    medium: Medium,
    address: String,
}

impl FromParams for Lookup {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let medium = params.required("medium", Medium::parse);
        let address = params.required("address", |text| Ok(text.to_owned()));
        Ok(Self {
            medium: medium?,
            address: address?,
        })
    }
}

/// `GET /_matrix/identity/api/v1/lookup`
///
/// The signed association of a 3PID, or an empty object.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#association-lookup>
///
/// # Errors
/// 400 for a medium that does not exist; 429 for a source that has looked up too much.
pub async fn lookup(
    associations: web::Data<Associations>,
    Peer(peer): Peer,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let Lookup { medium, address } = params.read()?;
    let Ok(threepid) = ThreePid::parse(medium, &address) else {
        return Ok(answer::json(json!({})));
    };
    let association = associations.lookup(&address, &threepid, peer)?;
    Ok(answer::json(association.unwrap_or_default()))
}

/// The body of `bulk_lookup`.
pub struct BulkLookup {
    /// Medium and address as they were asked for.
    threepids: Vec<(String, String)>,
}

impl FromParams for BulkLookup {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        Ok(Self {
            threepids: params.required_value("threepids", pairs)?,
        })
    }
}

fn pairs(value: &Value) -> Result<Vec<(String, String)>, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("a list of [medium, address] pairs of strings");
    let pair = |item: &Value| match item.as_array().map(Vec::as_slice) {
        Some([Value::String(medium), Value::String(address)]) => {
            Ok((medium.clone(), address.clone()))
        }
        _ => Err(EXPECTED),
    };
    value.as_array().ok_or(EXPECTED)?.iter().map(pair).collect()
}

/// `POST /_matrix/identity/api/v1/bulk_lookup`
///
/// Who of many 3PIDs is bound to whom: the found ones, as they were asked for.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#association-lookup>
///
/// # Errors
/// 400 `M_TOO_LARGE` over the limit on addresses; 429 for a source that has looked up too much.
pub async fn bulk_lookup(
    associations: web::Data<Associations>,
    limits: web::Data<BodyLimits>,
    Peer(peer): Peer,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let BulkLookup { threepids } = params.read()?;
    limits.check_addresses(threepids.len())?;
    let parse = |(medium, address): &(String, String)| {
        Medium::parse(medium)
            .and_then(|medium| ThreePid::parse(medium, address))
            .ok()
    };
    let (asked, known): (Vec<_>, Vec<_>) = threepids
        .into_iter()
        .filter_map(|pair| parse(&pair).map(|threepid| (pair, threepid)))
        .unzip();
    let found: Vec<Value> = associations
        .lookup_many(&known, peer)?
        .into_iter()
        .zip(asked)
        .filter_map(|(mxid, (medium, address))| Some(json!([medium, address, mxid?.as_str()])))
        .collect();
    Ok(answer::json(json!({ "threepids": found })))
}
