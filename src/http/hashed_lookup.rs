//! # Association lookup
//!
//! Lookups by hashed address, and what clients need to know for them.
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#association-lookup>

use std::collections::HashSet;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use super::answer;
use super::auth::Authenticated;
use super::error::{ApiError, ErrCode};
use super::params::{Body, FromParams, Params, Refused};
use super::state::BodyLimits;
use crate::services::lookup::{Found, HashedLookupError, Lookup};
use crate::types::{Invalid, LookupAlgorithm, Pepper};

/// `GET /_matrix/identity/v2/hash_details`
///
/// The algorithms that lookups may use, and the pepper.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2hash_details>
///
/// # Errors
/// None of its own.
pub async fn hash_details(
    _: Authenticated,
    lookup: web::Data<Lookup>,
) -> Result<HttpResponse, ApiError> {
    let details = lookup.hash_details()?;
    let algorithms: Vec<&str> = details
        .algorithms
        .iter()
        .map(|algorithm| algorithm.as_str())
        .collect();
    Ok(answer::json(json!({
        "lookup_pepper": details.pepper.as_str(),
        "algorithms": algorithms,
    })))
}

/// The body of `lookup`, as it was sent: the addresses are the keys of the answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashedLookup<'a> {
    #[serde(borrow)]
    addresses: Vec<&'a str>,
    algorithm: &'a str,
    pepper: &'a str,
}

/// The same of a body that has more in it, or has it in another form.
pub struct CopiedLookup {
    addresses: Vec<String>,
    algorithm: String,
    pepper: String,
}

impl CopiedLookup {
    fn borrowed(&self) -> HashedLookup<'_> {
        HashedLookup {
            addresses: self.addresses.iter().map(String::as_str).collect(),
            algorithm: &self.algorithm,
            pepper: &self.pepper,
        }
    }
}

impl FromParams for CopiedLookup {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let addresses = params.required_value("addresses", strings);
        let algorithm = params.required("algorithm", |text| Ok(text.to_owned()));
        let pepper = params.required("pepper", |text| Ok(text.to_owned()));
        Ok(Self {
            addresses: addresses?,
            algorithm: algorithm?,
            pepper: pepper?,
        })
    }
}

fn strings(value: &Value) -> Result<Vec<String>, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("a list of strings");
    let string = |item: &Value| item.as_str().map(str::to_owned).ok_or(EXPECTED);
    value
        .as_array()
        .ok_or(EXPECTED)?
        .iter()
        .map(string)
        .collect()
}

/// `POST /_matrix/identity/v2/lookup`
///
/// Who of many addresses is bound to whom: the found ones, each exactly as it was sent.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2lookup>
///
/// # Errors
/// 400 `M_INVALID_PARAM` for an algorithm that is not served, `M_TOO_LARGE` over the limit on addresses,
/// `M_INVALID_PEPPER` with the right pepper for one that does not answer; 429 for an account over its number.
pub async fn lookup(
    Authenticated(account): Authenticated,
    lookup: web::Data<Lookup>,
    limits: web::Data<BodyLimits>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let copied: CopiedLookup;
    let request = if let Some(request) = body.exactly() {
        request
    } else {
        copied = body.params()?.read()?;
        copied.borrowed()
    };
    let HashedLookup {
        addresses,
        algorithm,
        pepper,
    } = request;
    let algorithm = LookupAlgorithm::parse(algorithm)
        .ok()
        .filter(|algorithm| lookup.serves(*algorithm))
        .ok_or_else(|| {
            ApiError::invalid_param("algorithm", "one of those that `hash_details` names")
        })?;
    limits.check_addresses(addresses.len())?;
    let invalid_pepper = |right: &Pepper| {
        ApiError::bad_request(
            ErrCode::InvalidPepper,
            "The pepper is another one now; hash with `lookup_pepper`.",
        )
        .with("algorithm", algorithm.as_str())
        .with("lookup_pepper", right.as_str())
    };
    let Ok(pepper) = Pepper::parse(pepper) else {
        return Err(invalid_pepper(&lookup.hash_details()?.pepper));
    };
    let found = lookup
        .lookup(&account.mxid, algorithm, &pepper, &addresses)
        .map_err(|error| match error {
            HashedLookupError::InvalidPepper(right) => invalid_pepper(&right),
            HashedLookupError::Limited(limited) => ApiError::limited(&limited),
            HashedLookupError::Store(error) => error.into(),
        })?;
    let mappings = Mappings {
        addresses: &addresses,
        found: &found,
    };
    // An answer can be long; it is not copied while it grows.
    let mut bytes = Vec::with_capacity(mappings.length());
    serde_json::to_writer(&mut bytes, &Answer { mappings }).map_err(ApiError::internal)?;
    Ok(answer::of_bytes(bytes))
}

/// The answer of `lookup`.
#[derive(Serialize)]
struct Answer<'a> {
    mappings: Mappings<'a>,
}

/// Addresses as they were asked for, none of them twice, and who they are bound to.
struct Mappings<'a> {
    addresses: &'a [&'a str],
    found: &'a Found,
}

impl<'a> Mappings<'a> {
    /// What is bound, as often as it was asked for.
    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let asked = self.addresses.iter().zip(self.found.iter());
        asked.filter_map(|(address, mxid)| Some((*address, mxid?)))
    }

    /// How many bytes the answer has, if nothing in it must be escaped and nothing was asked for twice.
    fn length(&self) -> usize {
        const AROUND_ALL: usize = r#"{"mappings":{}}"#.len();
        const AROUND_EACH: usize = r#""":"","#.len();
        let of_pair = |(address, mxid): (&str, &str)| address.len() + mxid.len() + AROUND_EACH;
        AROUND_ALL + self.pairs().map(of_pair).sum::<usize>()
    }

    /// Whether no two addresses begin with the same bytes, so that no two are equal. Hashes do not, and this is much
    /// faster than to put them into a set.
    fn begin_differently(&self) -> bool {
        let beginning = |(address, _): (&str, &str)| {
            let bytes = address.as_bytes().first_chunk();
            // All that are shorter begin alike, as far as this goes.
            bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        let mut beginnings = Vec::with_capacity(self.addresses.len());
        beginnings.extend(self.pairs().map(beginning));
        beginnings.sort_unstable();
        beginnings.is_sorted_by(|one, next| one < next)
    }
}

impl Serialize for Mappings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.begin_differently() {
            return serializer.collect_map(self.pairs());
        }
        let mut seen = HashSet::new();
        serializer.collect_map(self.pairs().filter(|(address, _)| seen.insert(*address)))
    }
}
