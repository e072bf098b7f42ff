use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// The largest integer that every JSON reader reads exactly.
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// The deepest nesting that is written.
const MAX_DEPTH: usize = 64;

/// Why a value has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// A number that is no integer within ±(2^53−1).
    #[error("canonical JSON has only integers within ±(2^53−1)")]
    Number,
    /// Arrays and objects within each other beyond reason.
    #[error("the value is nested too deeply for canonical JSON")]
    Depth,
}

/// The one text of a value that signatures are made over (specification, appendix "Canonical JSON"): no white space, keys
/// sorted by code point, the shortest escapes, integers only. A float that is an integer is written as one.
///
/// # Errors
/// For numbers that are no integers within ±(2^53−1), and for nesting beyond 64.
pub fn canonical_json(value: &Value) -> Result<String, CanonicalError> {
    let mut out = String::new();
    write_value(value, &mut out, MAX_DEPTH)?;
    Ok(out)
}

/// [`canonical_json`] of an object without some of its keys.
pub(super) fn canonical_object(
    object: &Map<String, Value>,
    without: &[&str],
) -> Result<String, CanonicalError> {
    let mut out = String::new();
    write_object(object, without, &mut out, MAX_DEPTH)?;
    Ok(out)
}

fn write_value(value: &Value, out: &mut String, depth: usize) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => {
            let _ = write!(out, "{}", integer(number)?);
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            let depth = depth.checked_sub(1).ok_or(CanonicalError::Depth)?;
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_value(item, out, depth)?;
            }
            out.push(']');
        }
        Value::Object(object) => write_object(object, &[], out, depth)?,
    }
    Ok(())
}

fn write_object(
    object: &Map<String, Value>,
    without: &[&str],
    out: &mut String,
    depth: usize,
) -> Result<(), CanonicalError> {
    let depth = depth.checked_sub(1).ok_or(CanonicalError::Depth)?;
    let mut fields: Vec<_> = object
        .iter()
        .filter(|(key, _)| !without.contains(&key.as_str()))
        .collect();
    // The order of UTF-8 bytes is the order of code points.
    fields.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (place, (key, value)) in fields.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        write_value(value, out, depth)?;
    }
    out.push('}');
    Ok(())
}

fn integer(number: &Number) -> Result<i64, CanonicalError> {
    let integer = match (number.as_i64(), number.as_f64()) {
        (Some(integer), _) => integer,
        (None, Some(float)) if float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_991.0 => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an integer within the bounds of i64"
            )]
            let integer = float as i64;
            integer
        }
        _ => return Err(CanonicalError::Number),
    };
    if (-MAX_INTEGER..=MAX_INTEGER).contains(&integer) {
        Ok(integer)
    } else {
        Err(CanonicalError::Number)
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn becomes(text: &str, expected: &str) {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(canonical_json(&value).unwrap(), expected);
    }

    #[test]
    fn the_specifications_examples_come_out_as_it_shows() {
        becomes("{}", "{}");
        becomes(r#"{"one": 1, "two": "Two"}"#, r#"{"one":1,"two":"Two"}"#);
        becomes(r#"{"b":"2","a":"1"}"#, r#"{"a":"1","b":"2"}"#);
        becomes(r#"{"a":"日本語"}"#, r#"{"a":"日本語"}"#);
        becomes(r#"{"本":2,"日":1}"#, r#"{"日":1,"本":2}"#);
        becomes(r#"{"a":"\u65E5"}"#, r#"{"a":"日"}"#);
        becomes(r#"{"a":null}"#, r#"{"a":null}"#);
        becomes(r#"{"a":-0,"b":1e10}"#, r#"{"a":0,"b":10000000000}"#);
        becomes(
            r#"{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"medium":"email","address":"john.doe@example.org"},{"medium":"msisdn","address":"123456789"}]}}}"#,
            r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}"#,
        );
    }

    #[test]
    fn escapes_are_the_shortest_and_keys_stand_by_code_point() {
        becomes(
            "{\"a\":\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\\\/\\u007f\\u2028\"}",
            "{\"a\":\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\u{7f}\u{2028}\"}",
        );
        // U+FF61 comes before U+10000, though not in UTF-16.
        becomes(
            "{\"\u{10000}\":1,\"\u{ff61}\":2}",
            "{\"\u{ff61}\":2,\"\u{10000}\":1}",
        );
    }

    #[test]
    fn numbers_that_are_no_exact_integers_are_refused() {
        becomes(
            "[9007199254740991,-9007199254740991]",
            "[9007199254740991,-9007199254740991]",
        );
        for text in [
            "9007199254740992",
            "-9007199254740992",
            "1.5",
            "1e300",
            "18446744073709551615",
            "1e16",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(
                canonical_json(&value),
                Err(CanonicalError::Number),
                "{text}"
            );
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| {
            (1..levels).fold(Value::Array(Vec::new()), |inner, _| {
                Value::Array(vec![inner])
            })
        };
        assert!(canonical_json(&nested(64)).is_ok());
        assert_eq!(canonical_json(&nested(65)), Err(CanonicalError::Depth));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-MAX_INTEGER..=MAX_INTEGER).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_text_means_the_value_and_is_its_own_canonical_form(value in values()) {
            let text = canonical_json(&value).unwrap();
            let read: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(canonical_json(&read).unwrap(), text);
        }
    }
}
