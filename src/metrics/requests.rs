//! What is counted of requests.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::{MetricsError, register};

/// The upper bounds of the latency histogram, in seconds.
const LATENCIES: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

/// What methods are called in labels; clients may send any word as a method.
const METHODS: [&str; 7] = ["GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", OTHER];

const OTHER: &str = "other";

/// What stands for the errcode of an answer that has none.
pub const NO_ERRCODE: &str = "-";

/// What stands for the route of a path that is not served.
pub const UNKNOWN_ROUTE: &str = "unknown";

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The method, as it was sent.
    pub method: &'a str,
    /// The status.
    pub status: u16,
    /// The errcode, if it was refused with one.
    pub errcode: Option<&'a str>,
    /// How long the answer took.
    pub duration: Duration,
}

/// The counters of one route. They are looked for among those of all routes only once.
#[derive(Debug, Clone)]
pub struct RouteCounters {
    path: String,
    durations: OnceLock<Histogram>,
    /// The answers with status 200, by method.
    succeeded: [OnceLock<IntCounter>; METHODS.len()],
}

impl RouteCounters {
    /// Those of a path of the route table.
    pub fn new(path: String) -> Self {
        Self {
            path,
            durations: OnceLock::new(),
            succeeded: Default::default(),
        }
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
    }
}

pub(super) struct RequestMetrics {
    answers: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGauge,
    overloads: IntCounter,
}

impl RequestMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let answers = Opts::new("bindery_http_requests_total", "Answered requests");
        let durations = HistogramOpts::new(
            "bindery_http_request_duration_seconds",
            "From the head of a request to its answer",
        );
        let in_flight = IntGauge::new(
            "bindery_http_requests_in_flight",
            "Requests that are being answered",
        );
        let overloads = IntCounter::new(
            "bindery_http_overloads_total",
            "Requests refused because api.max_requests were being answered",
        );
        let labels = ["route", "method", "status", "errcode"];
        Ok(Self {
            answers: register(registry, IntCounterVec::new(answers, &labels))?,
            durations: register(
                registry,
                HistogramVec::new(durations.buckets(LATENCIES.to_vec()), &["route"]),
            )?,
            in_flight: register(registry, in_flight)?,
            overloads: register(registry, overloads)?,
        })
    }

    pub(super) fn answered(&self, route: Option<&RouteCounters>, answered: Answered<'_>) {
        let path = route.map_or(UNKNOWN_ROUTE, RouteCounters::path);
        let known = METHODS.iter().position(|known| *known == answered.method);
        let place = known.unwrap_or(METHODS.len() - 1);
        let mut digits = [0; 3];
        let status = status_text(answered.status, &mut digits);
        let method = METHODS.get(place).copied().unwrap_or(OTHER);
        let errcode = answered.errcode.unwrap_or(NO_ERRCODE);
        let counter = || {
            self.answers
                .with_label_values(&[path, method, status, errcode])
        };
        let succeeded = route.and_then(|route| route.succeeded.get(place));
        match succeeded.filter(|_| answered.status == 200 && answered.errcode.is_none()) {
            Some(of_route) => of_route.get_or_init(counter).inc(),
            None => counter().inc(),
        }
        let histogram = || self.durations.with_label_values(&[path]);
        let seconds = answered.duration.as_secs_f64();
        match route {
            Some(route) => route.durations.get_or_init(histogram).observe(seconds),
            None => histogram().observe(seconds),
        }
    }

    pub(super) fn in_flight(&self, requests: usize) {
        self.in_flight
            .set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    pub(super) fn overloaded(&self) {
        self.overloads.inc();
    }
}

/// The three digits of a status, without an allocation.
fn status_text(status: u16, digits: &mut [u8; 3]) -> &str {
    let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or(0);
    *digits = [digit(status / 100), digit(status / 10), digit(status)];
    std::str::from_utf8(digits).unwrap_or("000")
}
