//! A server together with a homeserver that vouches for its users.

use bindery::config::Config;
use reqwest::Method;
use serde_json::{Value, json};

use super::authority::Authority;
use super::client::{Answer, send};
use super::dns::DnsServer;
use super::homeserver::{Homeserver, federate};
use super::server::TestServer;

pub const V2: &str = "/_matrix/identity/v2";

/// A server, and a homeserver `hs.example` on some port that it can reach.
pub struct Federated {
    pub server: TestServer,
    pub homeserver: Homeserver,
    _authority: Authority,
    _dns: DnsServer,
}

impl Federated {
    pub async fn start() -> Self {
        Self::start_with(|_, _| {}).await
    }

    /// `change` is told the homeserver's name.
    pub async fn start_with(change: impl FnOnce(&mut Config, &Homeserver)) -> Self {
        let (authority, dns) = (Authority::new(), DnsServer::start().await);
        dns.host("hs.example", "127.0.0.1");
        let homeserver = Homeserver::start(&authority, "hs.example").await;
        let server = TestServer::start_with(|config| {
            federate(&mut config.federation, &authority, &dns);
            change(config, &homeserver);
        });
        let server = Box::pin(server).await;
        Self {
            server,
            homeserver,
            _authority: authority,
            _dns: dns,
        }
    }

    /// Stops the server and starts another on the same folder and clock.
    pub async fn restart(self) -> Self {
        Self {
            server: self.server.restart().await,
            ..self
        }
    }

    /// A user of the homeserver.
    pub fn user(&self, localpart: &str) -> String {
        format!("@{localpart}:{}", self.homeserver.name())
    }

    /// Tries to register whoever the homeserver vouches for now.
    pub async fn try_register(&self) -> Answer {
        let body = json!({
            "access_token": "an openid token",
            "token_type": "Bearer",
            "matrix_server_name": self.homeserver.name().as_str(),
            "expires_in": 3600,
        });
        let path = format!("{V2}/account/register");
        self.server.client.post(&path, body).await
    }

    /// Registers a user and answers the access token.
    pub async fn register(&self, localpart: &str) -> String {
        self.homeserver.vouch_for(&self.user(localpart));
        let answer = self.try_register().await.ok();
        assert_eq!(answer["token"], answer["access_token"]);
        answer["token"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, token: &str, path: &str, query: &[(&str, &str)]) -> Answer {
        let request = self
            .server
            .client
            .request(Method::GET, &format!("{V2}/{path}"));
        send(request.query(query).bearer_auth(token)).await
    }

    pub async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        let request = self
            .server
            .client
            .request(Method::POST, &format!("{V2}/{path}"));
        send(request.json(body).bearer_auth(token)).await
    }

    /// Proves an address on v2 and answers the session's id.
    pub async fn validated(&self, token: &str, email: &str, secret: &str) -> String {
        let body = json!({ "email": email, "client_secret": secret, "send_attempt": 1 });
        let answer = self.post(token, "validate/email/requestToken", &body).await;
        let sid = answer.ok()["sid"].as_str().unwrap().to_owned();
        let mailed = self.server.mails().pop().unwrap().token();
        let body = json!({ "sid": sid, "client_secret": secret, "token": mailed });
        let answer = self.post(token, "validate/email/submitToken", &body).await;
        assert_eq!(answer.ok(), json!({ "success": true }));
        sid
    }

    /// Publishes an address on v2.
    pub async fn bind(&self, token: &str, email: &str, secret: &str, mxid: &str) -> Answer {
        let sid = self.validated(token, email, secret).await;
        let body = json!({ "sid": sid, "client_secret": secret, "mxid": mxid });
        self.post(token, "3pid/bind", &body).await
    }

    /// Sends an unbind with these `Authorization` headers.
    pub async fn unbind_signed(&self, path: &str, body: &Value, headers: &[String]) -> Answer {
        let mut request = self.server.client.request(Method::POST, path).json(body);
        for header in headers {
            request = request.header("authorization", header);
        }
        send(request).await
    }
}
