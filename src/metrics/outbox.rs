//! Outgoing work: what there is of it, and what tries to do it come to.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{Gauge, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{MetricsError, register};

/// The kinds of outgoing work.
const KINDS: [&str; 3] = ["onbind", "verification", "invitation"];

/// What a try to do outgoing work came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It is done.
    Delivered,
    /// Nobody wanted it any more.
    NotWanted,
    /// It is tried again later.
    Postponed,
    /// It was given up.
    Failed,
}

impl DeliveryOutcome {
    const ALL: [Self; 4] = [
        Self::Delivered,
        Self::NotWanted,
        Self::Postponed,
        Self::Failed,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NotWanted => "not_wanted",
            Self::Postponed => "postponed",
            Self::Failed => "failed",
        }
    }
}

/// What outgoing work there is at the moment of a scrape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxFigures {
    /// How much waits, by kind.
    pub waiting: BTreeMap<&'static str, u64>,
    /// How much was given up and is kept for the operator, by kind.
    pub failed: BTreeMap<&'static str, u64>,
    /// For how long the oldest of what waits has been there.
    pub oldest: Duration,
    /// For how long the first of it has been due.
    pub overdue: Duration,
}

/// The figures as they are shown.
pub(super) struct OutboxMetrics {
    items: IntGaugeVec,
    oldest: Gauge,
    overdue: Gauge,
    deliveries: IntCounterVec,
}

impl OutboxMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let gauge = |name: &str, help: &str| register(registry, Gauge::new(name, help));
        let metrics = Self {
            items: register(
                registry,
                IntGaugeVec::new(
                    Opts::new("bindery_outbox_items", "Outgoing work by kind and state"),
                    &["kind", "state"],
                ),
            )?,
            oldest: gauge(
                "bindery_outbox_oldest_seconds",
                "For how long the oldest outgoing work has waited; 0 if none does",
            )?,
            overdue: gauge(
                "bindery_outbox_overdue_seconds",
                "For how long the first outgoing work has been due; 0 if none is",
            )?,
            deliveries: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "bindery_outbox_deliveries_total",
                        "Tries to do outgoing work by what they came to",
                    ),
                    &["kind", "outcome"],
                ),
            )?,
        };
        for kind in KINDS {
            for outcome in DeliveryOutcome::ALL {
                metrics
                    .deliveries
                    .with_label_values(&[kind, outcome.name()]);
            }
        }
        metrics.set(&OutboxFigures::default());
        Ok(metrics)
    }

    pub(super) fn count(&self, kind: &'static str, outcome: DeliveryOutcome) {
        self.deliveries
            .with_label_values(&[kind, outcome.name()])
            .inc();
    }

    pub(super) fn set(&self, figures: &OutboxFigures) {
        for (state, items) in [("waiting", &figures.waiting), ("failed", &figures.failed)] {
            for kind in KINDS {
                let number = items.get(kind).copied().unwrap_or_default();
                self.items
                    .with_label_values(&[kind, state])
                    .set(i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
        self.oldest.set(figures.oldest.as_secs_f64());
        self.overdue.set(figures.overdue.as_secs_f64());
    }
}
