//! What v2 adds: asking whose a token is, and believing what a homeserver signed.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use bindery::clock::{Clock as _, SystemClock};
use bindery::config::Config;
use bindery::signing::ServerKey;
use bindery::storage::tables::AccountRecord;
use bindery::storage::{Store, StoreError, accounts, associations};
use bindery::types::{AccessToken, KeyId, UserId};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::authority::Authority;
use super::data;
use super::dns::DnsServer;
use super::homeserver::{Homeserver, federate};
use super::load::{self, Load};
use super::report::{self, Aim, Pair, Unit};
use super::servers::Server;

const ACCOUNTS: usize = 5_000;

/// Each is unbound once, so that each unbind is a write.
const UNBINDS: usize = 40_000;

const CONNECTIONS: [usize; 2] = [1, 16];
const TURN: Duration = Duration::from_millis(400);
const DISK_TURN: Duration = Duration::from_secs(1);

const V2: &str = "/_matrix/identity/v2";

/// Runs the group.
pub fn run() {
    account();
    unbind();
}

/// `GET account` beside a bare answer of the same JSON.
fn account() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = data::open(folder.path());
    let token = |number: usize| AccessToken::presented(&format!("token{number:038}"));
    write(&store, move |tx| {
        (0..ACCOUNTS).try_for_each(|number| {
            let now = SystemClock::new().now();
            let record = AccountRecord {
                mxid: UserId::parse(&data::user(number)).unwrap(),
                created: now,
                last_used: now,
            };
            accounts::put(tx, &token(number).hash(), &record)
        })
    });
    assert!(store.close(Duration::from_secs(30)));
    let server = Server::bindery(folder.path());
    let requests: Vec<Vec<u8>> = (0..ACCOUNTS)
        .map(|number| {
            let authorization = format!("authorization: Bearer {}\r\n", token(number).expose());
            load::with_header(load::get(&format!("{V2}/account")), &authorization)
        })
        .collect();
    let answer: Value =
        serde_json::from_slice(&load::answer(server.address, &requests[0])).unwrap();
    assert!(answer["user_id"].is_string(), "{answer}");
    let bare = Server::bare(answer);
    for connections in CONNECTIONS {
        let mut subject = Load::awake(server.address, connections, &requests);
        let mut ceiling = Load::awake(bare.address, connections, &requests);
        let pair = Pair::measure(Unit::PerSecond, || subject.run(TURN), || ceiling.run(TURN));
        let name = format!("GET account, {connections} at once");
        report::pair(&name, Unit::PerSecond, pair, Aim::Ratio(0.7));
    }
}

/// A signed unbind with known keys, beside one verification by ring and one write of the store, one after the other.
fn unbind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (authority, dns) = (Authority::new(), runtime.block_on(DnsServer::start()));
    dns.host("hs.example", "127.0.0.1");
    let homeserver = runtime.block_on(Homeserver::start(&authority, "hs.example"));
    let name = homeserver.name();
    let in_a_day = SystemClock::new().now().plus(Duration::from_hours(24));
    homeserver.show_keys(&name, in_a_day);

    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let user = move |number: usize| format!("@user{number}:{name}");
    let store = data::open(folder.path());
    bind_all(&store, &user);
    assert!(store.close(Duration::from_secs(30)));
    let server = Server::bindery_with(folder.path(), |config: &mut Config| {
        federate(&mut config.federation, &authority, &dns);
    });
    let uri = format!("{V2}/3pid/unbind");
    let requests: Vec<Vec<u8>> = (0..UNBINDS)
        .map(|number| {
            let body = json!({
                "mxid": user(number),
                "threepid": { "medium": "email", "address": data::address(number) },
            });
            let origin = homeserver.name();
            let signed = homeserver.sign(&origin, "localhost", &uri, &body);
            let header = format!("authorization: {signed}\r\n");
            load::with_header(load::post(&uri, &body.to_string()), &header)
        })
        .collect();
    let mut subject = Load::asleep(server.address, 1, &requests);

    let alone = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ceiling = Ceiling::new(alone.path());
    let pair = Pair::measure(
        Unit::PerSecond,
        || subject.run(DISK_TURN),
        || ceiling.run(DISK_TURN),
    );
    report::pair(
        "signed unbind, 1 connection",
        Unit::PerSecond,
        pair,
        Aim::Ratio(0.6),
    );
}

fn bind_all(store: &Store, user: &(impl Fn(usize) -> String + Clone + Send + 'static)) {
    for from in (0..UNBINDS).step_by(1_000) {
        let user = user.clone();
        write(store, move |tx| {
            (from..from + 1_000).try_for_each(|number| {
                let mut record = data::association(number);
                record.mxid = UserId::parse(&user(number)).unwrap();
                associations::put(tx, &data::threepid(number), &record)
            })
        });
    }
}

/// The least that a signed unbind has to do.
struct Ceiling {
    store: Store,
    runtime: tokio::runtime::Runtime,
    key: ServerKey,
    signature: Vec<u8>,
    /// How many rows were written; a row that is there already would cost no write.
    written: Cell<usize>,
}

const SIGNED: &[u8; 300] = &[b'x'; 300];

impl Ceiling {
    fn new(folder: &Path) -> Self {
        let seed = [7; 32];
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        Self {
            store: data::open(folder),
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
            key: ServerKey::from_seed(KeyId::parse("ed25519:1").unwrap(), &seed).unwrap(),
            signature: pair.sign(SIGNED).as_ref().to_vec(),
            written: Cell::new(0),
        }
    }

    fn run(&self, time: Duration) -> f64 {
        let started = std::time::Instant::now();
        let mut done = 0;
        while started.elapsed() < time {
            UnparsedPublicKey::new(&ED25519, self.key.public_key())
                .verify(SIGNED, &self.signature)
                .unwrap();
            let number = self.written.replace(self.written.get() + 1);
            self.runtime
                .block_on(self.store.write(move |tx| -> Result<(), StoreError> {
                    associations::put(tx, &data::threepid(number), &data::association(number))
                }))
                .unwrap();
            done += 1;
        }
        report::per_second(done, started.elapsed())
    }
}

fn write<F>(store: &Store, change: F)
where
    F: Fn(&mut bindery::storage::Tx<'_>) -> Result<(), StoreError> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(store.write(change)).unwrap();
}
