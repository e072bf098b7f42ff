//! An HTTP client that shows an answer as it came.

use std::net::SocketAddr;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::authority::Authority;

/// Talks to one server; follows no redirects.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    base: String,
    http: reqwest::Client,
}

/// An answer: status, headers, text.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .tls_backend_preconfigured(super::authority::client_tls())
            .build()
            .unwrap();
        Self {
            address,
            base: format!("http://{address}"),
            http,
        }
    }

    /// A client that trusts this authority, and finds a server of this name at the address.
    pub fn secure(address: SocketAddr, name: &str, authority: &Authority) -> Self {
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .resolve(name, address)
            .tls_backend_preconfigured(authority.client())
            .build()
            .unwrap();
        Self {
            address,
            base: format!("https://{name}:{}", address.port()),
            http,
        }
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the server is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request as another library wrote it, and its answer in that library's types.
    pub async fn send_http(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> (http::response::Parts, Vec<u8>) {
        let request = reqwest::Request::try_from(request).unwrap();
        let answer: http::Response<reqwest::Body> =
            self.http.execute(request).await.unwrap().into();
        let (parts, body) = answer.into_parts();
        let bytes = reqwest::Response::from(http::Response::new(body))
            .bytes()
            .await
            .unwrap();
        (parts, bytes.to_vec())
    }

    /// A request that the caller finishes.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        send(self.request(Method::GET, path).query(query)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        send(self.request(Method::POST, path).form(form)).await
    }

    /// A body as it is, under a content type or none.
    pub async fn post_raw(
        &self,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.request(Method::POST, path).body(body);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        send(request).await
    }
}

/// Sends a request and reads the whole answer.
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer {
        status,
        headers,
        text: response.text().await.unwrap(),
    }
}

impl Answer {
    /// A header as text, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The JSON of the answer, whose content type must say so.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            "application/json",
            "{}",
            self.text
        );
        serde_json::from_str(&self.text).unwrap()
    }

    /// The JSON of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }

    /// Asserts a refusal, and answers its sentence.
    #[track_caller]
    pub fn refused(&self, status: u16, errcode: &str) -> String {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), body["errcode"].as_str()),
            (status, Some(errcode)),
            "{body}"
        );
        let sentence = body["error"].as_str().unwrap();
        assert!(
            sentence.ends_with('.') && sentence.len() > 10,
            "no sentence: {sentence}"
        );
        sentence.to_owned()
    }
}
