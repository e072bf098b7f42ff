//! The one table of routes, in the order of the specification: who may call what, where, with which method.

use std::collections::BTreeMap;
use std::future::ready;

use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, StatusCode, Uri, header};
use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Responder, ResponseError as _, web,
};
use serde_json::json;

use super::error::{ApiError, ErrCode};
use super::state::State;
use super::{associations, email, keys, lookup, pages, status};

/// Which version of the API a route belongs to. It decides who may call and how a body may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `api/v1`: deprecated, mostly unauthenticated.
    V1,
    /// `v2`.
    V2,
    /// Pages and what has no version.
    None,
}

impl Version {
    const fn prefix(self) -> &'static str {
        match self {
            Self::V1 => "/_matrix/identity/api/v1",
            Self::V2 => "/_matrix/identity/v2",
            Self::None => "",
        }
    }
}

/// A path that is served; each request finds its own in its data.
#[derive(Debug, Clone)]
pub struct Route {
    path: String,
    version: Version,
}

impl Route {
    /// The path, with parameters by name.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The version it belongs to.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether its body is a list of addresses.
    pub(super) fn is_lookup(&self) -> bool {
        self.path.ends_with("lookup")
    }
}

/// One line of the table.
struct Endpoint {
    version: Version,
    method: Method,
    path: &'static str,
    route: actix_web::Route,
}

fn on<F, Args>(version: Version, method: Method, path: &'static str, handler: F) -> Vec<Endpoint>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let route = web::method(method.clone()).to(handler);
    vec![Endpoint {
        version,
        method,
        path,
        route,
    }]
}

/// The same handler for v1 and v2.
fn both<F, Args>(method: &Method, path: &'static str, handler: F) -> Vec<Endpoint>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let mut endpoints = on(Version::V1, method.clone(), path, handler.clone());
    endpoints.extend(on(Version::V2, method.clone(), path, handler));
    endpoints
}

/// A page answers `HEAD` as it answers `GET`: showing it changes nothing.
fn page<F, Args>(path: &'static str, handler: F) -> Vec<Endpoint>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let mut endpoints = on(Version::None, Method::GET, path, handler.clone());
    endpoints.extend(on(Version::None, Method::HEAD, path, handler));
    endpoints
}

#[rustfmt::skip]
fn table() -> Vec<Endpoint> {
    use Version::{V1, V2, None};
    let (get, post) = (Method::GET, Method::POST);
    [
        // Versions and status
        on(None, get.clone(), "/_matrix/identity/versions", status::versions),
        on(V1, get.clone(), "", status::status),
        on(V2, get.clone(), "", status::status),
        // Keys
        both(&get, "/pubkey/isvalid", keys::is_valid),
        both(&get, "/pubkey/ephemeral/isvalid", keys::is_valid_ephemeral),
        both(&get, "/pubkey/{keyId}", keys::public_key),
        // E-mail
        on(V1, post.clone(), "/validate/email/requestToken", email::request_token),
        on(V1, post.clone(), "/validate/email/submitToken", email::submit_token),
        on(V1, get.clone(), "/validate/email/submitToken", email::submit_token_by_link),
        // Associations
        on(V1, get.clone(), "/3pid/getValidated3pid", associations::get_validated_3pid),
        on(V1, post.clone(), "/3pid/bind", associations::bind),
        on(V1, post.clone(), "/3pid/unbind", associations::unbind),
        // Lookup
        on(V1, get, "/lookup", lookup::lookup),
        on(V1, post.clone(), "/bulk_lookup", lookup::bulk_lookup),
        // Pages
        page("/", pages::home),
        page("/verify/email", pages::confirm),
        on(None, post, "/verify/email", pages::confirmed),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Puts the table, the answers for everything else, and the shared state into an application.
pub fn configure(app: &mut web::ServiceConfig, state: &State) {
    let mut resources: BTreeMap<(Version, &'static str), Vec<Endpoint>> = BTreeMap::new();
    let mut order = Vec::new();
    for endpoint in table() {
        let place = (endpoint.version, endpoint.path);
        let endpoints = resources.entry(place).or_default();
        if endpoints.is_empty() {
            order.push(place);
        }
        endpoints.push(endpoint);
    }
    // Actix tries one route after the other: plain texts cost nothing, patterns do.
    order.sort_by_key(|(_, path)| path.contains('{'));
    for (version, path) in order {
        let endpoints = resources.remove(&(version, path)).unwrap_or_default();
        app.service(resource(version, path, endpoints));
    }
    app.app_data(web::Data::new(state.clone()))
        .app_data(web::Data::new(state.body_limits))
        .app_data(web::Data::from(state.validation.clone()))
        .app_data(web::Data::from(state.associations.clone()))
        .app_data(web::Data::from(state.pubkeys.clone()))
        .app_data(web::Data::from(state.templates.clone()))
        .default_service(web::to(unknown_path));
}

/// A trailing slash is tolerated: routes are found without it, and the request stays as it was sent. To say the same
/// in the routes would make each of them a pattern.
pub(super) fn ignore_trailing_slash(request: &mut ServiceRequest) {
    let without = request.uri().path().strip_suffix('/');
    let without = without.filter(|path| !path.is_empty());
    if let Some(uri) = without.and_then(|path| Uri::try_from(path).ok()) {
        request.match_info_mut().get_mut().update(&uri);
    }
}

fn resource(version: Version, path: &str, endpoints: Vec<Endpoint>) -> actix_web::Resource {
    let path = format!("{}{path}", version.prefix());
    let mut allowed: Vec<String> = endpoints
        .iter()
        .map(|endpoint| endpoint.method.to_string())
        .collect();
    allowed.push(Method::OPTIONS.to_string());
    let allowed = allowed.join(", ");
    let mut resource = web::resource(path.as_str()).app_data(Route { path, version });
    for endpoint in endpoints {
        resource = resource.route(endpoint.route);
    }
    resource
        .route(web::method(Method::OPTIONS).to(preflight))
        .default_service(web::to(move || ready(wrong_method(&allowed))))
}

async fn preflight() -> HttpResponse {
    HttpResponse::Ok().json(json!({}))
}

async fn unknown_path(_: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::new(
        StatusCode::NOT_FOUND,
        ErrCode::Unrecognized,
        "This server does not serve this path.",
    ))
}

fn wrong_method(allowed: &str) -> HttpResponse {
    let error = ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrCode::Unrecognized,
        "This path is not served with this method.",
    );
    let mut response = error.error_response();
    if let Ok(value) = header::HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}
