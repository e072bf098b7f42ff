//! # API versions and status check
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#api-version-check>

use actix_web::HttpResponse;
use serde_json::json;

use super::answer;

/// What is served. v1.20 drops the token in the query, which homeservers still send, so it is not claimed.
const VERSIONS: [&str; 23] = [
    "r0.1.0", "r0.2.0", "r0.2.1", "r0.3.0", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7",
    "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16", "v1.17",
    "v1.18", "v1.19",
];

/// `GET /_matrix/identity/versions`
///
/// Names the versions of the specification that are served.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityversions>
pub async fn versions() -> HttpResponse {
    answer::json(json!({ "versions": VERSIONS }))
}

/// `GET /_matrix/identity/api/v1`, `GET /_matrix/identity/v2`
///
/// Says that an identity server answers here.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2>
pub async fn status() -> HttpResponse {
    answer::json(json!({}))
}
