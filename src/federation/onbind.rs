//! Telling a homeserver that a 3PID was bound to one of its users (server-server API, "Third-party invites").
//!
//! The specification says PUT; homeservers that are in use serve POST. So POST comes first, and PUT only where the answer to
//! it says that there is no such thing: 405, or 404 with `M_UNRECOGNIZED`.

use serde_json::{Map, Value};

use super::FederationError;
use crate::net::Answer;
use crate::types::ServerName;

/// The path.
pub(super) const PATH: &str = "/_matrix/federation/v1/3pid/onbind";

/// The longest errcode that is believed to be one.
const LONGEST_ERRCODE: usize = 64;

/// Whether the homeserver has no such call under the method that it was asked with.
pub(super) fn is_unknown(answer: &Answer) -> bool {
    match answer.status {
        405 => true,
        404 => errcode(answer).is_some_and(|errcode| errcode == "M_UNRECOGNIZED"),
        _ => false,
    }
}

/// Reads the homeserver's answer. It has taken what it was told if it answers 200 with an object, such as `{}`: a page that
/// a proxy shows with 200 says nothing of the homeserver.
pub(super) fn taken(answer: &Answer, server: &ServerName) -> Result<(), FederationError> {
    match answer.status {
        200 => match answer.json() {
            Some(Value::Object(_)) => Ok(()),
            Some(_) | None => Err(FederationError::BadAnswer {
                server: server.to_string(),
                problem: "it is not a JSON object",
            }),
        },
        _ if is_unknown(answer) => Err(FederationError::NoSuchCall(server.to_string())),
        status => Err(FederationError::NotTaken {
            server: server.to_string(),
            status,
            errcode: errcode(answer),
        }),
    }
}

/// The errcode of a refusal, if it looks like one: it is shown to the operator.
fn errcode(answer: &Answer) -> Option<String> {
    let body: Map<String, Value> = serde_json::from_slice(&answer.body).ok()?;
    let errcode = body.get("errcode")?.as_str()?;
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
    let plausible = (1..=LONGEST_ERRCODE).contains(&errcode.len()) && errcode.bytes().all(known);
    plausible.then(|| errcode.to_owned())
}
