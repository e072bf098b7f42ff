//! What the measured stores are filled with.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bindery::config;
use bindery::storage::tables::{AssociationRecord, SessionRecord, Sessions};
use bindery::storage::{Store, StoreError, associations};
use bindery::types::{ClientSecret, Medium, ServerName, Sid, ThreePid, Timestamp, UserId};

/// A moment before any measurement.
const BEFORE: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Longer than any measurement takes.
const LONG: Duration = Duration::from_hours(24 * 365 * 50);

/// Rows that are written at a time.
const STEP: usize = 5_000;

/// The secret of every session.
pub const CLIENT_SECRET: &str = "a-secret-that-a-client-made-up";

/// The address of a number.
pub fn address(number: usize) -> String {
    format!("somebody.{number}@mail.example")
}

/// The user of a number.
pub fn user(number: usize) -> String {
    format!("@somebody.{number}:homeserver.example")
}

/// The session of a number.
pub fn sid(number: usize) -> String {
    format!("session-number-{number:07}")
}

/// The e-mail 3PID of a number.
pub fn threepid(number: usize) -> ThreePid {
    ThreePid::parse(Medium::Email, &address(number)).unwrap()
}

/// The binding of a number.
pub fn association(number: usize) -> AssociationRecord {
    AssociationRecord {
        mxid: UserId::parse(&user(number)).unwrap(),
        ts: BEFORE,
        not_before: BEFORE,
        not_after: BEFORE.plus(LONG),
    }
}

fn session(number: usize) -> SessionRecord {
    SessionRecord {
        threepid: threepid(number),
        client_secret: ClientSecret::parse(CLIENT_SECRET).unwrap().hash(),
        send_attempt: Some(1),
        wrong_tries: 0,
        created: BEFORE,
        validated_at: Some(BEFORE),
        expires: BEFORE.plus(LONG),
        next_link: None,
        language: Some("en".to_owned()),
        brand: None,
    }
}

/// Opens the store in a folder.
pub fn open(folder: &Path) -> Store {
    let settings = config::Store {
        path: folder.to_owned(),
        ..config::Store::default()
    };
    Store::open(&settings, &ServerName::localhost()).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

/// Adds the bindings of these numbers.
pub fn bind(store: &Store, numbers: Range<usize>) {
    let runtime = runtime();
    for numbers in steps(numbers) {
        let change = move |tx: &mut bindery::storage::Tx<'_>| -> Result<(), StoreError> {
            numbers.clone().try_for_each(|number| {
                associations::put(tx, &threepid(number), &association(number))
            })
        };
        runtime.block_on(store.write(change)).unwrap();
    }
}

/// Adds this many validated sessions.
fn validate(store: &Store, sessions: usize) {
    let runtime = runtime();
    for numbers in steps(0..sessions) {
        let change = move |tx: &mut bindery::storage::Tx<'_>| -> Result<(), StoreError> {
            numbers.clone().try_for_each(|number| {
                let sid = Sid::parse(&sid(number)).unwrap();
                tx.put::<Sessions>(&sid, &session(number))
            })
        };
        runtime.block_on(store.write(change)).unwrap();
    }
}

/// What a process is started with to fill a store: its folder, the numbers of the bindings, how many sessions.
const FILL: &str = "--fill";

/// Fills the store in a folder by a process of its own. To write very much leaves a heap behind in which whatever is
/// allocated later takes longer, and no server starts with such a heap.
pub fn fill_elsewhere(folder: &Path, bindings: &Range<usize>, sessions: usize) {
    let numbers = [bindings.start, bindings.end, sessions];
    let status = Command::new(std::env::current_exe().unwrap())
        .arg(FILL)
        .arg(folder)
        .args(numbers.map(|number| number.to_string()))
        .status();
    assert!(status.unwrap().success(), "the store could not be filled");
}

/// Does this if the process was started for it.
pub fn fill_for_parent() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder, numbers @ ..] = arguments.as_slice() else {
        return false;
    };
    if what != FILL {
        return false;
    }
    let numbers: Vec<usize> = numbers.iter().map(|text| text.parse().unwrap()).collect();
    let store = open(Path::new(folder));
    bind(&store, numbers[0]..numbers[1]);
    validate(&store, numbers[2]);
    assert!(store.close(Duration::from_mins(1)));
    true
}

fn steps(numbers: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = numbers.end;
    numbers
        .step_by(STEP)
        .map(move |from| from..end.min(from + STEP))
}

/// Numbers below `count` in an order without a pattern that a cache could use; each comes once before any comes again.
pub fn scattered(count: usize) -> impl Fn(usize) -> usize {
    // Prime, and larger than any count here.
    const STRIDE: usize = 1_000_000_007;
    move |number| number.wrapping_mul(STRIDE) % count
}
