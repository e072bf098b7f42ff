//! Rate limits: a closed set of actions, each with rates that must all be kept, counted by governor over a table that
//! cannot grow beyond its cap.

mod distinct;
mod table;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::KeyedStateStore;
use governor::{Quota, RateLimiter};
use ring::digest::{Context, SHA256};

use self::distinct::Distinct;
use self::table::{Peek, Subject128, Table, Take};
use crate::clock::Clock;
use crate::config::{self, Rate};
use crate::random::{Random, RandomError};
use crate::types::{Country, LookupHash, ServerName, ThreePid, UserId};

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
    /// Mails that one account asked for.
    EmailByAccount,
    /// SMS to one number. The store counts those of the longest time.
    SmsByNumber,
    /// SMS that one source asked for.
    SmsByIp,
    /// SMS that one account asked for.
    SmsByAccount,
    /// SMS to numbers that differ in their last four digits only.
    SmsByPrefix,
    /// SMS to the numbers of one country.
    SmsByCountry,
    /// Wrong tokens from one source.
    WrongTokensByIp,
    /// Wrong codes for one number, which the store counts.
    WrongCodesByNumber,
    /// Unbinds by a homeserver's signature from one source.
    UnbindsByIp,
    /// Invitations by one user.
    InvitesBySender,
    /// Invitations to one address.
    InvitesByAddress,
    /// Different addresses that one account looks up.
    LookupsByAccount,
    /// Addresses that one source looks up without an account.
    LookupsByIp,
    /// Fetches of one homeserver's keys.
    KeyFetchesByServer,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::RequestsByIp,
        Self::RegisterByIp,
        Self::EmailByAddress,
        Self::EmailByIp,
        Self::EmailByAccount,
        Self::SmsByNumber,
        Self::SmsByIp,
        Self::SmsByAccount,
        Self::SmsByPrefix,
        Self::SmsByCountry,
        Self::WrongTokensByIp,
        Self::WrongCodesByNumber,
        Self::UnbindsByIp,
        Self::InvitesBySender,
        Self::InvitesByAddress,
        Self::LookupsByAccount,
        Self::LookupsByIp,
        Self::KeyFetchesByServer,
    ];

    /// The name of its key in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsByIp => "requests_by_ip",
            Self::RegisterByIp => "register_by_ip",
            Self::EmailByAddress => "email_by_address",
            Self::EmailByIp => "email_by_ip",
            Self::EmailByAccount => "email_by_account",
            Self::SmsByNumber => "sms_by_number",
            Self::SmsByIp => "sms_by_ip",
            Self::SmsByAccount => "sms_by_account",
            Self::SmsByPrefix => "sms_by_prefix",
            Self::SmsByCountry => "sms_by_country",
            Self::WrongTokensByIp => "wrong_tokens_by_ip",
            Self::WrongCodesByNumber => "wrong_codes_by_number",
            Self::UnbindsByIp => "unbinds_by_ip",
            Self::InvitesBySender => "invites_by_sender",
            Self::InvitesByAddress => "invites_by_address",
            Self::LookupsByAccount => "lookups_by_account",
            Self::LookupsByIp => "lookups_by_ip",
            Self::KeyFetchesByServer => "key_fetches_by_server",
        }
    }

    /// The rate that is not counted by how often, because different things count, or not here, because what is counted has
    /// to outlive the process: that of the longest time.
    fn counted_elsewhere(self, rates: &[Rate]) -> Option<Rate> {
        match self {
            Self::LookupsByAccount | Self::SmsByNumber | Self::WrongCodesByNumber => {
                rates.iter().copied().max_by_key(|rate| rate.per)
            }
            _ => None,
        }
    }

    fn rates(self, settings: &config::Limits) -> &[Rate] {
        match self {
            Self::RequestsByIp => &settings.requests_by_ip,
            Self::RegisterByIp => &settings.register_by_ip,
            Self::EmailByAddress => &settings.email_by_address,
            Self::EmailByIp => &settings.email_by_ip,
            Self::EmailByAccount => &settings.email_by_account,
            Self::SmsByNumber => &settings.sms_by_number,
            Self::SmsByIp => &settings.sms_by_ip,
            Self::SmsByAccount => &settings.sms_by_account,
            Self::SmsByPrefix => &settings.sms_by_prefix,
            Self::SmsByCountry => &settings.sms_by_country,
            Self::WrongTokensByIp => &settings.wrong_tokens_by_ip,
            Self::WrongCodesByNumber => &settings.wrong_codes_by_number,
            Self::UnbindsByIp => &settings.unbinds_by_ip,
            Self::InvitesBySender => &settings.invites_by_sender,
            Self::InvitesByAddress => &settings.invites_by_address,
            Self::LookupsByAccount => &settings.lookups_by_account,
            Self::LookupsByIp => &settings.lookups_by_ip,
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
    /// A user, by whatever token.
    User(&'a UserId),
    /// Numbers that begin with the same digits.
    Block(&'a str),
    /// The numbers of a country.
    Country(&'a Country),
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
    per: Duration,
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
    looked_up: Distinct,
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
            looked_up: Distinct::new(),
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
                counted: if let Some(limit) = same {
                    Arc::clone(&limit.counted)
                } else {
                    let elsewhere = action.counted_elsewhere(rates);
                    let here = rates.iter().filter(|rate| Some(**rate) != elsewhere);
                    here.filter_map(|rate| self.count(*rate)).collect()
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
        Some(Counted {
            peek,
            take,
            per: rate.per,
        })
    }

    /// Counts one action, unless that would be too much.
    ///
    /// # Errors
    /// When a rate is reached; nothing was counted then.
    pub fn take(&self, action: Action, subject: Subject<'_>) -> Result<(), Limited> {
        self.take_many(action, subject, NonZeroU32::MIN)
    }

    /// Counts many actions that are done at once, unless they would be too much together.
    ///
    /// # Errors
    /// When a rate is reached, or does not allow so many at once however long one waits; nothing was counted then.
    pub fn take_many(
        &self,
        action: Action,
        subject: Subject<'_>,
        count: NonZeroU32,
    ) -> Result<(), Limited> {
        let rates = self.rates(action);
        if rates.is_empty() {
            return Ok(());
        }
        let key = self.hide(subject);
        self.check(&rates, action, &key, count)?;
        for counted in rates.iter() {
            self.ask(&counted.take, counted.per, action, &key, count)?;
        }
        Ok(())
    }

    /// Counts one of each action, unless one of them would be too much.
    ///
    /// # Errors
    /// When a rate is reached; nothing was counted then, unless others used up what was left at this very moment.
    pub fn take_all(&self, wanted: &[(Action, Subject<'_>)]) -> Result<(), Limited> {
        for (action, subject) in wanted {
            self.peek(*action, *subject)?;
        }
        wanted
            .iter()
            .try_for_each(|(action, subject)| self.take(*action, *subject))
    }

    /// Counts the addresses that a user looks up for the first time in the configured time, which begins with the first
    /// of them. What was counted is forgotten at the end of the process.
    ///
    /// # Errors
    /// When they are too many; none of them was counted then.
    pub fn take_lookups<'a>(
        &self,
        user: &UserId,
        hashes: impl Iterator<Item = &'a LookupHash>,
    ) -> Result<(), Limited> {
        let action = Action::LookupsByAccount;
        let Some(rate) = self.rate_elsewhere(action) else {
            return Ok(());
        };
        let things = hashes.map(|hash| {
            let start = hash.as_bytes().first_chunk();
            start.copied().map_or(0, u64::from_be_bytes)
        });
        let key = self.hide(Subject::User(user));
        self.looked_up
            .take(key, rate.count, rate.per, self.clock.now(), things)
            .map_err(|retry_after| Limited {
                action,
                retry_after,
            })
    }

    /// Asks whether one more action would be too much, without counting it.
    ///
    /// # Errors
    /// When a rate is reached.
    pub fn peek(&self, action: Action, subject: Subject<'_>) -> Result<(), Limited> {
        let key = self.hide(subject);
        self.check(&self.rates(action), action, &key, NonZeroU32::MIN)
    }

    /// The rate of an action that is counted elsewhere than here; none while the limit is off.
    pub fn rate_elsewhere(&self, action: Action) -> Option<Rate> {
        let limits = self.actions.load();
        let found = limits.iter().find(|limit| limit.action == action);
        found.and_then(|limit| action.counted_elsewhere(&limit.rates))
    }

    fn check(
        &self,
        rates: &[Counted],
        action: Action,
        key: &Subject128,
        count: NonZeroU32,
    ) -> Result<(), Limited> {
        // The longest wait of all rates is the one that counts.
        let refused = rates
            .iter()
            .filter_map(|counted| {
                self.ask(&counted.peek, counted.per, action, key, count)
                    .err()
            })
            .max_by_key(|limited| limited.retry_after);
        refused.map_or(Ok(()), Err)
    }

    fn ask<S: KeyedStateStore<Subject128>>(
        &self,
        limiter: &Limiter<S>,
        per: Duration,
        action: Action,
        key: &Subject128,
        count: NonZeroU32,
    ) -> Result<(), Limited> {
        match limiter.check_key_n(key, count) {
            Ok(asked) => asked.map_err(|not_until| self.limited(action, &not_until)),
            // More than ever come at once. Who divides them is served after a while.
            Err(_) => Err(Limited {
                action,
                retry_after: per,
            }),
        }
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
            Subject::User(user) => context.update(user.as_str().as_bytes()),
            Subject::Block(digits) => context.update(digits.as_bytes()),
            Subject::Country(country) => context.update(country.as_str().as_bytes()),
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
