use std::num::NonZeroU32;
use std::time::Duration;

use toml::Value;

use super::reader::Reader;
use super::values;
use crate::types::Invalid;

/// The longest time that a rate is counted over.
const LONGEST: Duration = Duration::from_hours(24 * 366);

/// `[limits]`: how often a thing may be done. Each limit is a list of rates that must all be kept; an
/// empty list is "off".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// False lifts all of them.
    pub enabled: bool,
    /// Requests from one address.
    pub requests_by_ip: Vec<Rate>,
    /// Registrations from one address.
    pub register_by_ip: Vec<Rate>,
    /// Mails to one e-mail address.
    pub email_by_address: Vec<Rate>,
    /// Mails asked for from one address.
    pub email_by_ip: Vec<Rate>,
    /// Mails asked for by one account.
    pub email_by_account: Vec<Rate>,
    /// SMS to one number.
    pub sms_by_number: Vec<Rate>,
    /// SMS asked for from one address.
    pub sms_by_ip: Vec<Rate>,
    /// SMS asked for by one account.
    pub sms_by_account: Vec<Rate>,
    /// SMS to numbers that differ in their last four digits only.
    pub sms_by_prefix: Vec<Rate>,
    /// SMS to the numbers of one country.
    pub sms_by_country: Vec<Rate>,
    /// Wrong tokens from one address.
    pub wrong_tokens_by_ip: Vec<Rate>,
    /// Wrong codes for one number.
    pub wrong_codes_by_number: Vec<Rate>,
    /// Unbinds by a homeserver's signature from one address.
    pub unbinds_by_ip: Vec<Rate>,
    /// Invitations by one user.
    pub invites_by_sender: Vec<Rate>,
    /// Invitations to one address.
    pub invites_by_address: Vec<Rate>,
    /// Different addresses that one account looks up; at most one rate, without a burst of its own.
    pub lookups_by_account: Vec<Rate>,
    /// Addresses looked up on v1 from one address.
    pub lookups_by_ip: Vec<Rate>,
    /// Times that the keys of one homeserver are fetched.
    pub key_fetches_by_server: Vec<Rate>,
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
        let day = Duration::from_hours(24);
        Self {
            enabled: true,
            requests_by_ip: default_rate(600, Duration::from_mins(1)),
            register_by_ip: default_rate(30, hour),
            email_by_address: default_rate(5, hour),
            email_by_ip: default_rate(30, hour),
            email_by_account: default_rate(20, hour),
            sms_by_number: [default_rate(3, hour), default_rate(10, day)].concat(),
            sms_by_ip: default_rate(10, hour),
            sms_by_account: default_rate(5, day),
            sms_by_prefix: default_rate(20, hour),
            sms_by_country: default_rate(200, day),
            wrong_tokens_by_ip: default_rate(60, hour),
            wrong_codes_by_number: default_rate(20, day),
            unbinds_by_ip: default_rate(60, hour),
            invites_by_sender: default_rate(30, hour),
            invites_by_address: default_rate(5, day),
            lookups_by_account: default_rate(10_000, day),
            lookups_by_ip: default_rate(100, day),
            key_fetches_by_server: default_rate(10, Duration::from_mins(1)),
        }
    }
}

fn default_rate(count: u32, per: Duration) -> Vec<Rate> {
    NonZeroU32::new(count)
        .map(|count| Rate::new(count, per))
        .into_iter()
        .collect()
}

