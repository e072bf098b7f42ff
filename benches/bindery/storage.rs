//! Reading one row through the typed store, beside the same row out of sled.

use std::hint::black_box;
use std::time::Duration;

use bindery::storage::StoreError;
use bindery::storage::tables::Associations;
use bindery::types::ThreePid;
use tempfile::TempDir;

use super::data;
use super::report::{self, Aim, Pair, Unit, micros_each};

const BINDINGS: usize = 100_000;

/// How many reads one turn makes.
const READS: usize = 200_000;

/// A record of about this many bytes is what the store keeps for an association.
const RECORD: usize = 64;

/// Runs the group.
pub fn run() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = data::open(&folder.path().join("store"));
    data::bind(&store, 0..BINDINGS);
    let keys: Vec<ThreePid> = (0..BINDINGS).map(data::threepid).collect();

    let bare = sled::open(folder.path().join("bare")).unwrap();
    for key in &keys {
        bare.insert(key.address(), [0x5a; RECORD].as_slice())
            .unwrap();
    }
    bare.flush().unwrap();

    let scattered = data::scattered(BINDINGS);
    let pair = Pair::measure(
        Unit::Micros,
        || {
            micros_each(READS, |number| {
                let key = &keys[scattered(number)];
                let found: Result<_, StoreError> = store.read(|tx| tx.get::<Associations>(key));
                black_box(found.unwrap().unwrap());
            })
        },
        || {
            micros_each(READS, |number| {
                let key = &keys[scattered(number)];
                black_box(bare.get(key.address()).unwrap().unwrap());
            })
        },
    );
    report::pair("get of an association", Unit::Micros, pair, Aim::None);
    drop(bare);
    assert!(store.close(Duration::from_secs(30)));
}
