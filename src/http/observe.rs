//! Around every request: its id, its client's address, the limit on requests, the headers that every answer carries, and
//! its one line in the log.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::error::{ApiError, Report};
use super::peer::{self, Origin};
use super::routes::{Route, ignore_trailing_slash};
use super::state::State;
use crate::limits::{Action, Limited, Subject};
use crate::metrics::{Answered, NO_ERRCODE, UNKNOWN_ROUTE};

/// The headers that let any web client call any endpoint (identity service, "Web browser clients").
static CORS: [(HeaderName, HeaderValue); 5] = [
    (
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Origin, X-Requested-With, Content-Type, Accept, Authorization"),
    ),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Retry-After"),
    ),
    (
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("86400"),
    ),
];

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

static NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The id of a request when the system's random source fails.
const NO_ID: HeaderValue = HeaderValue::from_static("");

/// Where the line of each request is logged.
const REQUEST_LOG: &str = "bindery::request";

/// Wraps the whole application.
///
/// # Errors
/// None of its own: a refusal is an answer.
pub async fn observe<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    ignore_trailing_slash(&mut request);
    let Some(state) = request.app_data::<web::Data<State>>().cloned() else {
        return next
            .call(request)
            .await
            .map(ServiceResponse::map_into_left_body);
    };
    let log = &state.request_log;
    let started = log.clock.monotonic();
    let id = log.random.request_id().unwrap_or_default();
    let id = HeaderValue::try_from(id).unwrap_or(NO_ID);
    let origin = Origin::of(request.request(), &state);
    peer::note_probe(request.request(), &state);
    let method = request.method().clone();

    let place = state.places.take();
    let admitted = match (&place, origin.counted()) {
        (None, _) => {
            state.metrics.overloaded();
            Err(ApiError::overloaded())
        }
        (Some(_), Some(ip)) => state
            .limits
            .take(Action::RequestsByIp, Subject::Ip(ip))
            .map_err(|limited: Limited| ApiError::limited(&limited)),
        (Some(_), None) => Ok(()),
    };
    let mut response = match admitted {
        Ok(()) => next.call(request).await?.map_into_left_body(),
        Err(refusal) => request.error_response(refusal).map_into_right_body(),
    };

    let headers = response.headers_mut();
    // One growth of the table in place of three.
    headers.reserve(CORS.len() + 2);
    // No endpoint sets these, so there is nothing to replace, which would take longer.
    for (name, value) in &CORS {
        headers.append(name.clone(), value.clone());
    }
    headers.append(REQUEST_ID.clone(), id);
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.append(header::CACHE_CONTROL, NO_STORE.clone());
    }

    let report = response.response().extensions().get::<Report>().cloned();
    let route = response.request().app_data::<Route>();
    let duration = log.clock.monotonic().saturating_sub(started);
    let status = response.status().as_u16();
    let errcode = report.as_ref().map(|report| report.errcode.as_str());
    let answered = Answered {
        method: method.as_str(),
        status,
        errcode,
        duration,
    };
    state.metrics.answered(route.map(Route::counters), answered);
    if let Some(action) = report.as_ref().and_then(|report| report.limit) {
        state.metrics.limited(action.name());
    }
    // Read where it is rarely needed, which spares every answer a copy.
    let id = || {
        let id = response.headers().get(&REQUEST_ID);
        id.and_then(|id| id.to_str().ok()).unwrap_or_default()
    };
    if log::log_enabled!(target: REQUEST_LOG, log::Level::Info) {
        let line = Line {
            id: id(),
            client: log
                .client_ip
                .then_some(origin.address)
                .flatten()
                .map(|ip| ip.to_string()),
            method: method.as_str(),
            route: route.map_or(UNKNOWN_ROUTE, Route::path),
            status,
            errcode: errcode.unwrap_or(NO_ERRCODE),
            millis: duration.as_millis(),
        };
        line.write();
    }
    if let Some(cause) = report.and_then(|report| report.cause) {
        let id = id();
        log::error!(request_id = id; "request {id} failed: {cause}");
    }
    Ok(response)
}

/// One request in the log. Only what is listed here is ever logged of a request.
struct Line<'a> {
    id: &'a str,
    client: Option<String>,
    method: &'a str,
    route: &'a str,
    status: u16,
    errcode: &'a str,
    millis: u128,
}

impl Line<'_> {
    fn write(&self) {
        log::info!(
            target: REQUEST_LOG,
            request_id = self.id,
            client = self.client.as_deref().unwrap_or("-"),
            method = self.method,
            route = self.route,
            status = self.status,
            errcode = self.errcode,
            duration_ms = self.millis;
            "request"
        );
    }
}
