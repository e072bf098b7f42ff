//! The parameters of a call, from wherever its version lets them stand, and the typed way to read them.
//!
//! An endpoint implements [`FromParams`] for its request and reads field by field; whatever is missing or wrong is
//! collected, so that one answer names every missing field.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use futures_util::StreamExt as _;
use futures_util::future::Either;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::{ApiError, ErrCode};
use super::routes::{Route, Version};
use super::state::BodyLimits;
use crate::types::Invalid;

/// The deepest nesting of arrays and objects in a body.
const MAX_DEPTH: usize = 16;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the answer.
const DRAINED: usize = 2 * 1024 * 1024;

type LocalBoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A request that is read from parameters.
pub trait FromParams: Sized {
    /// Reads all fields; every failed read is recorded in `params`, so `?` may stop at the first.
    ///
    /// # Errors
    /// [`Refused`] when any field is missing or wrong.
    fn from_params(params: &mut Params) -> Result<Self, Refused>;
}

/// Something is wrong; what it is has been recorded in the [`Params`].
#[derive(Debug, Clone, Copy)]
pub struct Refused;

/// The parameters of one call.
pub struct Params {
    given: Given,
    missing: Vec<&'static str>,
    invalid: Option<ApiError>,
}

/// What was given.
enum Given {
    /// Fields of any kind.
    Fields(Map<String, Value>),
    /// The query of a request, when there is nothing in it to decode, as in most: each field is read where it stands.
    Query(HttpRequest),
}

/// One field.
enum Field<'a> {
    Text(&'a str),
    Other(&'a Value),
}

impl Given {
    /// A field; `null` counts as absent.
    fn get(&self, name: &str) -> Option<Field<'_>> {
        match self {
            Self::Fields(fields) => match fields.get(name)? {
                Value::Null => None,
                Value::String(text) => Some(Field::Text(text)),
                other => Some(Field::Other(other)),
            },
            Self::Query(request) => {
                let mut fields = plain_pairs(request.query_string()).rev();
                let (_, value) = fields.find(|(known, _)| *known == name.as_bytes())?;
                std::str::from_utf8(value).ok().map(Field::Text)
            }
        }
    }
}

impl Params {
    fn new(given: Given) -> Self {
        Self {
            given,
            missing: Vec::new(),
            invalid: None,
        }
    }

    /// A required field, read by `parse`.
    ///
    /// # Errors
    /// When it is missing, `null`, no string, or refused by `parse`.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Result<T, Refused> {
        self.optional(name, parse)?.ok_or_else(|| self.miss(name))
    }

    /// An optional field, read by `parse`; `null` counts as absent.
    ///
    /// # Errors
    /// When it is no string or refused by `parse`.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Refused> {
        let read = match self.given.get(name) {
            None => return Ok(None),
            Some(Field::Text(text)) => parse(text),
            Some(Field::Other(_)) => Err(Invalid::expecting("a string")),
        };
        read.map(Some).map_err(|invalid| self.reject(name, invalid))
    }

    /// A required field of any JSON type, read by `parse`.
    ///
    /// # Errors
    /// When it is missing, `null`, or refused by `parse`.
    pub fn required_value<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Result<T, Refused> {
        self.optional_value(name, parse)?
            .ok_or_else(|| self.miss(name))
    }

    /// An optional field of any JSON type, read by `parse`; `null` counts as absent.
    ///
    /// # Errors
    /// When it is refused by `parse`.
    pub fn optional_value<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Refused> {
        let read = match self.given.get(name) {
            None => return Ok(None),
            Some(Field::Text(text)) => parse(&text.into()),
            Some(Field::Other(value)) => parse(value),
        };
        read.map(Some).map_err(|invalid| self.reject(name, invalid))
    }

    /// All fields as they came, those that nobody knows included.
    pub fn fields(&self) -> Cow<'_, Map<String, Value>> {
        match &self.given {
            Given::Fields(fields) => Cow::Borrowed(fields),
            Given::Query(request) => Cow::Owned(plain_fields(request.query_string())),
        }
    }

    /// Records that a required field is missing.
    pub fn miss(&mut self, name: &'static str) -> Refused {
        self.missing.push(name);
        Refused
    }

    /// Records that a field is wrong.
    pub fn reject(&mut self, name: &str, invalid: Invalid) -> Refused {
        self.fail(ApiError::invalid_param(name, invalid.expected()))
    }

    /// Records a refusal with an errcode of its own.
    pub fn fail(&mut self, error: ApiError) -> Refused {
        self.invalid.get_or_insert(error);
        Refused
    }

    /// Reads a whole request.
    ///
    /// # Errors
    /// 400 that names all missing fields, or else the first wrong one.
    pub fn read<T: FromParams>(self) -> Result<T, ApiError> {
        self.read_by(T::from_params)
    }

    /// Reads a whole request in one of several ways.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_by<T>(
        mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<T, ApiError> {
        read(&mut self).map_err(|Refused| self.into_error())
    }

    fn into_error(self) -> ApiError {
        if self.missing.is_empty() {
            return self.invalid.unwrap_or_else(|| {
                ApiError::bad_request(ErrCode::InvalidParam, "The parameters are wrong.")
            });
        }
        let mut message = "Missing parameters: ".to_owned();
        for (place, name) in self.missing.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            let _ = write!(message, "{comma}`{name}`");
        }
        message.push('.');
        ApiError::bad_request(ErrCode::MissingParams, message)
    }
}

