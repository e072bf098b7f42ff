//! # Terms of service
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#terms-of-service>

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::answer;
use super::auth::AuthenticatedNoTerms;
use super::error::{ApiError, ErrCode};
use super::pages::Shown;
use super::params::{FromParams, Params, Refused};
use super::state::State;
use crate::services::terms::{Policy, Terms};
use crate::types::Invalid;

/// `GET /_matrix/identity/v2/terms`
///
/// The policies that users must accept, each in all its languages.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2terms>
pub async fn policies(terms: web::Data<Terms>) -> HttpResponse {
    let all = terms.policies();
    let policies: Map<String, Value> = all
        .iter()
        .map(|(name, policy)| (name.clone(), described(policy)))
        .collect();
    answer::json(json!({ "policies": policies }))
}

/// A policy as clients read it: the languages stand beside the version.
fn described(policy: &Policy) -> Value {
    let languages = policy.languages.iter().map(|(language, document)| {
        let described = json!({ "name": document.name, "url": document.url });
        (language.clone(), described)
    });
    let version = ("version".to_owned(), json!(policy.version));
    languages.chain([version]).collect()
}

/// The body of `POST terms`.
pub struct Acceptance {
    urls: Vec<String>,
}

impl FromParams for Acceptance {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let urls = params.required_value("user_accepts", urls)?;
        Ok(Self { urls })
    }
}

/// A list of texts; clients in use also send a single one.
fn urls(value: &Value) -> Result<Vec<String>, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("a list of strings");
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(EXPECTED);
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        single => text(single).map(|url| vec![url]),
    }
}

/// `POST /_matrix/identity/v2/terms`
///
/// Accepts the policies that are read at these URLs, besides what was accepted before.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2terms>
///
/// # Errors
/// 400 `M_INVALID_PARAM` when no policy is read at one of them; nothing is accepted then.
pub async fn accept(
    AuthenticatedNoTerms(account): AuthenticatedNoTerms,
    terms: web::Data<Terms>,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let Acceptance { urls } = params.read()?;
    terms.accept(account.mxid, &urls).await?;
    Ok(answer::json(json!({})))
}

/// `GET /policies/{policy}/{language}/{version}`
///
/// A policy that is read here. Of each there is the current version only.
///
/// # Errors
/// 404 `M_NOT_FOUND` for any other policy, language or version.
pub async fn page(
    place: web::Path<(String, String, String)>,
    terms: web::Data<Terms>,
    state: web::Data<State>,
    http: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (policy, language, version) = place.into_inner();
    let policies = terms.policies();
    let read = policies
        .get(&policy)
        .filter(|policy| policy.version == version)
        .and_then(|policy| policy.languages.get(&language))
        .and_then(|document| Some((document, document.text.as_ref()?)));
    let Some((document, text)) = read else {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            ErrCode::NotFound,
            "There is no such policy here, or no longer in this version.",
        ));
    };
    Shown::to(&state, &http).policy(&document.name, &language, text)
}
