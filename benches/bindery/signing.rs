//! Signing an association, beside the bare signature over the same bytes.

use std::hint::black_box;

use bindery::signing::{ServerKey, canonical_json};
use bindery::types::{KeyId, ServerName};
use ring::signature::Ed25519KeyPair;
use serde_json::{Map, Value, json};

use super::data;
use super::report::{self, Aim, Pair, Unit, median, micros_each};

/// How many signatures one turn makes.
const SIGNATURES: usize = 5_000;

const SEED: [u8; 32] = [7; 32];

/// Runs the group.
pub fn run() {
    let key = ServerKey::from_seed(KeyId::parse("ed25519:1").unwrap(), &SEED).unwrap();
    let server = ServerName::localhost();
    let association = association();
    let pair = Pair::measure(
        Unit::Micros,
        || {
            micros_each(SIGNATURES, |_| {
                let mut object = association.clone();
                key.sign_json(&server, &mut object).unwrap();
                black_box(object);
            })
        },
        bare,
    );
    report::pair("signing an association", Unit::Micros, pair, Aim::None);
}

/// Microseconds that ring takes for the signature of an association.
pub fn bare_micros() -> f64 {
    median((0..9).map(|_| bare()).collect())
}

fn bare() -> f64 {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    let text = canonical_json(&Value::Object(association())).unwrap();
    micros_each(SIGNATURES, |_| {
        black_box(pair.sign(text.as_bytes()));
    })
}

fn association() -> Map<String, Value> {
    let record = data::association(1);
    let object = json!({
        "address": data::address(1),
        "medium": "email",
        "mxid": record.mxid.as_str(),
        "not_before": record.not_before.as_millis(),
        "not_after": record.not_after.as_millis(),
        "ts": record.ts.as_millis(),
    });
    object.as_object().unwrap().clone()
}