impl Limits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("limits");
        Self {
            enabled: section.value("enabled", default.enabled, values::boolean),
            requests_by_ip: section.value("requests_by_ip", default.requests_by_ip, rates),
            register_by_ip: section.value("register_by_ip", default.register_by_ip, rates),
            email_by_address: section.value("email_by_address", default.email_by_address, rates),
            email_by_ip: section.value("email_by_ip", default.email_by_ip, rates),
            email_by_account: section.value("email_by_account", default.email_by_account, rates),
            sms_by_number: section.value("sms_by_number", default.sms_by_number, plain_rates),
            sms_by_ip: section.value("sms_by_ip", default.sms_by_ip, rates),
            sms_by_account: section.value("sms_by_account", default.sms_by_account, rates),
            sms_by_prefix: section.value("sms_by_prefix", default.sms_by_prefix, rates),
            sms_by_country: section.value("sms_by_country", default.sms_by_country, rates),
            wrong_tokens_by_ip: section.value(
                "wrong_tokens_by_ip",
                default.wrong_tokens_by_ip,
                rates,
            ),
            wrong_codes_by_number: section.value(
                "wrong_codes_by_number",
                default.wrong_codes_by_number,
                only_rate,
            ),
            unbinds_by_ip: section.value("unbinds_by_ip", default.unbinds_by_ip, rates),
            invites_by_sender: section.value("invites_by_sender", default.invites_by_sender, rates),
            invites_by_address: section.value(
                "invites_by_address",
                default.invites_by_address,
                rates,
            ),
            lookups_by_account: section.value(
                "lookups_by_account",
                default.lookups_by_account,
                only_rate,
            ),
            lookups_by_ip: section.value("lookups_by_ip", default.lookups_by_ip, rates),
            key_fetches_by_server: section.value(
                "key_fetches_by_server",
                default.key_fetches_by_server,
                rates,
            ),
        }
    }
}

const RATES: Invalid = Invalid::expecting(
    "a rate such as \"5/h\", \"600/m\" or \"20/10m\", one with a burst such as \
     { rate = \"5/h\", burst = 10 }, a list of rates, or \"off\"",
);

fn rates(value: &Value) -> Result<Vec<Rate>, Invalid> {
    match value {
        Value::String(text) if text == "off" => Ok(Vec::new()),
        Value::Array(items) if items.is_empty() => Err(RATES),
        Value::Array(items) => items.iter().map(|item| rate(item).ok_or(RATES)).collect(),
        single => rate(single).map(|rate| vec![rate]).ok_or(RATES),
    }
}

/// Rates whose counts come within their times.
fn plain_rates(value: &Value) -> Result<Vec<Rate>, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a rate without a burst such as \"20/d\", a list of such rates, or \"off\"",
    );
    let rates = rates(value).map_err(|_| EXPECTED)?;
    let has_burst = rates.iter().any(|rate| rate.burst != rate.count);
    (!has_burst).then_some(rates).ok_or(EXPECTED)
}

/// One rate whose count comes within its time, or none.
fn only_rate(value: &Value) -> Result<Vec<Rate>, Invalid> {
    const EXPECTED: Invalid =
        Invalid::expecting("one rate without a burst such as \"20/d\", or \"off\"");
    match value.as_str() {
        Some("off") => Ok(Vec::new()),
        text => text
            .and_then(plain_rate)
            .map(|rate| vec![rate])
            .ok_or(EXPECTED),
    }
}

fn rate(value: &Value) -> Option<Rate> {
    let table = match value {
        Value::String(text) => return plain_rate(text),
        Value::Table(table) => table,
        _ => return None,
    };
    if !table
        .keys()
        .all(|key| matches!(key.as_str(), "rate" | "burst"))
    {
        return None;
    }
    let mut rate = plain_rate(table.get("rate")?.as_str()?)?;
    if let Some(burst) = table.get("burst") {
        rate.burst = NonZeroU32::new(u32::try_from(burst.as_integer()?).ok()?)?;
    }
    Some(rate)
}

/// `5/h`, or `5/10m`: a count, and a duration whose number may be left out if it is 1.
fn plain_rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
        humantime::parse_duration(per)
    } else {
        humantime::parse_duration(&format!("1{per}"))
    };
    let per = per.ok().filter(|per| !per.is_zero() && *per <= LONGEST)?;
    Some(Rate::new(count.parse().ok()?, per))
}
