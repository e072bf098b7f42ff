//! Who an OpenID token belongs to (server-server API, "OpenID").

use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use super::FederationError;
use crate::net::Answer;
use crate::types::{ServerName, UserId};

/// The path with its query.
pub(super) fn path(access_token: &str) -> String {
    let token: String = byte_serialize(access_token.as_bytes()).collect();
    format!("/_matrix/federation/v1/openid/userinfo?access_token={token}")
}

/// Reads the homeserver's answer. It counts only for a user of that very server.
pub(super) fn user(answer: &Answer, server: &ServerName) -> Result<UserId, FederationError> {
    let wrong = |problem| FederationError::BadAnswer {
        server: server.to_string(),
        problem,
    };
    match answer.status {
        200 => {}
        401 | 403 => {
            return Err(FederationError::Rejected {
                server: server.to_string(),
                status: answer.status,
            });
        }
        _ => return Err(wrong("its status is neither 200 nor 401")),
    }
    let body: Value = answer.json().ok_or_else(|| wrong("it is not JSON"))?;
    let sub = body.get("sub").and_then(Value::as_str);
    let sub = sub.ok_or_else(|| wrong("it has no `sub`"))?;
    let user = UserId::parse(sub).map_err(|_| wrong("`sub` is not a user ID"))?;
    if user.server_name() == server.as_str() {
        Ok(user)
    } else {
        Err(FederationError::VouchedForOther(server.to_string()))
    }
}
