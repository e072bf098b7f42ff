//! Rate limits: a closed set of actions, each with rates that must all be kept, counted by governor over a table that
//! cannot grow beyond its cap.

mod table;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};
use ring::digest::{Context, SHA256};

use self::table::{Peek, Subject128, Table, Take};
use crate::clock::Clock;
use crate::config::{self, Rate};
use crate::random::{Random, RandomError};
use crate::types::{ServerName, ThreePid};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Requests of any kind from one source.
    RequestsByIp,
    /// Registrations from one source.
    RegisterByIp,
    /// Mails to one address.
    EmailByAddress,
    /// Mails that one source asked for.
    EmailByIp,
    /// Wrong tokens from one source.
    WrongTokensByIp,
    /// Unbinds by a homeserver's signature from one source.
    UnbindsByIp,
    /// Fetches of one homeserver's keys.
    KeyFetchesByServer,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::RequestsByIp,
        Self::RegisterByIp,
        Self::EmailByAddress,
        Self::EmailByIp,
        Self::WrongTokensByIp,
        Self::UnbindsByIp,
        Self::KeyFetchesByServer,
    ];

    /// The name of its key in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsByIp => "requests_by_ip",
            Self::RegisterByIp => "register_by_ip",
            Self::EmailByAddress => "email_by_address",
            Self::EmailByIp => "email_by_ip",
            Self::WrongTokensByIp => "wrong_tokens_by_ip",
            Self::UnbindsByIp => "unbinds_by_ip",
            Self::KeyFetchesByServer => "key_fetches_by_server",
        }
    }

    fn rates(self, settings: &config::Limits) -> &[Rate] {
        match self {
            Self::RequestsByIp => &settings.requests_by_ip,
            Self::RegisterByIp => &settings.register_by_ip,
            Self::EmailByAddress => &settings.email_by_address,
            Self::EmailByIp => &settings.email_by_ip,
            Self::WrongTokensByIp => &settings.wrong_tokens_by_ip,
            Self::UnbindsByIp => &settings.unbinds_by_ip,
            Self::KeyFetchesByServer => &settings.key_fetches_by_server,
        }
    }
}

