//! Durable writes beside what the disk takes, reads beside writes, and work on the whole store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bindery::storage::tables::Associations;
use bindery::storage::{Store, StoreError, associations};
use bindery::types::ThreePid;
use tempfile::TempDir;

use super::disk::Appender;
use super::report::{self, Aim, Pair, Unit, per_second};
use super::{data, memory};

/// How many writers there are at a time.
const WRITERS: [usize; 4] = [1, 16, 64, 256];

/// How long each is measured, for each of the rounds.
const TIME: Duration = Duration::from_millis(300);

/// How many bindings are rebound.
const BINDINGS: usize = 10_000;

/// How many changes are made for the figure of the space they take.
const CHANGES: usize = 1_000_000;

/// Runs the group.
pub fn run() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = data::open(&folder.path().join("store"));
    data::bind(&store, 0..BINDINGS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let mut alone = None;
    for writers in WRITERS {
        let mut appender = Appender::new(folder.path(), 1);
        let mut latencies = Vec::new();
        let pair = Pair::measure(
            Unit::PerSecond,
            || {
                let (rate, mut took) = write(&runtime, &store, writers);
                latencies.append(&mut took);
                rate
            },
            || appender.run(TIME),
        );
        let aim = match alone {
            None => Aim::Ratio(0.6),
            Some(_) => Aim::None,
        };
        report::pair(
            &format!("write, {writers} writers"),
            Unit::PerSecond,
            pair,
            aim,
        );
        let one: f64 = *alone.get_or_insert(pair.value);
        if writers == 64 {
            let times = Pair {
                value: pair.value,
                ceiling: one,
                ratio: pair.value / one,
            };
            report::pair(
                "write, 64 writers beside 1",
                Unit::PerSecond,
                times,
                Aim::Ratio(4.0),
            );
        }
        latencies.sort_unstable();
        for (name, part) in [("p50", 50), ("p99", 99)] {
            let micros = latencies[latencies.len() * part / 100].as_secs_f64() * 1e6;
            let name = format!("write, {writers} writers, {name}");
            report::alone(&name, Unit::Micros, micros, Aim::None);
        }
    }
    reads(&runtime, &store);
    space(&runtime, &store);
    drop(runtime);
    assert!(store.close(Duration::from_secs(30)));
    for bindings in [10_000, 100_000, 1_000_000] {
        whole(bindings);
    }
}

/// Changes a second by so many writers, and how long each change took.
fn write(runtime: &tokio::runtime::Runtime, store: &Store, writers: usize) -> (f64, Vec<Duration>) {
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            runtime.spawn(async move {
                let mut took = Vec::new();
                let mut number = writer;
                while started.elapsed() < TIME {
                    let asked = Instant::now();
                    rebind(&store, number % BINDINGS).await;
                    took.push(asked.elapsed());
                    number += writers;
                }
                took
            })
        })
        .collect();
    let took: Vec<Duration> = tasks
        .into_iter()
        .flat_map(|task| runtime.block_on(task).unwrap())
        .collect();
    (per_second(took.len(), started.elapsed()), took)
}

async fn rebind(store: &Store, number: usize) {
    let threepid = data::threepid(number);
    let record = data::association(number);
    store
        .write(move |tx| -> Result<(), StoreError> {
            // A record that is what it was would not be written.
            let mut record = record.clone();
            let before = tx.get::<Associations>(&threepid)?;
            record.ts = before.map_or(record.ts, |before| before.ts.plus(Duration::from_millis(1)));
            associations::put(tx, &threepid, &record)
        })
        .await
        .unwrap();
}

