//! What the server counts of itself, and the text that Prometheus reads.
//!
//! Every label has a closed set of values, so that nobody outside can make the text grow: routes are those of the table,
//! methods and errcodes those that there are. No address, user or secret is ever a label.

mod invitations;
mod outbox;
mod requests;
mod store;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Encoder as _, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use self::invitations::InvitationMetrics;
pub use self::invitations::{InvitationFigures, InviteOutcome};
use self::outbox::OutboxMetrics;
pub use self::outbox::{DeliveryOutcome, OutboxFigures};
use self::requests::RequestMetrics;
pub use self::requests::{Answered, NO_ERRCODE, RouteCounters, UNKNOWN_ROUTE};
pub use self::store::StoreFigures;
use self::store::StoreMetrics;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics could not be set up, or not be written out.
#[derive(Debug, thiserror::Error)]
#[error("the metrics failed: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailOutcome {
    /// The mail server took it, or it lies in the folder.
    Sent,
    /// It will never be taken.
    Refused,
    /// It was not taken now.
    Temporary,
    /// It could not be written: our own fault.
    Failed,
}

impl MailOutcome {
    const ALL: [Self; 4] = [Self::Sent, Self::Refused, Self::Temporary, Self::Failed];

    const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Temporary => "temporary",
            Self::Failed => "failed",
        }
    }
}

/// What became of an SMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmsOutcome {
    /// The provider took it, or it lies in the folder.
    Sent,
    /// It will never be taken.
    Refused,
    /// It was not taken now.
    Temporary,
    /// It could not be written: our own fault.
    Failed,
    /// It was one too many for `sms.daily_budget`, and nobody was asked to take it.
    OverBudget,
}

impl SmsOutcome {
    const ALL: [Self; 5] = [
        Self::Sent,
        Self::Refused,
        Self::Temporary,
        Self::Failed,
        Self::OverBudget,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Temporary => "temporary",
            Self::Failed => "failed",
            Self::OverBudget => "over_budget",
        }
    }
}

/// What happened to a validation session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEvent {
    /// A client asked for a new one.
    Created,
    /// The right token came.
    Validated,
    /// Too many wrong tokens came.
    Burnt,
}

impl SessionEvent {
    const ALL: [Self; 3] = [Self::Created, Self::Validated, Self::Burnt];

    const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Validated => "validated",
            Self::Burnt => "burnt",
        }
    }
}

/// What a homeserver is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FederationCall {
    /// Whose an `OpenID` token is.
    Userinfo,
    /// Whether it signed a request; its keys are fetched if they are not known.
    Signature,
    /// To take what was bound to one of its users.
    Onbind,
}

impl FederationCall {
    const ALL: [Self; 3] = [Self::Userinfo, Self::Signature, Self::Onbind];

    const fn name(self) -> &'static str {
        match self {
            Self::Userinfo => "userinfo",
            Self::Signature => "signature",
            Self::Onbind => "onbind",
        }
    }
}

/// The counters of one server. Counting takes no lock that anybody holds for long, and never fails.
pub struct Metrics {
    registry: Registry,
    requests: RequestMetrics,
    limits: IntCounterVec,
    mails: IntCounterVec,
    sms: IntCounterVec,
    sessions: IntCounterVec,
    binds: IntCounter,
    unbinds: IntCounter,
    lookups: IntCounter,
    lookup_addresses: IntCounter,
    federation: IntCounterVec,
    invitations: InvitationMetrics,
    reloads: IntCounterVec,
    certificate_reloads: IntCounterVec,
    certificate_ends: IntGauge,
    outbox: OutboxMetrics,
    store: StoreMetrics,
}

impl Metrics {
    /// Counts a question to a homeserver, or a check of its signature; `outcome` is one of a closed set.
    pub fn federation(&self, call: FederationCall, outcome: &'static str) {
        self.federation
            .with_label_values(&[call.name(), outcome])
            .inc();
    }

