//! How the values of keys are read. Each of these takes what stands in the file and says what it
//! would have accepted.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use toml::Value;

use super::Secret;
use crate::types::Invalid;

/// The longest duration, a thousand years: any moment so far ahead can still be written as JSON.
const LONGEST: Duration = Duration::from_hours(24 * 365_250);

/// A text that `parse` takes.
pub(super) fn text<T>(
    value: &Value,
    parse: impl Fn(&str) -> Result<T, Invalid>,
    expected: Invalid,
) -> Result<T, Invalid> {
    value.as_str().ok_or(expected).and_then(parse)
}

/// A text that is not empty and stands on one line.
pub(super) fn line(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("a text of one line, in quotes");
    text(
        value,
        |text| is_line(text).then(|| text.to_owned()).ok_or(EXPECTED),
        EXPECTED,
    )
}

/// A secret that is written out.
pub(super) fn secret(value: &Value) -> Result<Secret, Invalid> {
    line(value).map(Secret::new)
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// The path of a file or folder.
pub(super) fn path(value: &Value) -> Result<PathBuf, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("a path, in quotes");
    text(
        value,
        |text| is_line(text).then(|| PathBuf::from(text)).ok_or(EXPECTED),
        EXPECTED,
    )
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, Invalid> {
    value.as_bool().ok_or(Invalid::expecting("true or false"))
}

/// A whole number in a range.
pub(super) fn whole<T: TryFrom<i64> + PartialOrd>(
    value: &Value,
    range: &RangeInclusive<T>,
    expected: Invalid,
) -> Result<T, Invalid> {
    value
        .as_integer()
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or(expected)
}

/// A duration longer than zero, such as `"24h"`.
pub(super) fn duration(value: &Value) -> Result<Duration, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a duration longer than zero such as \"10s\", \"15m\", \"24h\" or \"30d\", in quotes",
    );
    text(
        value,
        |text| humantime::parse_duration(text).map_err(|_| EXPECTED),
        EXPECTED,
    )
    .and_then(|duration| {
        if duration.is_zero() || duration > LONGEST {
            Err(EXPECTED)
        } else {
            Ok(duration)
        }
    })
}

/// A size in bytes in a range: `"64MiB"`, or a number of bytes.
pub(super) fn size(
    value: &Value,
    range: &RangeInclusive<u64>,
    expected: Invalid,
) -> Result<u64, Invalid> {
    let bytes = match value {
        Value::String(text) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
        Value::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    bytes.filter(|bytes| range.contains(bytes)).ok_or(expected)
}

/// A list of texts; a single text stands for a list of one.
pub(super) fn list<T>(
    value: &Value,
    parse: impl Fn(&str) -> Result<T, Invalid>,
    expected: Invalid,
) -> Result<Vec<T>, Invalid> {
    match value {
        Value::Array(items) => items
            .iter()
            .map(|item| text(item, &parse, expected))
            .collect(),
        single => text(single, &parse, expected).map(|item| vec![item]),
    }
}

/// A network, or a single address as a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    value: &Value,
    words: &[(&str, T)],
    expected: Invalid,
) -> Result<T, Invalid> {
    let given = value.as_str().ok_or(expected)?;
    words
        .iter()
        .find(|(word, _)| *word == given)
        .map(|(_, meaning)| *meaning)
        .ok_or(expected)
}
