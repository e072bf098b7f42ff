//! The answer of most calls.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError as _};
use serde::Serialize;

use super::error::ApiError;

/// What the body of an answer is.
static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 200 with this as its body.
pub(super) fn json(body: impl Serialize) -> HttpResponse {
    match serde_json::to_vec(&body) {
        Ok(body) => of_bytes(body),
        Err(error) => ApiError::internal(error).error_response(),
    }
}

/// 200 with this JSON as its body.
pub(super) fn of_bytes(json: Vec<u8>) -> HttpResponse {
    let mut answer = HttpResponse::with_body(StatusCode::OK, BoxBody::new(json));
    answer
        .headers_mut()
        .append(header::CONTENT_TYPE, JSON.clone());
    answer
}
