//! Draining the outbox: homeservers that do not answer must not slow those that do.

use std::time::{Duration, Instant};

use bindery::storage::{StoreError, associations};
use bindery::types::{RecordId, UserId};
use tempfile::TempDir;

use super::authority::Authority;
use super::data;
use super::dns::DnsServer;
use super::homeserver::{Homeserver, ONBIND, Reply, federate};
use super::report::{self, Aim, Pair, Unit};
use super::servers::Server;

const HOMESERVERS: usize = 100;
const DEAD: usize = 10;
const DELIVERIES: usize = 10_000;

/// Rows that are written at a time.
const STEP: usize = 1_000;

/// Runs the group.
pub fn run() {
    let all_live = drain(0);
    let some_dead = drain(DEAD);
    let live = DELIVERIES - DELIVERIES / HOMESERVERS * DEAD;
    let name = format!("{live} onbinds, {DEAD} of {HOMESERVERS} homeservers dead");
    report::alone(&name, Unit::Millis, millis(some_dead), Aim::None);
    let pair = Pair {
        value: report::per_second(live, some_dead),
        ceiling: report::per_second(DELIVERIES, all_live),
        ratio: report::per_second(live, some_dead) / report::per_second(DELIVERIES, all_live),
    };
    let name = "onbinds to the live ones, beside none dead";
    report::pair(name, Unit::PerSecond, pair, Aim::Ratio(0.8));
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How long it takes from the start of the server until all homeservers that answer have heard of all of their binds.
fn drain(dead: usize) -> Duration {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (authority, dns) = (Authority::new(), runtime.block_on(DnsServer::start()));
    let homeservers: Vec<Homeserver> = (0..HOMESERVERS)
        .map(|number| {
            let host = format!("hs{number}.example");
            dns.host(&host, "127.0.0.1");
            let homeserver = runtime.block_on(Homeserver::start(&authority, &host));
            homeserver.take_binds();
            homeserver
        })
        .collect();
    let (silent, live) = homeservers.split_at(dead);
    for homeserver in silent {
        homeserver.reply(ONBIND, Reply::Silence);
    }
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let names: Vec<String> = homeservers
        .iter()
        .map(|homeserver| homeserver.name().to_string())
        .collect();
    let store = data::open(folder.path());
    for from in (0..DELIVERIES).step_by(STEP) {
        let names = names.clone();
        let stored = store.write_blocking(move |tx| -> Result<(), StoreError> {
            (from..from + STEP).try_for_each(|number| {
                let mut record = data::association(number);
                let mxid = format!("@user{number}:{}", names[number % HOMESERVERS]);
                record.mxid = UserId::parse(&mxid).unwrap();
                let notice = RecordId::from_bytes((number as u128).to_be_bytes());
                associations::bind(tx, &data::threepid(number), &record, notice)
            })
        });
        stored.unwrap();
    }
    assert!(store.close(Duration::from_secs(30)));

    let started = Instant::now();
    let server = Server::bindery_with(folder.path(), |config| {
        federate(&mut config.federation, &authority, &dns);
    });
    for homeserver in live {
        let told = runtime.block_on(homeserver.told(DELIVERIES / HOMESERVERS));
        assert_eq!(told.len(), DELIVERIES / HOMESERVERS);
    }
    let took = started.elapsed();
    drop(server);
    took
}
