//! The endpoints that clients wait for, over kept connections.

use std::num::NonZeroU32;
use std::time::Duration;

use bindery::config::Rate;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::data::{self, CLIENT_SECRET};
use super::load::{self, Load};
use super::report::{self, Aim, Pair, Unit};
use super::servers::Server;
use super::{disk, limits, signing};

const BINDINGS: usize = 10_000;
const SESSIONS: usize = 10_000;

/// How many different requests there are of a kind.
const REQUESTS: usize = 5_000;

/// How many connections are kept.
const CONNECTIONS: [usize; 3] = [1, MANY, 64];

/// As many as keep one worker busy.
const MANY: usize = 16;

/// How long one turn takes.
const TURN: Duration = Duration::from_millis(400);

/// How long one turn takes that waits for the disk.
const DISK_TURN: Duration = Duration::from_secs(1);

const V1: &str = "/_matrix/identity/api/v1";

/// Runs the group.
pub fn run() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    data::fill_elsewhere(folder.path(), &(0..BINDINGS), SESSIONS);
    let server = Server::bindery(folder.path());

    let validated = requests(|number| {
        let sid = data::sid(number);
        load::get(&format!(
            "{V1}/3pid/getValidated3pid?sid={sid}&client_secret={CLIENT_SECRET}"
        ))
    });
    against_bare("getValidated3pid", &server, &validated, None);
    with_limits(&server, &validated);

    let lookup = requests(|number| {
        let address = data::address(number);
        load::get(&format!("{V1}/lookup?medium=email&address={address}"))
    });
    against_bare("v1 lookup", &server, &lookup, Some(signing::bare_micros()));

    let bind = requests(|number| {
        let body = json!({
            "sid": data::sid(number), "client_secret": CLIENT_SECRET, "mxid": data::user(number),
        });
        load::post(&format!("{V1}/3pid/bind"), &body.to_string())
    });
    for connections in CONNECTIONS {
        let mut load = Load::asleep(server.address, connections, &bind);
        let mut disk = disk::Appender::new(folder.path(), connections);
        let pair = Pair::measure(
            Unit::PerSecond,
            || load.run(DISK_TURN),
            || disk.run(DISK_TURN),
        );
        let name = format!("bind, {}", counted(connections));
        report::pair(&name, Unit::PerSecond, pair, Aim::None);
    }
}

/// What counting takes of a call: a server with limits that nobody reaches, beside one without that would not have to
/// count a request in its metrics either.
fn with_limits(without: &Server, requests: &[Vec<u8>]) {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    data::fill_elsewhere(folder.path(), &(0..0), SESSIONS);
    let limited = Server::bindery_with(folder.path(), |config| {
        let endless = Rate::new(NonZeroU32::MAX, Duration::from_secs(1));
        config.limits.enabled = true;
        config.limits.requests_by_ip = vec![endless];
    });
    let counting = limits::counting_micros();
    let mut subject = Load::awake(limited.address, MANY, requests);
    let mut ceiling = Load::awake(without.address, MANY, requests);
    let pair = Pair::measure(
        Unit::PerSecond,
        || subject.run(TURN),
        || 1.0 / (1.0 / ceiling.run(TURN) - counting / 1e6),
    );
    let name = "getValidated3pid, beside no limits and metrics";
    report::pair(name, Unit::PerSecond, pair, Aim::None);
}

fn requests(request: impl Fn(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    let scattered = data::scattered(REQUESTS);
    (0..REQUESTS)
        .map(|number| request(scattered(number)))
        .collect()
}

/// A call beside a bare answer of the same JSON; with `extra` microseconds that the ceiling has to spend as well.
fn against_bare(name: &str, server: &Server, requests: &[Vec<u8>], extra: Option<f64>) {
    let answer: Value =
        serde_json::from_slice(&load::answer(server.address, &requests[0])).unwrap();
    let bare = Server::bare(answer);
    for connections in CONNECTIONS {
        let mut subject = Load::awake(server.address, connections, requests);
        let mut ceiling = Load::awake(bare.address, connections, requests);
        let pair = Pair::measure(
            Unit::PerSecond,
            || subject.run(TURN),
            || {
                let rate = ceiling.run(TURN);
                1.0 / (1.0 / rate + extra.unwrap_or(0.0) / 1e6)
            },
        );
        let name = format!("{name}, {}", counted(connections));
        report::pair(&name, Unit::PerSecond, pair, Aim::Ratio(0.7));
    }
}

fn counted(connections: usize) -> String {
    match connections {
        1 => "1 connection".to_owned(),
        many => format!("{many} connections"),
    }
}
