//! The one table of routes, in the order of the specification: who may call what, where, with which method.

use std::collections::BTreeMap;
use std::future::ready;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::guard::fn_guard;
use actix_web::http::{Method, StatusCode, Uri, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::{
    Error, FromRequest, Handler, HttpRequest, HttpResponse, Responder, ResponseError as _, web,
};
use serde_json::json;

use super::answer;
use super::error::{ApiError, ErrCode};
use super::peer::Origin;
use super::state::State;
use super::{
    accounts, associations, email, hashed_lookup, invitations, keys, lookup, msisdn, pages, status,
    terms,
};
use crate::config::V1;
use crate::metrics::RouteCounters;

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
    /// What its paths begin with.
    pub const fn prefix(self) -> &'static str {
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
    version: Version,
    counters: RouteCounters,
}

impl Route {
    /// The path, with parameters by name.
    pub fn path(&self) -> &str {
        self.counters.path()
    }

    /// What is counted of it.
    pub(super) fn counters(&self) -> &RouteCounters {
        &self.counters
    }

    /// The version it belongs to.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether its body is a list of addresses.
    pub(super) fn is_lookup(&self) -> bool {
        self.path().ends_with("lookup")
    }
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Anybody.
    Open,
    /// On v2, who has a token.
    Token,
    /// On v2, who has a token and has accepted the terms; on v1 anybody.
    TokenAndTerms,
}

/// One line of the table.
struct Endpoint {
    version: Version,
    /// The lowest level of v1 at which it is served; v2 is always.
    level: V1,
    guard: Guard,
    method: Method,
    path: &'static str,
    route: actix_web::Route,
}

/// What is said of a line of the table besides its path.
#[derive(Clone, Copy)]
struct Place {
    version: Version,
    level: V1,
    guard: Guard,
}

fn on<F, Args>(place: Place, method: &Method, path: &'static str, handler: F) -> Vec<Endpoint>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let Place {
        version,
        level,
        guard,
    } = place;
    vec![Endpoint {
        version,
        level,
        guard,
        method: method.clone(),
        path,
        route: route(method).to(handler),
    }]
}

/// A route for one method. What actix has for this keeps a list of all methods that were tried, for an answer that is not
/// given here.
fn route(method: &Method) -> actix_web::Route {
    let method = method.clone();
    web::route().guard(fn_guard(move |context| context.head().method == method))
}

/// A call of v1 alone, which asks nobody who they are.
fn v1<F, Args>(level: V1, method: &Method, path: &'static str, handler: F) -> Vec<Endpoint>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let place = Place {
        version: Version::V1,
        level,
        guard: Guard::Open,
    };
    on(place, method, path, handler)
}

/// A call of v2 alone.
fn v2<F, Args>(guard: Guard, method: &Method, path: &'static str, handler: F) -> Vec<Endpoint>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let place = Place {
        version: Version::V2,
        level: V1::Off,
        guard,
    };
    on(place, method, path, handler)
}

/// The same call on v1, from a level on, and on v2, behind its guard.
fn both<F, Args>(
    level: V1,
    guard: Guard,
    method: &Method,
    path: &'static str,
    handler: F,
) -> Vec<Endpoint>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let mut endpoints = v1(level, method, path, handler.clone());
    endpoints.extend(v2(guard, method, path, handler));
    endpoints
}

/// What has no version.
fn plain<F, Args>(method: &Method, path: &'static str, handler: F) -> Vec<Endpoint>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let place = Place {
        version: Version::None,
        level: V1::Off,
        guard: Guard::Open,
    };
    on(place, method, path, handler)
}

/// A page answers `HEAD` as it answers `GET`: showing it changes nothing.
fn page<F, Args>(path: &'static str, handler: F) -> Vec<Endpoint>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let mut endpoints = plain(&Method::GET, path, handler.clone());
    endpoints.extend(plain(&Method::HEAD, path, handler));
    endpoints
}

