//! Stores that earlier versions left behind: today's server goes on with each as if it had written it itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bindery::config::{Config, Policy, PolicyDocument, PolicyText};
use bindery::types::{ServerName, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Answer, send};
use crate::support::federated::V2;
use crate::support::server::{GET_VALIDATED, SUBMIT_TOKEN, TestServer};

/// All stores there are, by the names of their folders.
fn stores() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores");
    let entries = fs::read_dir(folder).unwrap();
    let mut stores: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    stores.retain(|path| path.is_dir());
    stores.sort();
    assert!(stores.len() >= 5, "{stores:?}");
    stores
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, PermissionsExt::from_mode(0o600)).unwrap();
        }
    }
}

/// What was put into a store.
struct Facts(Value);

impl Facts {
    fn of(store: &Path) -> Self {
        let text = fs::read_to_string(store.join("facts.json")).unwrap();
        Self(serde_json::from_str(&text).unwrap())
    }

    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    /// Soon after it was made.
    fn moment(&self) -> Timestamp {
        let made = Timestamp::from_millis(self.0["made_at"].as_u64().unwrap());
        made.plus(Duration::from_mins(5))
    }

    /// The server's name, and the policy that was accepted, if one was.
    fn configure(&self, config: &mut Config) {
        config.server.name = ServerName::parse("id.example.org").unwrap();
        if self.0["terms"] == true {
            let document = PolicyDocument {
                name: "Privacy".to_owned(),
                text: PolicyText::Url("https://example.org/privacy".to_owned()),
            };
            let policy = Policy {
                version: "1.0".to_owned(),
                languages: BTreeMap::from([("en".to_owned(), document)]),
            };
            config.terms.policies.insert("privacy".to_owned(), policy);
        }
    }
}

async fn as_user(server: &TestServer, token: &str, path: &str) -> Answer {
    let request = server.client.request(Method::GET, &format!("{V2}/{path}"));
    send(request.bearer_auth(token)).await
}

#[tokio::test]
async fn the_store_of_every_earlier_version_is_gone_on_with() {
    for store in stores() {
        let facts = Facts::of(&store);
        let folder = TempDir::new().unwrap();
        copy(&store, folder.path());
        let configure = |config: &mut Config| facts.configure(config);
        let server = TestServer::start_on(folder, facts.moment(), configure).await;

        // Who was bound is found, under the same key as before.
        let mxid = facts.text("mxid");
        let found = server.looked_up("alice@example.org").await;
        assert_eq!(found.as_deref(), Some(mxid), "{}", store.display());
        let path = "/_matrix/identity/api/v1/pubkey/ed25519:1";
        let key = server.client.get(path, &[]).await.ok();
        assert_eq!(key["public_key"], facts.text("public_key"));

        // Whoever had an account still has it, and has still accepted the terms.
        if let Some(token) = facts.0["access_token"].as_str() {
            let account = as_user(&server, token, "account").await.ok();
            assert_eq!(account, json!({ "user_id": mxid }), "{}", store.display());
            if facts.0["pepper"].is_string() {
                let details = as_user(&server, token, "hash_details").await.ok();
                assert_eq!(details["lookup_pepper"], facts.text("pepper"));
            }
        }

        // A validated session can be used, and a pending one can be validated with the token that was mailed.
        let validated = &facts.0["validated"];
        let of = |field: &str| validated[field].as_str().unwrap();
        let query = [("sid", of("sid")), ("client_secret", of("client_secret"))];
        let answer = server.client.get(GET_VALIDATED, &query).await.ok();
        assert_eq!(answer["address"], "bob@example.org");
        server
            .bind(of("sid"), of("client_secret"), "@bob:hs.example")
            .await
            .ok();
        let submitted = server
            .client
            .post(SUBMIT_TOKEN, facts.0["pending"].clone())
            .await;
        assert_eq!(submitted.ok(), json!({ "success": true }));

        // It is a store of today from now on.
        let server = server.restart().await;
        let found = server.looked_up("alice@example.org").await;
        assert_eq!(found.as_deref(), Some(mxid));
        let found = server.looked_up("bob@example.org").await;
        assert_eq!(found.as_deref(), Some("@bob:hs.example"));
    }
}