/// Who is counted.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A source; of an IPv6 address only its network of 64 bits, which one customer has whole.
    Ip(IpAddr),
    /// A 3PID.
    ThreePid(&'a ThreePid),
    /// A homeserver.
    Server(&'a ServerName),
}

/// Too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limit `{}` is reached", action.name())]
pub struct Limited {
    /// What there was too much of.
    pub action: Action,
    /// After how long a next try succeeds, in whole milliseconds, if there is none before it.
    pub retry_after: Duration,
}

type Limiter<S> = RateLimiter<Subject128, S, Monotonic, NoOpMiddleware<Duration>>;

/// One rate of an action: the same counts, asked in two ways.
struct Counted {
    peek: Limiter<Peek>,
    take: Limiter<Take>,
}

/// What counts for one action.
struct Limit {
    action: Action,
    rates: Vec<Rate>,
    counted: Arc<[Counted]>,
}

/// All limits. Made once and shared by all workers.
pub struct Limits {
    actions: ArcSwap<Vec<Limit>>,
    clock: Monotonic,
    salt: [u8; 16],
}

impl Limits {
    /// Limits as configured, with nothing counted yet.
    ///
    /// # Errors
    /// When there is no randomness for the salt that subjects are hidden with.
    pub fn new(
        settings: &config::Limits,
        clock: Arc<dyn Clock>,
        random: &Random,
    ) -> Result<Self, RandomError> {
        let limits = Self {
            actions: ArcSwap::default(),
            clock: Monotonic(clock),
            salt: random.bytes()?,
        };
        limits.reload(settings);
        Ok(limits)
    }

    /// From now on these settings hold. What was counted of an action goes on counting, unless its rates are others now.
    pub fn reload(&self, settings: &config::Limits) {
        let before = self.actions.load();
        let limit = |action: Action| {
            let rates = if settings.enabled {
                action.rates(settings)
            } else {
                &[]
            };
            let same = before
                .iter()
                .find(|limit| limit.action == action && limit.rates == rates);
            Limit {
                action,
                rates: rates.to_vec(),
                counted: match same {
                    Some(limit) => Arc::clone(&limit.counted),
                    None => rates.iter().filter_map(|rate| self.count(*rate)).collect(),
                },
            }
        };
        let actions = Action::ALL.into_iter().map(limit).collect();
        self.actions.store(Arc::new(actions));
    }

    fn count(&self, rate: Rate) -> Option<Counted> {
        let quota = quota(rate)?;
        let table = Arc::new(Table::new());
        // Each counts time from when it was made. Made second, `peek` is the stricter one by the moment between, so
        // that what it lets through is not refused by `take`.
        let take = RateLimiter::new(quota, Take(Arc::clone(&table)), self.clock.clone());
        let peek = RateLimiter::new(quota, Peek(table), self.clock.clone());
        Some(Counted { peek, take })
    }

    /// Counts one action, unless that would be too much.
    ///
    /// # Errors
    /// When a rate is reached; nothing was counted then.
    pub fn take(&self, action: Action, subject: Subject<'_>) -> Result<(), Limited> {
        let key = self.hide(subject);
        let rates = self.rates(action);
        self.check(&rates, action, &key)?;
        for counted in rates.iter() {
            counted
                .take
                .check_key(&key)
                .map_err(|not_until| self.limited(action, &not_until))?;
        }
        Ok(())
    }

    /// Asks whether one more action would be too much, without counting it.
    ///
    /// # Errors
    /// When a rate is reached.
    pub fn peek(&self, action: Action, subject: Subject<'_>) -> Result<(), Limited> {
        self.check(&self.rates(action), action, &self.hide(subject))
    }

    fn check(&self, rates: &[Counted], action: Action, key: &Subject128) -> Result<(), Limited> {
        // The longest wait of all rates is the one that counts.
        let refused = rates
            .iter()
            .filter_map(|counted| counted.peek.check_key(key).err())
            .map(|not_until| self.limited(action, &not_until))
            .max_by_key(|limited| limited.retry_after);
        refused.map_or(Ok(()), Err)
    }

    fn rates(&self, action: Action) -> Arc<[Counted]> {
        let limits = self.actions.load();
        let found = limits.iter().find(|limit| limit.action == action);
        found.map_or_else(Arc::default, |limit| Arc::clone(&limit.counted))
    }

    fn limited(&self, action: Action, not_until: &governor::NotUntil<Duration>) -> Limited {
        let wait = not_until.wait_time_from(self.clock.now());
        let millis = wait.as_nanos().div_ceil(1_000_000);
        Limited {
            action,
            retry_after: Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)),
        }
    }

    /// A salted digest, so that no address stands in the table.
    fn hide(&self, subject: Subject<'_>) -> Subject128 {
        let mut context = Context::new(&SHA256);
        context.update(&self.salt);
        match subject {
            Subject::Ip(ip) => match ip.to_canonical() {
                IpAddr::V4(ip) => context.update(&ip.octets()),
                IpAddr::V6(ip) => {
                    let network = Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX));
                    context.update(&network.octets());
                }
            },
            Subject::ThreePid(threepid) => {
                context.update(threepid.medium().as_str().as_bytes());
                context.update(threepid.address().as_bytes());
            }
            Subject::Server(server) => context.update(server.as_str().as_bytes()),
        }
        let digest = context.finish();
        let half = digest.as_ref().first_chunk::<16>();
        Subject128(half.copied().map_or(0, u128::from_be_bytes))
    }
}

/// The rate as governor counts it; none for a rate of no time, which is no limit.
///
/// governor's nanoseconds overflow after some centuries, so what takes longer than a century to come back is cut to one:
/// no process lives to see the difference.
fn quota(rate: Rate) -> Option<Quota> {
    const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
    let one = (rate.per / rate.count.get()).min(CENTURY);
    let most = CENTURY.as_nanos().checked_div(one.as_nanos())?;
    let most = NonZeroU32::new(u32::try_from(most).unwrap_or(u32::MAX))?;
    Some(Quota::with_period(one)?.allow_burst(rate.burst.min(most)))
}

/// The injected clock as governor reads it.
#[derive(Clone)]
struct Monotonic(Arc<dyn Clock>);