    /// Counters at zero. `limits` are the names of all limits there are.
    ///
    /// # Errors
    /// None with the metrics that there are; their library's type asks for it.
    pub fn new<'a>(limits: impl IntoIterator<Item = &'a str>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| register(&registry, IntCounter::new(name, help));
        let gauge = |name: &str, help: &str| register(&registry, IntGauge::new(name, help));
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let metrics = Self {
            requests: RequestMetrics::new(&registry)?,
            limits: counters(
                "bindery_limits_hit_total",
                "Requests refused by a limit of [limits]",
                &["action"],
            )?,
            mails: counters(
                "bindery_mails_total",
                "Mails by what became of them",
                &["outcome"],
            )?,
            sms: counters(
                "bindery_sms_total",
                "SMS by what became of them",
                &["outcome"],
            )?,
            sessions: counters(
                "bindery_sessions_total",
                "Validation sessions by what happened to them",
                &["event"],
            )?,
            binds: counter("bindery_binds_total", "Associations published")?,
            unbinds: counter("bindery_unbinds_total", "Unbinds that were granted")?,
            lookups: counter("bindery_lookups_total", "Lookups that were answered")?,
            lookup_addresses: counter(
                "bindery_lookup_addresses_total",
                "Addresses that lookups asked for",
            )?,
            federation: counters(
                "bindery_federation_calls_total",
                "Questions to homeservers, and checks of their signatures, by how they went",
                &["call", "outcome"],
            )?,
            invitations: InvitationMetrics::new(&registry)?,
            reloads: counters(
                "bindery_reloads_total",
                "Reloads of the configuration",
                &["outcome"],
            )?,
            certificate_reloads: counters(
                "bindery_certificate_reloads_total",
                "Changed certificates by whether they could be used",
                &["outcome"],
            )?,
            certificate_ends: gauge(
                "bindery_certificate_expiry_timestamp_seconds",
                "When the certificate in force ends; 0 without TLS",
            )?,
            outbox: OutboxMetrics::new(&registry)?,
            store: StoreMetrics::new(&registry)?,
            registry,
        };
        metrics.begin(limits);
        let info = Opts::new("bindery_build_info", "The version, as a label")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        register(&metrics.registry, IntGauge::with_opts(info))?.set(1);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        metrics.registry.register(Box::new(process))?;
        Ok(metrics)
    }

    /// A counter that is not there yet looks to an alert like one that was never raised.
    fn begin<'a>(&self, limits: impl IntoIterator<Item = &'a str>) {
        for outcome in MailOutcome::ALL {
            self.mails.with_label_values(&[outcome.name()]);
        }
        for outcome in SmsOutcome::ALL {
            self.sms.with_label_values(&[outcome.name()]);
        }
        for event in SessionEvent::ALL {
            self.sessions.with_label_values(&[event.name()]);
        }
        for action in limits {
            self.limits.with_label_values(&[action]);
        }
        for call in FederationCall::ALL {
            self.federation.with_label_values(&[call.name(), "success"]);
        }
        for outcome in RELOADS {
            self.reloads.with_label_values(&[outcome]);
            self.certificate_reloads.with_label_values(&[outcome]);
        }
    }

    /// Counts an answered request; `route` is that of its path, if there is one.
    pub fn answered(&self, route: Option<&RouteCounters>, answered: Answered<'_>) {
        self.requests.answered(route, answered);
    }

    /// Says how many requests are being answered.
    pub fn in_flight(&self, requests: usize) {
        self.requests.in_flight(requests);
    }

    /// Counts a request that was one too many at once.
    pub fn overloaded(&self) {
        self.requests.overloaded();
    }

    /// Counts a refusal by a limit of this name.
    pub fn limited(&self, action: &str) {
        self.limits.with_label_values(&[action]).inc();
    }

    /// Counts a mail.
    pub fn mail(&self, outcome: MailOutcome) {
        self.mails.with_label_values(&[outcome.name()]).inc();
    }

    /// Counts an SMS.
    pub fn sms(&self, outcome: SmsOutcome) {
        self.sms.with_label_values(&[outcome.name()]).inc();
    }

    /// Counts what happened to a session.
    pub fn session(&self, event: SessionEvent) {
        self.sessions.with_label_values(&[event.name()]).inc();
    }

    /// Counts a try to do outgoing work of a kind.
    pub fn delivery(&self, kind: &'static str, outcome: DeliveryOutcome) {
        self.outbox.count(kind, outcome);
    }

    /// Takes over what outgoing work there is now.
    pub fn outbox(&self, figures: &OutboxFigures) {
        self.outbox.set(figures);
    }

    /// Counts a published association.
    pub fn bound(&self) {
        self.binds.inc();
    }

    /// Counts a granted unbind.
    pub fn unbound(&self) {
        self.unbinds.inc();
    }

    /// Counts a lookup of so many addresses.
    pub fn looked_up(&self, addresses: usize) {
        self.lookups.inc();
        self.lookup_addresses
            .inc_by(u64::try_from(addresses).unwrap_or(u64::MAX));
    }

    /// Counts a request to invite.
    pub fn invited(&self, outcome: InviteOutcome) {
        self.invitations.count(outcome);
    }

    /// Takes over how far the invitations that there are have come.
    pub fn invitations(&self, figures: &InvitationFigures) {
        self.invitations.set(figures);
    }

    /// Counts a reload that was carried out or refused.
    pub fn reloaded(&self, carried_out: bool) {
        self.reloads
            .with_label_values(&[reload_outcome(carried_out)])
            .inc();
    }

    /// Counts a certificate that took the place of another, or could not.
    pub fn certificate_reloaded(&self, carried_out: bool) {
        self.certificate_reloads
            .with_label_values(&[reload_outcome(carried_out)])
            .inc();
    }

    /// Takes over when the certificate in force ends, since the epoch.
    pub fn certificate(&self, ends: Duration) {
        let seconds = i64::try_from(ends.as_secs()).unwrap_or(i64::MAX);
        self.certificate_ends.set(seconds);
    }

    /// Counts a group of changes that the disk took so long for.
    pub fn synced(&self, took: Duration) {
        self.store.synced(took);
    }

    /// Takes over what the store is like now.
    pub fn store(&self, figures: &StoreFigures) {
        self.store.set(figures);
    }

    /// Everything in the text format of Prometheus.
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn text(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// What a reload can come to.
const RELOADS: [&str; 2] = ["done", "refused"];

fn reload_outcome(carried_out: bool) -> &'static str {
    let [done, refused] = RELOADS;
    if carried_out { done } else { refused }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> Result<C, MetricsError> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text().unwrap()).unwrap()
    }

    #[test]
    fn what_was_counted_stands_in_the_text() {
        let metrics = Metrics::new(["requests_by_ip"]).unwrap();
        metrics.in_flight(1);
        let route = RouteCounters::new("/x/{y}".to_owned());
        let answered = |method, status, errcode| {
            let answered = Answered {
                method,
                status,
                errcode,
                duration: Duration::from_millis(2),
            };
            metrics.answered(Some(&route), answered);
        };
        answered("GET", 404, Some("M_NOT_FOUND"));
        for method in ["GET", "POST", "GET"] {
            answered(method, 200, None);
        }
        metrics.looked_up(3);
        metrics.looked_up(4);
        let seen = text(&metrics);
        for line in [
            "bindery_http_requests_total{errcode=\"M_NOT_FOUND\",method=\"GET\",route=\"/x/{y}\",status=\"404\"} 1",
            "bindery_http_request_duration_seconds_bucket{route=\"/x/{y}\",le=\"0.0025\"} 4",
            "bindery_http_requests_total{errcode=\"-\",method=\"GET\",route=\"/x/{y}\",status=\"200\"} 2",
            "bindery_http_requests_total{errcode=\"-\",method=\"POST\",route=\"/x/{y}\",status=\"200\"} 1",
            "bindery_http_requests_in_flight 1",
            "bindery_lookups_total 2",
            "bindery_lookup_addresses_total 7",
            "bindery_sessions_total{event=\"burnt\"} 0",
            "bindery_limits_hit_total{action=\"requests_by_ip\"} 0",
        ] {
            assert!(seen.lines().any(|seen| seen == line), "{line}:\n{seen}");
        }
        assert!(seen.contains("process_resident_memory_bytes "));
        assert!(seen.contains("bindery_build_info{version="));
        metrics.in_flight(0);
        assert!(text(&metrics).contains("bindery_http_requests_in_flight 0"));
    }

    #[test]
    fn invented_methods_make_no_new_lines() {
        let metrics = Metrics::new([]).unwrap();
        for number in 0..100 {
            let answered = Answered {
                method: &format!("M{number}"),
                status: 405,
                errcode: Some("M_UNRECOGNIZED"),
                duration: Duration::ZERO,
            };
            metrics.answered(None, answered);
        }
        let text = text(&metrics);
        let lines = text
            .lines()
            .filter(|line| line.starts_with("bindery_http_requests_total{"))
            .count();
        assert_eq!(lines, 1, "{text}");
    }
}
