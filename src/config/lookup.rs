use std::time::Duration;

use toml::Value;

use super::reader::Reader;
use super::values;
use crate::types::{Invalid, LookupAlgorithm};

/// `[lookup]`: how addresses are looked up, and the bounds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// What clients may ask with; `sha256` is always among them.
    pub algorithms: Vec<LookupAlgorithm>,
    /// The most addresses in one request.
    pub max_addresses: usize,
    /// How old a pepper gets; none if it stays.
    pub rotate_pepper_every: Option<Duration>,
    /// How long the previous pepper answers after a new one was brought in; at most a day.
    pub grace: Duration,
}

impl Default for Lookup {
    fn default() -> Self {
        Self {
            algorithms: vec![LookupAlgorithm::Sha256],
            max_addresses: 10_000,
            rotate_pepper_every: Some(Duration::from_hours(30 * 24)),
            grace: Duration::from_mins(10),
        }
    }
}

impl Lookup {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const COUNT: Invalid = Invalid::expecting("a number from 1 to 1000000");
        let default = Self::default();
        let mut section = reader.section("lookup");
        Self {
            algorithms: section.value("algorithms", default.algorithms, algorithms),
            max_addresses: section.value("max_addresses", default.max_addresses, |value| {
                values::whole(value, &(1..=1_000_000), COUNT)
            }),
            rotate_pepper_every: section.value(
                "rotate_pepper_every",
                default.rotate_pepper_every,
                every,
            ),
            grace: section.value("grace", default.grace, grace),
        }
    }
}

fn algorithms(value: &Value) -> Result<Vec<LookupAlgorithm>, Invalid> {
    const EXPECTED: Invalid =
        Invalid::expecting("[\"sha256\"] or [\"sha256\", \"none\"]; sha256 cannot be left out");
    let algorithms = values::list(value, LookupAlgorithm::parse, EXPECTED).map_err(|_| EXPECTED)?;
    let times = |wanted| algorithms.iter().filter(|given| **given == wanted).count();
    if times(LookupAlgorithm::Sha256) == 1 && times(LookupAlgorithm::Plain) <= 1 {
        Ok(algorithms)
    } else {
        Err(EXPECTED)
    }
}

fn every(value: &Value) -> Result<Option<Duration>, Invalid> {
    const LEAST: Duration = Duration::from_hours(1);
    const EXPECTED: Invalid =
        Invalid::expecting("a duration of at least an hour such as \"30d\", or \"never\"");
    if value.as_str() == Some("never") {
        return Ok(None);
    }
    let every = values::duration(value).map_err(|_| EXPECTED)?;
    if every < LEAST {
        return Err(EXPECTED);
    }
    Ok(Some(every))
}

fn grace(value: &Value) -> Result<Duration, Invalid> {
    const MOST: Duration = Duration::from_hours(24);
    const EXPECTED: Invalid = Invalid::expecting("a duration of at most a day such as \"10m\"");
    let grace = values::duration(value).map_err(|_| EXPECTED)?;
    if grace > MOST {
        return Err(EXPECTED);
    }
    Ok(grace)
}