impl governor::clock::Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::types::{Medium, Timestamp};
    use std::net::Ipv4Addr;

    const HOUR: Duration = Duration::from_hours(1);

    fn rate(count: u32, per: Duration) -> Rate {
        Rate::new(NonZeroU32::new(count).unwrap(), per)
    }

    fn limits(rates: &[(u32, Duration)]) -> (Limits, Arc<ManualClock>) {
        limits_with(
            true,
            rates
                .iter()
                .map(|(count, per)| rate(*count, *per))
                .collect(),
        )
    }

    fn limits_with(enabled: bool, rates: Vec<Rate>) -> (Limits, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1)));
        let settings = config::Limits {
            enabled,
            email_by_address: rates.clone(),
            email_by_ip: rates,
            ..config::Limits::default()
        };
        let limits = Limits::new(&settings, clock.clone(), &Random::system()).unwrap();
        (limits, clock)
    }

    fn ip(text: &str) -> Subject<'static> {
        Subject::Ip(text.parse().unwrap())
    }

    #[test]
    fn the_burst_is_free_and_then_one_comes_back_at_a_time() {
        let (limits, clock) = limits(&[(4, HOUR)]);
        let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
        for _ in 0..4 {
            take().unwrap();
        }
        assert_eq!(take().unwrap_err().retry_after, HOUR / 4);
        clock.advance((HOUR / 4).saturating_sub(Duration::from_millis(1)));
        assert_eq!(take().unwrap_err().retry_after, Duration::from_millis(1));
        clock.advance(Duration::from_millis(1));
        take().unwrap();
        take().unwrap_err();
        limits.take(Action::EmailByIp, ip("192.0.2.2")).unwrap();
        limits
            .take(Action::WrongTokensByIp, ip("192.0.2.1"))
            .unwrap();
    }

    #[test]
    fn peeking_counts_nothing() {
        let (limits, _) = limits(&[(1, HOUR)]);
        for _ in 0..10 {
            limits.peek(Action::EmailByIp, ip("192.0.2.1")).unwrap();
        }
        limits.take(Action::EmailByIp, ip("192.0.2.1")).unwrap();
        let refused = limits.peek(Action::EmailByIp, ip("192.0.2.1")).unwrap_err();
        assert_eq!(
            refused,
            Limited {
                action: Action::EmailByIp,
                retry_after: HOUR
            }
        );
    }

    #[test]
    fn all_rates_must_be_kept_and_a_refusal_uses_up_none() {
        let (limits, clock) = limits(&[(2, HOUR), (3, 24 * HOUR)]);
        let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
        take().unwrap();
        take().unwrap();
        take().unwrap_err();
        clock.advance(HOUR);
        take().unwrap();
        let refused = take().unwrap_err();
        assert_eq!(
            refused.retry_after,
            7 * HOUR,
            "of the two waits the longer one"
        );
        clock.advance(HOUR);
        for _ in 0..5 {
            take().unwrap_err();
        }
        clock.advance(6 * HOUR);
        take().unwrap();
    }

    #[test]
    fn a_source_is_its_network_and_a_mapped_address_is_ipv4() {
        let (limits, _) = limits(&[(1, HOUR)]);
        let take = |text| limits.take(Action::EmailByIp, ip(text)).is_ok();
        assert!(take("2001:db8:0:1::1"));
        assert!(!take("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert!(take("2001:db8:0:2::1"));
        assert!(take("192.0.2.1"));
        assert!(!take("::ffff:192.0.2.1"));
    }

    #[test]
    fn the_wall_clock_does_not_matter() {
        let (limits, clock) = limits(&[(1, HOUR)]);
        let address = ThreePid::parse(Medium::Email, "a@b.example").unwrap();
        let take = || limits.take(Action::EmailByAddress, Subject::ThreePid(&address));
        take().unwrap();
        clock.set_wall(Timestamp::from_millis(u64::MAX / 2));
        take().unwrap_err();
        clock.set_wall(Timestamp::from_millis(0));
        clock.advance(HOUR);
        take().unwrap();
    }

    #[test]
    fn parallel_takes_never_exceed_the_rate() {
        let (limits, _) = limits(&[(50, HOUR)]);
        let taken: usize = std::thread::scope(|scope| {
            let take = || {
                (0..100)
                    .filter(|_| limits.take(Action::EmailByIp, ip("192.0.2.1")).is_ok())
                    .count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 50);
    }

    #[test]
    fn a_million_sources_do_not_fill_the_memory() {
        let (limits, _) = limits(&[(1, HOUR)]);
        for number in 0..1_000_000 {
            let source = Subject::Ip(IpAddr::V4(Ipv4Addr::from_bits(number)));
            limits.take(Action::EmailByIp, source).unwrap();
        }
        let counted = limits.rates(Action::EmailByIp);
        let length = counted[0].take.len();
        assert!(length <= table::CAP, "{length} subjects are kept");
        let last = Subject::Ip(IpAddr::V4(Ipv4Addr::from_bits(999_999)));
        limits.take(Action::EmailByIp, last).unwrap_err();
    }

    #[test]
    fn a_source_that_goes_on_trying_is_not_forgotten_for_newer_ones() {
        let (limits, _) = limits(&[(1, HOUR)]);
        let stubborn = Subject::Ip(IpAddr::V4(Ipv4Addr::BROADCAST));
        limits.take(Action::EmailByIp, stubborn).unwrap();
        for number in 0..300_000 {
            let source = Subject::Ip(IpAddr::V4(Ipv4Addr::from_bits(number)));
            limits.take(Action::EmailByIp, source).unwrap();
            if number % 1000 == 0 {
                limits.take(Action::EmailByIp, stubborn).unwrap_err();
            }
        }
    }

    #[test]
    fn the_wait_is_told_in_whole_milliseconds_and_suffices() {
        let (limits, clock) = limits(&[(7, HOUR)]);
        let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
        (0..7).for_each(|_| take().unwrap());
        for _ in 0..20 {
            let wait = take().unwrap_err().retry_after;
            assert_eq!(wait.subsec_nanos() % 1_000_000, 0);
            clock.advance(wait.saturating_sub(Duration::from_millis(1)));
            take().unwrap_err();
            clock.advance(Duration::from_millis(1));
            take().unwrap();
        }
    }

    #[test]
    fn a_burst_may_be_smaller_or_larger_than_the_count() {
        for burst in [1, 10] {
            let (limits, clock) = limits_with(
                true,
                vec![Rate {
                    burst: NonZeroU32::new(burst).unwrap(),
                    ..rate(4, HOUR)
                }],
            );
            let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
            (0..burst).for_each(|_| take().unwrap());
            assert_eq!(take().unwrap_err().retry_after, HOUR / 4);
            clock.advance(100 * HOUR);
            (0..burst).for_each(|_| take().unwrap());
            take().unwrap_err();
        }
    }

    #[test]
    fn no_rate_is_too_long_or_too_short_to_count() {
        let forever = Duration::MAX;
        for rates in [
            vec![rate(1, forever)],
            vec![rate(u32::MAX, forever)],
            vec![Rate {
                burst: NonZeroU32::MAX,
                ..rate(1, 24 * HOUR)
            }],
            vec![rate(u32::MAX, Duration::from_nanos(1))],
            vec![rate(1, Duration::ZERO)],
        ] {
            let (limits, clock) = limits_with(true, rates);
            let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
            take().unwrap();
            let _ = take();
            clock.advance(10 * 365 * 24 * HOUR);
            let _ = take();
        }
        let (limits, _) = limits(&[(1, forever)]);
        let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
        take().unwrap();
        take().unwrap_err();
    }

    #[test]
    fn limits_that_are_not_enabled_do_not_limit() {
        let (limits, _) = limits_with(false, vec![rate(1, HOUR)]);
        for action in Action::ALL {
            for _ in 0..1000 {
                limits.take(action, ip("192.0.2.1")).unwrap();
            }
        }
    }

    #[test]
    fn a_subject_is_hidden_differently_in_every_process() {
        let (one, another) = (limits(&[]).0, limits(&[]).0);
        let address = ThreePid::parse(Medium::Email, "a@b.example").unwrap();
        let subject = Subject::ThreePid(&address);
        assert_eq!(one.hide(subject), one.hide(subject));
        assert_ne!(one.hide(subject), another.hide(subject));
    }

    #[test]
    fn a_reload_keeps_what_was_counted_of_a_rate_that_stays() {
        let (limits, _) = limits(&[(1, HOUR)]);
        let take = |action| limits.take(action, ip("192.0.2.1")).is_ok();
        assert!(take(Action::EmailByIp) && take(Action::WrongTokensByIp));
        assert!(!take(Action::EmailByIp));
        let rate = |count| vec![Rate::new(NonZeroU32::new(count).unwrap(), HOUR)];
        let mut settings = config::Limits {
            email_by_ip: rate(1),
            wrong_tokens_by_ip: rate(2),
            ..config::Limits::default()
        };
        limits.reload(&settings);
        assert!(!take(Action::EmailByIp), "the same rate goes on");
        assert!(take(Action::WrongTokensByIp) && take(Action::WrongTokensByIp));
        assert!(!take(Action::WrongTokensByIp), "the new rate holds");
        settings.enabled = false;
        limits.reload(&settings);
        assert!((0..100).all(|_| take(Action::EmailByIp)));
    }

    #[test]
    fn off_is_no_limit() {
        let (limits, _) = limits(&[]);
        for _ in 0..1000 {
            limits.take(Action::EmailByIp, ip("192.0.2.1")).unwrap();
        }
    }
}
