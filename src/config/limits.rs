use std::num::NonZeroU32;
use std::time::Duration;

/// `[limits]`: how often a thing may be done. Each limit is a list of rates that must all be kept; an empty list is "off".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// False lifts all of them.
    pub enabled: bool,
    /// Requests from one address.
    pub requests_by_ip: Vec<Rate>,
    /// Mails to one e-mail address.
    pub email_by_address: Vec<Rate>,
    /// Mails asked for from one address.
    pub email_by_ip: Vec<Rate>,
    /// Wrong tokens from one address.
    pub wrong_tokens_by_ip: Vec<Rate>,
}

/// How often a thing may be done in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How often.
    pub count: NonZeroU32,
    /// In how long; longer than zero.
    pub per: Duration,
    /// How often at once, after a pause; the count unless said otherwise.
    pub burst: NonZeroU32,
}

impl Rate {
    /// `count` times in `per`, all of them at once if need be.
    pub const fn new(count: NonZeroU32, per: Duration) -> Self {
        Self {
            count,
            per,
            burst: count,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let hour = Duration::from_hours(1);
        Self {
            enabled: true,
            requests_by_ip: default_rate(600, Duration::from_mins(1)),
            email_by_address: default_rate(5, hour),
            email_by_ip: default_rate(30, hour),
            wrong_tokens_by_ip: default_rate(60, hour),
        }
    }
}

fn default_rate(count: u32, per: Duration) -> Vec<Rate> {
    NonZeroU32::new(count)
        .map(|count| Rate::new(count, per))
        .into_iter()
        .collect()
}
