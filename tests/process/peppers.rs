//! SIGKILL while the pepper of lookups is changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use bindery::signing;
use bindery::types::{LookupHash, Medium, Pepper};
use serde_json::{Value, json};

use super::authority::Authority;
use super::dns::DnsServer;
use super::homeserver::Homeserver;
use super::operator::{Socket, stop};
use super::{Running, Site, bound, call, call_as};

/// More than a change takes up in a step.
const ADDRESSES: usize = 1000;

/// How many moments are tried.
const ROUNDS: u64 = 20;

fn user(number: usize) -> String {
    format!("user{number}@example.org")
}

fn newcomer(number: usize) -> String {
    format!("newcomer{number}@example.org")
}

/// Binds or unbinds an address over the admin socket; false if the server went away.
fn change(socket: &mut Socket, command: &str, address: &str) -> bool {
    let threepid = json!(["email", address]);
    let request = match command {
        "add" => json!({
            "command": "associations_add", "threepid": threepid,
            "mxid": format!("@{}:hs.example", address.split('@').next().unwrap()),
        }),
        _ => json!({ "command": "associations_remove", "target": { "threepid": threepid } }),
    };
    let answer = socket.ask(&request);
    answer.is_some_and(|answer| answer.get("ok").is_some())
}

fn socket(site: &Site) -> Socket {
    Socket::at(&site.store().join("admin.sock")).unwrap()
}

/// Whoever looks addresses up.
struct Searcher {
    bearer: String,
}

impl Searcher {
    fn register(server: &Running, homeserver: &Homeserver) -> Self {
        let name = homeserver.name();
        homeserver.vouch_for(&format!("@searcher:{name}"));
        let register = json!({
            "access_token": "a token", "token_type": "Bearer", "expires_in": 60,
            "matrix_server_name": name.as_str(),
        });
        let path = "/_matrix/identity/v2/account/register";
        let (status, answer) = call(server.address, "POST", path, &register).unwrap();
        assert_eq!(status, 200, "{answer}");
        let token = answer["token"].as_str().unwrap();
        Self {
            bearer: format!("Bearer {token}"),
        }
    }

    /// The pepper that clients are told.
    fn pepper(&self, server: &Running) -> String {
        let path = "/_matrix/identity/v2/hash_details";
        let (status, answer) =
            call_as(server.address, &self.bearer, "GET", path, &Value::Null).unwrap();
        assert_eq!(status, 200, "{answer}");
        answer["lookup_pepper"].as_str().unwrap().to_owned()
    }

    /// Who the addresses are bound to, asked by their hashes.
    fn find(
        &self,
        server: &Running,
        addresses: &[String],
        pepper: &str,
    ) -> BTreeMap<String, String> {
        let parsed = Pepper::parse(pepper).unwrap();
        let hash = |address: &String| {
            let hash = LookupHash::of(address, Medium::Email, &parsed);
            signing::encode_base64(hash.as_bytes())
                .replace('+', "-")
                .replace('/', "_")
        };
        let by_hash: BTreeMap<String, &String> = addresses
            .iter()
            .map(|address| (hash(address), address))
            .collect();
        let hashes: Vec<&String> = by_hash.keys().collect();
        let body = json!({ "addresses": hashes, "algorithm": "sha256", "pepper": pepper });
        let path = "/_matrix/identity/v2/lookup";
        let (status, answer) = call_as(server.address, &self.bearer, "POST", path, &body).unwrap();
        assert_eq!(status, 200, "{answer}");
        let mappings = answer["mappings"].as_object().unwrap();
        mappings
            .iter()
            .map(|(hash, mxid)| (by_hash[hash].clone(), mxid.as_str().unwrap().to_owned()))
            .collect()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_pepper_that_is_changed_while_the_server_is_killed_is_right_before_and_after() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (authority, dns) = (Authority::new(), runtime.block_on(DnsServer::start()));
    dns.host("hs.example", "127.0.0.1");
    let homeserver = runtime.block_on(Homeserver::start(&authority, "hs.example"));
    let federation = format!(
        "[federation]\nallow_ips = [\"127.0.0.1\"]\ndns = [\"{}\"]\nca_file = \"{}\"\n",
        dns.address(),
        authority.file().display()
    );
    let prepared = Site::new();
    prepared.configure(&federation);
    let mut server = prepared.serve();
    let searcher = Searcher::register(&server, &homeserver);
    let mut adding = socket(&prepared);
    for number in 0..ADDRESSES {
        assert!(change(&mut adding, "add", &user(number)));
    }
    drop(adding);
    let before = searcher.pepper(&server);
    stop(&mut server);

    for round in 0..=ROUNDS {
        let site = Site::new();
        site.configure(&federation);
        copy(&prepared.store(), &site.store());
        let mut server = site.serve();
        let mut rotating = socket(&site);
        let rotation = thread::spawn(move || {
            let answer = rotating.ask(&json!({ "command": "pepper_rotate" }));
            answer.is_some_and(|answer| answer.get("ok").is_some())
        });
        // Others come and go meanwhile: each newcomer takes the place of somebody.
        let mut changing = socket(&site);
        let changes = thread::spawn(move || {
            for number in 0..ADDRESSES {
                let came = change(&mut changing, "add", &newcomer(number));
                if !came || !change(&mut changing, "remove", &user(number)) {
                    return (number + usize::from(came), number);
                }
            }
            (ADDRESSES, ADDRESSES)
        });
        let acknowledged = if round == ROUNDS {
            let acknowledged = rotation.join().unwrap();
            assert!(acknowledged);
            server.child.kill().unwrap();
            acknowledged
        } else {
            // Any moment is a good one; these are spread over the time that a change takes.
            thread::park_timeout(Duration::from_micros(round * 1500));
            server.child.kill().unwrap();
            rotation.join().unwrap()
        };
        server.wait();
        let (came, gone) = changes.join().unwrap();

        let server = site.serve();
        let current = searcher.pepper(&server);
        assert!(current != before || !acknowledged, "round {round}");
        let addresses: Vec<String> = (0..ADDRESSES)
            .flat_map(|number| [user(number), newcomer(number)])
            .collect();
        let found = searcher.find(&server, &addresses, &current);
        for number in 0..ADDRESSES {
            // What was under way when the server died may be there or not.
            let is_bound = |address: &str| found.contains_key(address);
            assert!(
                number >= came || is_bound(&newcomer(number)),
                "round {round}"
            );
            assert!(
                number <= came || !is_bound(&newcomer(number)),
                "round {round}"
            );
            assert!(number >= gone || !is_bound(&user(number)), "round {round}");
            assert!(number <= gone || is_bound(&user(number)), "round {round}");
        }
        for address in [
            user(came),
            newcomer(came.min(ADDRESSES - 1)),
            user(ADDRESSES - 1),
        ] {
            assert_eq!(
                bound(server.address, &address),
                found.get(&address).cloned()
            );
        }
        if current != before {
            let by_previous = searcher.find(&server, &addresses, &before);
            assert_eq!(by_previous, found, "round {round}");
        }
    }
}
