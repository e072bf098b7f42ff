//! What the store is like.

use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGaugeVec, Opts, Registry};

use super::{MetricsError, register};

/// The upper bounds of the histogram of syncs, in seconds: from a good solid-state disk to one that is about to fail.
const SYNC_LATENCIES: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

/// What the store is like at the moment of a scrape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// How many rows each table has, by its name.
    pub rows: Vec<(&'static str, u64)>,
    /// What the journal takes, in bytes.
    pub journal_bytes: u64,
    /// What the snapshots take, in bytes.
    pub snapshot_bytes: u64,
    /// What the index takes, in bytes.
    pub index_bytes: u64,
    /// How many frames were written since the start.
    pub frames: u64,
    /// When the newest snapshot was made, since the epoch; none if there is none yet.
    pub snapshot_made: Option<Duration>,
}

/// The figures as they are shown.
pub(super) struct StoreMetrics {
    rows: IntGaugeVec,
    bytes: IntGaugeVec,
    frames: IntCounter,
    syncs: Histogram,
    snapshot: Gauge,
}

impl StoreMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let gauges = |name: &str, help: &str, label: &str| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), &[label]))
        };
        let gauge = |name: &str, help: &str| register(registry, Gauge::new(name, help));
        Ok(Self {
            rows: gauges("bindery_store_rows", "Rows by table", "table")?,
            bytes: gauges(
                "bindery_store_bytes",
                "What the files of the store take on disk",
                "part",
            )?,
            frames: register(
                registry,
                IntCounter::new(
                    "bindery_store_frames_total",
                    "Groups of changes made durable since the start",
                ),
            )?,
            syncs: register(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "bindery_store_sync_duration_seconds",
                        "How long the disk took to make a group of changes durable",
                    )
                    .buckets(SYNC_LATENCIES.to_vec()),
                ),
            )?,
            snapshot: gauge(
                "bindery_store_snapshot_timestamp_seconds",
                "When the newest snapshot was made; 0 while there is none",
            )?,
        })
    }

    pub(super) fn synced(&self, took: Duration) {
        self.syncs.observe(took.as_secs_f64());
    }

    pub(super) fn set(&self, figures: &StoreFigures) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (table, rows) in &figures.rows {
            self.rows.with_label_values(&[table]).set(whole(*rows));
        }
        for (part, bytes) in [
            ("journal", figures.journal_bytes),
            ("snapshots", figures.snapshot_bytes),
            ("index", figures.index_bytes),
        ] {
            self.bytes.with_label_values(&[part]).set(whole(bytes));
        }
        let counted = self.frames.get();
        self.frames.inc_by(figures.frames.saturating_sub(counted));
        let made = figures.snapshot_made.unwrap_or_default();
        self.snapshot.set(made.as_secs_f64());
    }
}