/// Where the parameters of a call may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyForm {
    Json,
    UrlEncoded,
}

impl FromRequest for Params {
    type Error = ApiError;
    type Future = Either<Ready<Result<Self, ApiError>>, LocalBoxFuture<Result<Self, ApiError>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if request.method() == Method::GET || request.method() == Method::HEAD {
            let query = request.query_string();
            let given = if is_plain(query) {
                Ok(Given::Query(request.clone()))
            } else {
                url_encoded(query.as_bytes()).map(Given::Fields)
            };
            return Either::Left(ready(given.map(Self::new)));
        }
        let body = Body::from_request(request, payload);
        Either::Right(Box::pin(async move { body.await?.params() }))
    }
}

/// The body of a call that may be too long to be taken apart into [`Params`].
pub struct Body {
    request: HttpRequest,
    bytes: Bytes,
}

impl Body {
    /// Reads an object of JSON that has exactly the fields of `T`, without a copy. Any other body is none, and its
    /// [`Self::params`] say what is wrong with it, if anything is.
    pub fn exactly<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        let is_json =
            body_form(version(&self.request), self.request.content_type()) == BodyForm::Json;
        // Checked as a whole, which is faster than string by string.
        let text = std::str::from_utf8(&self.bytes).ok()?;
        // serde would take a list of the fields' values too.
        let is_object = text.trim_start().starts_with('{');
        (is_json && is_object).then(|| serde_json::from_str(text).ok())?
    }

    /// The parameters.
    ///
    /// # Errors
    /// 400 for what cannot be read.
    pub fn params(&self) -> Result<Params, ApiError> {
        let fields = fields(&self.request, &self.bytes)?;
        Ok(Params::new(Given::Fields(fields)))
    }
}

impl FromRequest for Body {
    type Error = ApiError;
    type Future = LocalBoxFuture<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = payload.take();
        Box::pin(async move {
            let limit = request
                .app_data::<web::Data<BodyLimits>>()
                .map_or(0, |limits| limits.for_route(request.app_data::<Route>()));
            let bytes = read_body(&request, payload, limit).await?;
            Ok(Self { request, bytes })
        })
    }
}

/// The fields of a `POST`: v2 takes a form only by its name, v1 takes JSON only by its name, and v1 looks into the
/// query for what the body does not have.
fn fields(request: &HttpRequest, body: &Bytes) -> Result<Map<String, Value>, ApiError> {
    let version = version(request);
    let form = body_form(version, request.content_type());
    let mut fields = match version {
        Version::V1 => url_encoded(request.query_string().as_bytes())?,
        Version::V2 | Version::None => Map::new(),
    };
    if version == Version::V1
        && body.is_empty()
        && (form == BodyForm::UrlEncoded || !fields.is_empty())
    {
        return Ok(fields);
    }
    let of_body = match form {
        BodyForm::UrlEncoded => url_encoded(body)?,
        BodyForm::Json => json_object(body)?,
    };
    fields.extend(of_body);
    Ok(fields)
}

fn version(request: &HttpRequest) -> Version {
    let route = request.app_data::<Route>();
    route.map_or(Version::V2, Route::version)
}

fn body_form(version: Version, content_type: &str) -> BodyForm {
    let is = |name: &str| content_type.eq_ignore_ascii_case(name);
    match version {
        Version::V1 if is("application/json") => BodyForm::Json,
        Version::V1 | Version::None => BodyForm::UrlEncoded,
        Version::V2
            if is("application/x-www-form-urlencoded")
                || is("application/x-form-www-urlencoded") =>
        {
            BodyForm::UrlEncoded
        }
        Version::V2 => BodyForm::Json,
    }
}

