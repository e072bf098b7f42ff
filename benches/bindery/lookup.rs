//! Lookups by hash over stores of three sizes, what the tables cost, and another pepper while others are served.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bindery::clock::{Clock as _, SystemClock};
use bindery::random::Random;
use bindery::storage::tables::AccountRecord;
use bindery::storage::{Store, StoreError, accounts, associations};
use bindery::types::{AccessToken, LookupHash, Medium, Pepper, Timestamp, UserId};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::load::{self, Load};
use super::report::{self, Aim, Pair, Unit, median};
use super::servers::Server;
use super::{data, memory};

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// Hashes in one request.
const HASHES: [usize; 3] = [1, 100, 1_000];

/// How many different requests there are of a kind.
const REQUESTS: usize = 200;

const TURN: Duration = Duration::from_millis(400);

/// How long others are served before another pepper is brought in, to compare with.
const CALM: Duration = Duration::from_secs(3);

const GRACE: Duration = Duration::from_mins(10);

const TOKEN: &str = "the-token-of-whoever-looks-up";

const STARTS: usize = 3;

/// Runs the group.
pub fn run() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("store");
    let store = data::open(&place);
    register(&store);
    assert!(store.close(Duration::from_mins(1)));
    let smallest: Vec<Vec<f64>> = SIZES.iter().map(|size| sized(&place, *size)).collect();
    for (place, hashes) in HASHES.iter().enumerate() {
        let growth = smallest[0][place] / smallest[2][place];
        let name = format!("growth of {hashes} hashes from 1,000 to 1,000,000");
        report::alone(&name, Unit::Times, growth, Aim::AtMost(1.3));
    }
    another_pepper(&place);
    let starts = (0..STARTS).map(|_| memory::start(folder.path()).millis);
    let millis = median(starts.collect());
    let name = "start with 1,000,000 bindings";
    report::alone(name, Unit::Millis, millis, Aim::AtMost(6_000.0));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn register(store: &Store) {
    let now = SystemClock::new().now();
    let token = AccessToken::presented(TOKEN).hash();
    let record = AccountRecord {
        mxid: UserId::parse("@searcher:homeserver.example").unwrap(),
        created: now,
        last_used: now,
    };
    let change = move |tx: &mut bindery::storage::Tx<'_>| accounts::put(tx, &token, &record);
    let registered: Result<(), StoreError> = runtime().block_on(store.write(change));
    registered.unwrap();
}

/// Lookups over HTTP with so many bindings; answers the requests a second for each number of hashes.
fn sized(place: &Path, bindings: usize) -> Vec<f64> {
    let before = SIZES.iter().rev().find(|size| **size < bindings);
    data::fill_elsewhere(place, &(before.copied().unwrap_or(0)..bindings), 0);
    let server = Server::bindery(place);
    let measure = |hashes: &usize| {
        let requests = requests(&server, *hashes, bindings);
        let answer = load::answer(server.address, &requests[0]);
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let found = answer["mappings"].as_object().unwrap().len();
        assert_eq!(found, hashes.div_ceil(2));
        let bare = Server::bare_lookup(answer);
        let mut subject = Load::awake(server.address, 1, &requests);
        let mut ceiling = Load::awake(bare.address, 1, &requests);
        let pair = Pair::measure(Unit::PerSecond, || subject.run(TURN), || ceiling.run(TURN));
        let name = format!("{hashes} hashes, {bindings} bindings");
        report::pair(&name, Unit::PerSecond, pair, Aim::Ratio(0.7));
        pair.value
    };
    HASHES.iter().map(measure).collect()
}

/// Different requests for so many hashes each. Every other hash is bound, and a single one is.
fn requests(server: &Server, hashes: usize, bindings: usize) -> Vec<Vec<u8>> {
    let authorize =
        |request| load::with_header(request, &format!("authorization: Bearer {TOKEN}\r\n"));
    let details = authorize(load::get("/_matrix/identity/v2/hash_details"));
    let details: Value = serde_json::from_slice(&load::answer(server.address, &details)).unwrap();
    let pepper = Pepper::parse(details["lookup_pepper"].as_str().unwrap()).unwrap();
    let scattered = data::scattered(bindings);
    let request = |number: usize| {
        let address = |place: usize| match place % 2 {
            0 => data::address(scattered(number * hashes + place)),
            _ => data::address(bindings + place),
        };
        let hash = |place| LookupHash::of(&address(place), Medium::Email, &pepper);
        let addresses: Vec<String> = (0..hashes)
            .map(|place| base64(hash(place).as_bytes()))
            .collect();
        let body = json!({
            "addresses": addresses, "algorithm": "sha256", "pepper": pepper.as_str(),
        });
        authorize(load::post("/_matrix/identity/v2/lookup", &body.to_string()))
    };
    (0..REQUESTS).map(request).collect()
}

