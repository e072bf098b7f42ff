//! Invitations: what comes in, and how far those that there are have come.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{MetricsError, register};

/// What became of a request to invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteOutcome {
    /// A new invitation was stored and mailed.
    Stored,
    /// The one that waited already was mailed again.
    Resent,
    /// It was refused, for whatever reason.
    Refused,
}

impl InviteOutcome {
    const ALL: [Self; 3] = [Self::Stored, Self::Resent, Self::Refused];

    const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Resent => "resent",
            Self::Refused => "refused",
        }
    }
}

/// How many invitations there are, by how far they have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InvitationFigures {
    /// Wait for somebody to bind the address.
    pub pending: u64,
    /// Are being delivered.
    pub bound: u64,
    /// Were delivered.
    pub delivered: u64,
    /// Could not be delivered.
    pub failed: u64,
    /// Have come to their end, however far they had come.
    pub expired: u64,
}

/// The figures as they are shown.
pub(super) struct InvitationMetrics {
    requests: IntCounterVec,
    states: IntGaugeVec,
}

impl InvitationMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let requests = Opts::new(
            "bindery_invitation_requests_total",
            "Requests to invite, by what became of them",
        );
        let states = Opts::new(
            "bindery_invitations",
            "Invitations by how far they have come, when they were counted last",
        );
        let metrics = Self {
            requests: register(registry, IntCounterVec::new(requests, &["outcome"]))?,
            states: register(registry, IntGaugeVec::new(states, &["state"]))?,
        };
        for outcome in InviteOutcome::ALL {
            metrics.requests.with_label_values(&[outcome.name()]);
        }
        metrics.set(&InvitationFigures::default());
        Ok(metrics)
    }

    pub(super) fn count(&self, outcome: InviteOutcome) {
        self.requests.with_label_values(&[outcome.name()]).inc();
    }

    pub(super) fn set(&self, figures: &InvitationFigures) {
        let InvitationFigures {
            pending,
            bound,
            delivered,
            failed,
            expired,
        } = *figures;
        for (state, number) in [
            ("pending", pending),
            ("bound", bound),
            ("delivered", delivered),
            ("failed", failed),
            ("expired", expired),
        ] {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.states.with_label_values(&[state]).set(number);
        }
    }
}
