//! What counting costs: a check of a limit, beside the digest that hides who is counted, and a request in the metrics.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bindery::clock::SystemClock;
use bindery::config;
use bindery::limits::{Action, Limits, Subject};
use bindery::metrics::{Answered, Metrics, RouteCounters};
use bindery::random::Random;
use ring::digest::{SHA256, digest};

use super::report::{self, Aim, Pair, Unit, micros_each};

/// How many checks one turn makes.
const CHECKS: usize = 100_000;

/// From how many sources.
const SOURCES: usize = 10_000;

/// Runs the group.
pub fn run() {
    let settings = config::Limits::default();
    let limits = Limits::new(&settings, Arc::new(SystemClock::new()), &Random::system()).unwrap();
    let pair = Pair::measure(
        Unit::Micros,
        || {
            micros_each(CHECKS, |turn| {
                let source = u32::try_from(turn % SOURCES).unwrap();
                let ip = IpAddr::V4(Ipv4Addr::from_bits(source));
                // Refused or not: both are a check.
                let _ = black_box(limits.take(Action::RequestsByIp, Subject::Ip(ip)));
            })
        },
        || {
            micros_each(CHECKS, |turn| {
                black_box(digest(&SHA256, &turn.to_be_bytes()));
            })
        },
    );
    report::pair("one check of a limit", Unit::Micros, pair, Aim::AtMost(1.0));
    report::alone(
        "counting a request",
        Unit::Micros,
        counting_micros(),
        Aim::AtMost(1.0),
    );
}

/// Microseconds that it takes to count an answered request in the metrics.
pub fn counting_micros() -> f64 {
    let metrics = Metrics::new([]).unwrap();
    let path = "/_matrix/identity/api/v1/3pid/getValidated3pid".to_owned();
    let route = RouteCounters::new(path);
    let answered = Answered {
        method: "GET",
        status: 200,
        errcode: None,
        duration: Duration::from_micros(50),
    };
    micros_each(CHECKS, |_| {
        metrics.answered(black_box(Some(&route)), answered);
    })
}