/// Unpadded URL-safe base64.
fn base64(bytes: &[u8]) -> String {
    bindery::signing::encode_base64(bytes)
        .replace('+', "-")
        .replace('/', "_")
}

/// Brings in another pepper for the most bindings while others look up and bind, and measures what its table takes.
fn another_pepper(place: &Path) {
    let store = data::open(place);
    let now = SystemClock::new().now();
    let pepper = store.read(|tx| Ok::<_, StoreError>(tx.peppers()));
    let pepper = pepper.unwrap().unwrap().current;
    let calm = while_serving(&store, &pepper, now, || std::thread::sleep(CALM));
    let before = memory::resident(std::process::id());
    let started = Instant::now();
    let busy = while_serving(&store, &pepper, now, || {
        let next = Random::system().pepper().unwrap();
        let clock = SystemClock::new();
        let rotated = store.rotate_pepper(next, &clock, GRACE);
        runtime().block_on(rotated).unwrap();
    });
    let seconds = started.elapsed().as_secs_f64();
    let grown = memory::resident(std::process::id()) - before;
    report::alone(
        "another pepper for 1,000,000 bindings",
        Unit::Millis,
        seconds * 1e3,
        Aim::None,
    );
    let names = ["p99 of lookups of 100 meanwhile", "p99 of binds meanwhile"];
    for ((name, busy), calm) in names.into_iter().zip(busy).zip(calm) {
        let pair = Pair::of(Unit::Micros, &[(busy, calm)]);
        report::pair(name, Unit::Micros, pair, Aim::None);
    }
    // A megabyte for a million bindings is a byte each.
    report::alone(
        "second table, a binding",
        Unit::Bytes,
        grown,
        Aim::AtMost(160.0),
    );
    assert!(store.close(Duration::from_mins(1)));
}

/// The 99th percentiles in microseconds of lookups and of binds, made by one thread each while something runs.
fn while_serving(store: &Store, pepper: &Pepper, now: Timestamp, work: impl FnOnce()) -> [f64; 2] {
    const MANY: usize = 100;
    let done = AtomicBool::new(false);
    let scattered = data::scattered(SIZES[2]);
    let p99 = |call: &dyn Fn(usize)| {
        let mut took = Vec::new();
        for number in 0.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let started = Instant::now();
            call(number);
            took.push(started.elapsed().as_secs_f64() * 1e6);
        }
        took.sort_by(f64::total_cmp);
        took[took.len() * 99 / 100]
    };
    let lookup = |number: usize| {
        let hash = |place| {
            let address = data::address(scattered(number * MANY + place));
            Some(LookupHash::of(&address, Medium::Email, pepper))
        };
        let hashes: Vec<Option<LookupHash>> = (0..MANY).map(hash).collect();
        let found: Result<_, StoreError> = store.read(|tx| tx.lookup(pepper, &hashes, now));
        black_box(found.unwrap().unwrap());
    };
    let writing = runtime();
    let bind = |number: usize| {
        let (address, user) = (scattered(number), scattered(number + 1));
        let change = move |tx: &mut bindery::storage::Tx<'_>| -> Result<(), StoreError> {
            associations::put(tx, &data::threepid(address), &data::association(user))
        };
        writing.block_on(store.write(change)).unwrap();
    };
    std::thread::scope(|scope| {
        let lookups = scope.spawn(|| p99(&lookup));
        let binds = {
            let (p99, bind) = (&p99, bind);
            scope.spawn(move || p99(&bind))
        };
        work();
        done.store(true, Ordering::Relaxed);
        [lookups.join().unwrap(), binds.join().unwrap()]
    })
}