/// The slowest hundredth of reads, without writers and beside 64 of them.
fn reads(runtime: &tokio::runtime::Runtime, store: &Store) {
    let keys: Vec<ThreePid> = (0..BINDINGS).map(data::threepid).collect();
    let scattered = data::scattered(BINDINGS);
    let p99 = || {
        let started = Instant::now();
        let mut took = Vec::new();
        while started.elapsed() < TIME * 3 {
            let key = &keys[scattered(took.len())];
            let asked = Instant::now();
            let found: Result<_, StoreError> = store.read(|tx| tx.get::<Associations>(key));
            assert!(found.unwrap().is_some());
            took.push(asked.elapsed());
        }
        took.sort_unstable();
        took[took.len() * 99 / 100].as_secs_f64() * 1e6
    };
    let pair = Pair::measure(
        Unit::Micros,
        || {
            let done = Arc::new(AtomicBool::new(false));
            let writers: Vec<_> = (0..64)
                .map(|writer| {
                    let (store, done) = (store.clone(), Arc::clone(&done));
                    runtime.spawn(async move {
                        let mut number = writer;
                        while !done.load(Ordering::Relaxed) {
                            rebind(&store, number % BINDINGS).await;
                            number += 64;
                        }
                    })
                })
                .collect();
            let beside = p99();
            done.store(true, Ordering::Relaxed);
            for writer in writers {
                runtime.block_on(writer).unwrap();
            }
            beside
        },
        p99,
    );
    report::pair(
        "p99 of a read beside 64 writers",
        Unit::Micros,
        pair,
        Aim::Ratio(0.2),
    );
}

/// What a million changes of the same bindings leave on the disk.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn space(runtime: &tokio::runtime::Runtime, store: &Store) {
    let mut most = (0, 0);
    let mut made = 0;
    let started = Instant::now();
    while made < CHANGES {
        let writers: Vec<_> = (0..256)
            .map(|writer| {
                let store = store.clone();
                runtime.spawn(async move {
                    for step in 0..100 {
                        rebind(&store, (writer * 100 + step) % BINDINGS).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            runtime.block_on(writer).unwrap();
        }
        made += 256 * 100;
        let stats = store.stats().unwrap();
        most.0 = most.0.max(stats.journal_bytes + stats.snapshot_bytes);
        most.1 = most.1.max(stats.index_bytes);
    }
    let rate = per_second(made, started.elapsed());
    report::alone("rebinding, 256 writers", Unit::PerSecond, rate, Aim::None);
    runtime.block_on(store.forget_deleted()).unwrap();
    let live = store.stats().unwrap().snapshot_bytes as f64 / 2.0 / 1e6;
    report::alone(
        "live data of 10,000 bindings",
        Unit::Megabytes,
        live,
        Aim::None,
    );
    let journal = most.0 as f64 / 1e6;
    report::alone(
        "most of journal and snapshots",
        Unit::Megabytes,
        journal,
        Aim::AtMost(40.0),
    );
    // What a start makes anew; the snapshot's own few bytes a row are in the live data here.
    let bound = 12.0 * live + f64::from(8 << 20) / 1e6;
    report::alone(
        "most of the index",
        Unit::Megabytes,
        most.1 as f64 / 1e6,
        Aim::AtMost(bound),
    );
}

/// Merging, rebuilding and starting with so many bindings.
fn whole(bindings: usize) {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("store");
    let store = data::open(&path);
    data::bind(&store, 0..bindings);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // The keeper may be at work; it is done when this is answered.
    runtime.block_on(store.snapshot()).unwrap();
    runtime
        .block_on(store.write(|tx| -> Result<(), StoreError> {
            associations::put(tx, &data::threepid(0), &data::association(1))
        }))
        .unwrap();
    let started = Instant::now();
    runtime.block_on(store.snapshot()).unwrap();
    let rate = per_second(bindings * 2, started.elapsed());
    report::alone(
        &format!("merge, {bindings} bindings, rows"),
        Unit::PerSecond,
        rate,
        Aim::None,
    );
    assert!(store.close(Duration::from_mins(1)));

    memory::start(folder.path());
    for index in ["good", "missing"] {
        if index == "missing" {
            std::fs::remove_dir_all(path.join("index")).unwrap();
        }
        let begun = memory::start(folder.path());
        report_start(bindings, index, &begun);
    }
}

fn report_start(bindings: usize, index: &str, begun: &memory::Started) {
    let aim = match (bindings, index) {
        (10_000, "good") => Aim::AtMost(100.0),
        _ => Aim::None,
    };
    let name = format!("start, {bindings} bindings, index {index}");
    report::alone(&name, Unit::Millis, begun.millis, aim);
    let name = format!("most memory, {bindings} bindings, index {index}");
    report::alone(&name, Unit::Megabytes, begun.most_megabytes, Aim::None);
}
