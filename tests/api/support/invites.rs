//! Invitations as homeservers ask for them, and what web clients make of their mails.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::Answer;
use super::mailbox::Mail;
use super::server::TestServer;

pub const STORE_INVITE: &str = "/_matrix/identity/api/v1/store-invite";
pub const SIGN: &str = "/_matrix/identity/api/v1/sign-ed25519";

/// The room of most tests.
pub const ROOM: &str = "!attic:hs.example";

/// The least that a request to invite says.
pub fn invite(address: &str, room_id: &str, sender: &str) -> Value {
    json!({ "medium": "email", "address": address, "room_id": room_id, "sender": sender })
}

/// The request with more in it, or other things.
pub fn with(mut request: Value, more: &[(&str, &str)]) -> Value {
    for (name, value) in more {
        request[*name] = json!(value);
    }
    request
}

/// The link of an invitation's mail, taken apart as a web client does.
pub struct JoinLink {
    /// What stands before the fragment.
    pub client: String,
    /// The room.
    pub room: String,
    /// What is said of it.
    pub values: BTreeMap<String, String>,
}

impl JoinLink {
    /// The link of a mail that has two parts and one of each header.
    #[track_caller]
    pub fn of(mail: &Mail) -> Self {
        mail.assert_well_formed();
        let link = mail.link();
        let (client, fragment) = link.split_once("/#/room/").expect("a room");
        let (room, query) = fragment.split_once('?').expect("values");
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let values: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(values.len(), pairs.len(), "a value stands twice in {link}");
        Self {
            client: client.to_owned(),
            room: room.to_owned(),
            values,
        }
    }

    /// Path and query of the URL that signs.
    #[track_caller]
    pub fn sign_target(&self) -> String {
        let url = url::Url::parse(&self.values["signurl"]).expect("a URL");
        format!("{}?{}", url.path(), url.query().expect("a query"))
    }

    /// A value of the URL that signs.
    #[track_caller]
    pub fn signing(&self, name: &str) -> String {
        let url = url::Url::parse(&self.values["signurl"]).expect("a URL");
        let found = url.query_pairs().find(|(found, _)| found == name);
        found.expect("a value").1.into_owned()
    }

    /// Joins as matrix-js-sdk does: by a `POST` without a body.
    pub async fn join(&self, server: &TestServer, mxid: &str) -> Answer {
        let escaped: String = url::form_urlencoded::byte_serialize(mxid.as_bytes()).collect();
        let target = format!("{}&mxid={escaped}", self.sign_target());
        server.client.post_raw(&target, None, "").await
    }
}

/// Checks a signature of a JSON object with ruma, by a public key in base64.
#[track_caller]
pub fn assert_signed(object: &Value, server: &str, key_id: &str, public_key: &str) {
    use ruma_common::serde::Base64;
    use ruma_signatures::{PublicKeyMap, PublicKeySet, verify_json};
    let object = serde_json::from_value(object.clone()).expect("canonical JSON");
    let key = Base64::parse(public_key).expect("a key");
    let keys: PublicKeySet = [(key_id.to_owned(), key)].into();
    let keys: PublicKeyMap = [(server.to_owned(), keys)].into();
    verify_json(&keys, &object).expect("a signature");
}

/// What the answer to a request to invite says of its two keys: that of the server, and its own.
#[track_caller]
pub fn keys_of(stored: &Value) -> [String; 2] {
    let keys = stored["public_keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2, "{stored}");
    assert_eq!(stored["public_key"], keys[0]["public_key"]);
    [0, 1].map(|place| {
        keys[place]["public_key"]
            .as_str()
            .expect("a key")
            .to_owned()
    })
}

/// Asks the URL that the answer to a request to invite named whether its key holds.
pub async fn is_valid(server: &TestServer, stored: &Value, place: usize) -> bool {
    let key = &stored["public_keys"][place];
    let url = url::Url::parse(key["key_validity_url"].as_str().unwrap()).unwrap();
    let public_key = key["public_key"].as_str().unwrap();
    let answer = server
        .client
        .get(url.path(), &[("public_key", public_key)])
        .await;
    answer.ok()["valid"].as_bool().unwrap()
}