/// Reads an object.
///
/// # Errors
/// `M_NOT_JSON` for what is no JSON, `M_BAD_JSON` for what is no object or nested too deeply.
fn json_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let value: Value = serde_json::from_slice(body).map_err(|_| {
        ApiError::bad_request(ErrCode::NotJson, "The body is not valid JSON in UTF-8.")
    })?;
    match value {
        Value::Object(fields)
            if fields
                .values()
                .all(|value| is_within_depth(value, MAX_DEPTH - 1)) =>
        {
            Ok(fields)
        }
        Value::Object(_) => Err(ApiError::bad_request(
            ErrCode::BadJson,
            format!("The body is nested more than {MAX_DEPTH} deep."),
        )),
        _ => Err(ApiError::bad_request(
            ErrCode::BadJson,
            "The body must be a JSON object.",
        )),
    }
}

fn is_within_depth(value: &Value, depth: usize) -> bool {
    match (value, depth.checked_sub(1)) {
        (Value::Array(items), Some(left)) => items.iter().all(|item| is_within_depth(item, left)),
        (Value::Object(fields), Some(left)) => {
            fields.values().all(|item| is_within_depth(item, left))
        }
        (Value::Array(_) | Value::Object(_), None) => false,
        _ => true,
    }
}

/// Reads a form or a query; of a name that stands twice the last value counts.
fn url_encoded(text: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let not_utf8 =
        || ApiError::bad_request(ErrCode::NotJson, "The parameters are not valid UTF-8.");
    let text = std::str::from_utf8(text).map_err(|_| not_utf8())?;
    if is_plain(text) {
        return Ok(plain_fields(text));
    }
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        // The decoder puts this character where bytes are no UTF-8.
        if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
            return Err(not_utf8());
        }
        fields.insert(name.into_owned(), Value::String(value.into_owned()));
    }
    Ok(fields)
}

/// Whether a form or a query has nothing in it that would have to be decoded, as most queries.
fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii() && byte != b'%' && byte != b'+';
    // Not `all`: without a way out the compiler looks at many bytes at once.
    text.bytes().fold(true, |all, byte| all & is_plain(byte))
}

/// The names and values of such a form or query, as bytes: each is one character, and they are too short for the ways in
/// which texts are searched.
fn plain_pairs(text: &str) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
    let pairs = text.as_bytes().split(|byte| *byte == b'&');
    pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let mut part = || parts.next().unwrap_or_default();
        (part(), part())
    })
}

fn plain_fields(text: &str) -> Map<String, Value> {
    let text_of = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let pairs = plain_pairs(text);
    pairs
        .map(|(name, value)| (text_of(name), text_of(value).into()))
        .collect()
}

async fn read_body(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
) -> Result<Bytes, ApiError> {
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let reading = async {
        // Most bodies come in one piece, which needs no copy.
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        let mut too_large = declared.is_some_and(|length| length > limit);
        let mut drained: usize = 0;
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| {
                ApiError::bad_request(ErrCode::NotJson, "The body could not be read to its end.")
            })?;
            let before = first.len().max(all.len());
            too_large |= before.saturating_add(chunk.len()) > limit;
            if too_large {
                drained = drained.saturating_add(chunk.len());
                if drained > DRAINED {
                    break;
                }
            } else if before == 0 {
                first = chunk;
            } else {
                if all.is_empty() {
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&chunk);
            }
        }
        if too_large {
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                ErrCode::TooLarge,
                format!("The body is larger than {limit} bytes."),
            ));
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    };
    tokio::time::timeout(BODY_TIMEOUT, reading)
        .await
        .unwrap_or_else(|_| {
            Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                ErrCode::Unknown,
                "The body took too long to arrive.",
            ))
        })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_not_encoded_is_read_as_if_it_were(text in "([a-c=&?.-]|%61|\\+|é){0,20}") {
            if is_plain(&text) {
                let decoded = url::form_urlencoded::parse(text.as_bytes());
                let decoded = decoded.map(|(name, value)| (name.into_owned(), value.into()));
                let decoded = decoded.collect::<Map<_, Value>>();
                let request = TestRequest::with_uri(&format!("/?{text}")).to_http_request();
                let query = Given::Query(request);
                for name in ["", "a", "b", "ab", "?"] {
                    let standing = match query.get(name) {
                        Some(Field::Text(value)) => Some(value),
                        _ => None,
                    };
                    prop_assert_eq!(standing, decoded.get(name).and_then(Value::as_str));
                }
                let query = Params::new(query);
                prop_assert_eq!(&*query.fields(), &decoded);
            }
        }
    }
}
