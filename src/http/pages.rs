//! The pages that people see: the mailed link with its button, what came of it, and the home page.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use super::error::{ApiError, ErrCode};
use super::params::{FromParams, Params, Refused};
use super::peer::Peer;
use super::state::State;
use crate::services::validation::Validation;
use crate::templates::{Failure, Html, Page, Templates};
use crate::types::{ServerName, Sid, Token};

/// Nothing is loaded from elsewhere, nothing runs, nobody frames the page, and its address (which carries a token) is
/// told to no other site.
const PAGE_HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-robots-tag", "noindex"),
];

/// The language that the request asks for, out of those there are.
pub(super) fn language(templates: &Templates, request: &HttpRequest) -> String {
    let accepted = request.headers().get(header::ACCEPT_LANGUAGE);
    templates.language(accepted.and_then(|value| value.to_str().ok()))
}

/// Pages for one reader.
pub(super) struct Shown<'a> {
    state: &'a State,
    language: String,
}

impl<'a> Shown<'a> {
    /// Pages in the language that the request asks for.
    pub(super) fn to(state: &'a State, request: &HttpRequest) -> Self {
        Self {
            state,
            language: language(&state.templates, request),
        }
    }

    /// The name that pages show.
    fn server(&self) -> &'a ServerName {
        &self.state.server_name
    }

    /// The page after a success.
    pub(super) fn verified(&self, next_link: Option<&str>) -> Result<HttpResponse, ApiError> {
        self.page(
            StatusCode::OK,
            Page::Verified {
                server: self.server(),
                next_link,
            },
            None,
        )
    }

    /// The page after a refusal, with the refusal's status.
    pub(super) fn failed(&self, error: &ApiError) -> Result<HttpResponse, ApiError> {
        let reason = match error.errcode() {
            ErrCode::SessionExpired => Failure::Expired,
            ErrCode::LimitExceeded => Failure::TooManyTries,
            _ if error.status().is_server_error() => Failure::Temporary,
            _ => Failure::UnknownLink,
        };
        let page = Page::Failed {
            server: self.server(),
            reason,
        };
        let mut response = self.page(error.status(), page, None)?;
        response.extensions_mut().insert(error.report());
        Ok(response)
    }

    /// A policy that is read here.
    pub(super) fn policy(
        &self,
        name: &str,
        language: &str,
        content: &Html,
    ) -> Result<HttpResponse, ApiError> {
        let page = Page::Policy {
            server: self.server(),
            name,
            language,
            content,
        };
        self.page(StatusCode::OK, page, None)
    }

    fn page(
        &self,
        status: StatusCode,
        page: Page<'_>,
        brand: Option<&str>,
    ) -> Result<HttpResponse, ApiError> {
        let html = self
            .state
            .templates
            .render_page(page, Some(&self.language), brand)
            .map_err(ApiError::internal)?;
        let mut response = HttpResponse::build(status);
        for header in PAGE_HEADERS {
            response.insert_header(header);
        }
        Ok(response.content_type("text/html; charset=utf-8").body(html))
    }
}

/// `GET /`
///
/// Says what this server is.
///
/// # Errors
/// When the page's own template fails.
pub async fn home(state: web::Data<State>, http: HttpRequest) -> Result<HttpResponse, ApiError> {
    let shown = Shown::to(&state, &http);
    shown.page(
        StatusCode::OK,
        Page::Home {
            server: shown.server(),
        },
        None,
    )
}

/// The two values that the mailed link carries.
pub struct MailedLink {
    sid: Sid,
    token: Token,
}

impl FromParams for MailedLink {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let sid = params.required("sid", Sid::parse);
        let token = params.required("token", Token::parse);
        Ok(Self {
            sid: sid?,
            token: token?,
        })
    }
}

/// `GET /verify/email`
///
/// The page that the mailed link opens: it shows what will be confirmed, and a button. Opening it changes nothing, so a
/// mail scanner that follows links confirms nothing.
///
/// # Errors
/// Every refusal is a page.
pub async fn confirm(
    validation: web::Data<Validation>,
    state: web::Data<State>,
    peer: Peer,
    http: HttpRequest,
    params: Result<Params, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let shown = Shown::to(&state, &http);
    let MailedLink { sid, token } = match params.and_then(Params::read) {
        Ok(link) => link,
        Err(error) => return shown.failed(&error),
    };
    match validation.link_details(&sid, &token, peer.0) {
        Ok(details) => {
            let page = Page::Confirm {
                server: shown.server(),
                address: details.threepid.address(),
                action: "/verify/email",
                sid: &sid,
                token: &token,
            };
            shown.page(StatusCode::OK, page, details.brand.as_deref())
        }
        Err(error) => shown.failed(&error.into()),
    }
}

/// `POST /verify/email`
///
/// The button: validates the session, and offers its `next_link` as a link to go on.
///
/// # Errors
/// Every refusal is a page.
pub async fn confirmed(
    validation: web::Data<Validation>,
    state: web::Data<State>,
    peer: Peer,
    http: HttpRequest,
    params: Result<Params, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let shown = Shown::to(&state, &http);
    let MailedLink { sid, token } = match params.and_then(Params::read) {
        Ok(link) => link,
        Err(error) => return shown.failed(&error),
    };
    match validation.submit_link(&sid, &token, peer.0).await {
        Ok(confirmed) => shown.verified(confirmed.next_link.as_deref()),
        Err(error) => shown.failed(&error.into()),
    }
}