#[rustfmt::skip]
fn table() -> Vec<Endpoint> {
    use Guard::{Open, Token, TokenAndTerms};
    use V1::{Delegate, Full, Off};
    let (get, post) = (&Method::GET, &Method::POST);
    [
        // Versions and status
        plain(get, "/_matrix/identity/versions", status::versions),
        v1(Full, get, "", status::status),
        v2(Open, get, "", status::status),
        // Accounts
        v2(Open, post, "/account/register", accounts::register),
        v2(TokenAndTerms, get, "/account", accounts::account),
        v2(Token, post, "/account/logout", accounts::logout),
        // Terms
        v2(Open, get, "/terms", terms::policies),
        v2(Token, post, "/terms", terms::accept),
        // Keys
        both(Off, Open, get, "/pubkey/isvalid", keys::is_valid),
        both(Off, Open, get, "/pubkey/ephemeral/isvalid", keys::is_valid_ephemeral),
        both(Off, Open, get, "/pubkey/{keyId}", keys::public_key),
        // E-mail
        both(Delegate, TokenAndTerms, post, "/validate/email/requestToken", email::request_token),
        both(Delegate, TokenAndTerms, post, "/validate/email/submitToken", email::submit_token),
        both(Off, Open, get, "/validate/email/submitToken", email::submit_token_by_link),
        // Phone numbers
        both(Delegate, TokenAndTerms, post, "/validate/msisdn/requestToken", msisdn::request_token),
        both(Delegate, TokenAndTerms, post, "/validate/msisdn/submitToken", msisdn::submit_token),
        both(Off, Open, get, "/validate/msisdn/submitToken", msisdn::submit_token_by_link),
        // Associations
        both(Delegate, TokenAndTerms, get, "/3pid/getValidated3pid", associations::get_validated_3pid),
        both(Full, TokenAndTerms, post, "/3pid/bind", associations::bind),
        both(Full, Open, post, "/3pid/unbind", associations::unbind),
        // Lookup
        v1(Full, get, "/lookup", lookup::lookup),
        v1(Full, post, "/bulk_lookup", lookup::bulk_lookup),
        v2(TokenAndTerms, get, "/hash_details", hashed_lookup::hash_details),
        v2(TokenAndTerms, post, "/lookup", hashed_lookup::lookup),
        // Invitations
        both(Full, TokenAndTerms, post, "/store-invite", invitations::store),
        both(Off, TokenAndTerms, post, "/sign-ed25519", invitations::sign),
        // Pages
        page("/", pages::home),
        page("/verify/email", pages::confirm),
        plain(post, "/verify/email", pages::confirmed),
        page("/policies/{policy}/{language}/{version}", terms::page),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Every route with its method, path and guard, for whoever wants to walk the table.
pub fn listing() -> Vec<(Version, Method, String, Guard)> {
    let line = |endpoint: Endpoint| {
        let path = format!("{}{}", endpoint.version.prefix(), endpoint.path);
        (endpoint.version, endpoint.method, path, endpoint.guard)
    };
    table().into_iter().map(line).collect()
}

/// Puts the table, the answers for everything else, and the shared state into an application.
pub fn configure(app: &mut web::ServiceConfig, state: &State) {
    let mut versions: BTreeMap<Version, BTreeMap<&'static str, Vec<Endpoint>>> = BTreeMap::new();
    let is_served =
        |endpoint: &Endpoint| endpoint.version != Version::V1 || endpoint.level <= state.v1.level;
    for endpoint in table().into_iter().filter(is_served) {
        let paths = versions.entry(endpoint.version).or_default();
        paths.entry(endpoint.path).or_default().push(endpoint);
    }
    for (version, paths) in versions {
        // Actix tries one path after the other: plain texts cost little, patterns do not, and a whole scope is passed
        // over at once.
        let (patterns, plain): (Vec<_>, Vec<_>) =
            paths.into_iter().partition(|(path, _)| path.contains('{'));
        let mut scope = web::scope(version.prefix());
        for (path, endpoints) in plain.into_iter().chain(patterns) {
            let delegated = endpoints
                .iter()
                .any(|endpoint| endpoint.level == V1::Delegate);
            let resource = resource(version, path, endpoints);
            scope = if version == Version::V1 && state.v1.level == V1::Delegate && delegated {
                scope.service(resource.wrap(from_fn(only_from_v1_sources)))
            } else {
                scope.service(resource)
            };
        }
        app.service(scope);
    }
    app.app_data(web::Data::new(state.clone()))
        .app_data(web::Data::new(state.body_limits))
        .app_data(web::Data::from(state.validation.clone()))
        .app_data(web::Data::from(state.accounts.clone()))
        .app_data(web::Data::from(state.associations.clone()))
        .app_data(web::Data::from(state.invitations.clone()))
        .app_data(web::Data::from(state.terms.clone()))
        .app_data(web::Data::from(state.lookup.clone()))
        .app_data(web::Data::from(state.pubkeys.clone()))
        .app_data(web::Data::from(state.templates.clone()))
        .default_service(web::to(unknown_path));
}

/// Refuses delegated calls, but for links that people follow, from elsewhere than the homeservers next door.
async fn only_from_v1_sources<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let is_link = request.method() == Method::GET && request.path().contains("/submitToken");
    let is_source = request
        .app_data::<web::Data<State>>()
        .is_some_and(|state| Origin::of(request.request(), state).is_v1_source);
    if is_link || request.method() == Method::OPTIONS || is_source {
        return next.call(request).await;
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        ErrCode::Forbidden,
        "This server serves version 1 only to homeservers that its operator names.",
    )
    .into())
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

/// The endpoints of one path, which stands in the scope of its version.
fn resource(version: Version, path: &str, endpoints: Vec<Endpoint>) -> actix_web::Resource {
    let mut allowed: Vec<String> = endpoints
        .iter()
        .map(|endpoint| endpoint.method.to_string())
        .collect();
    allowed.push(Method::OPTIONS.to_string());
    let allowed = allowed.join(", ");
    let mut resource = web::resource(path).app_data(Route {
        version,
        counters: RouteCounters::new(format!("{}{path}", version.prefix())),
    });
    for endpoint in endpoints {
        resource = resource.route(endpoint.route);
    }
    resource
        .route(route(&Method::OPTIONS).to(preflight))
        .default_service(web::to(move || ready(wrong_method(&allowed))))
}

async fn preflight() -> HttpResponse {
    answer::json(json!({}))
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
