//! The tables of hashed addresses beside a plain model, while peppers come and go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bindery::clock::{Clock as _, ManualClock};
use bindery::config;
use bindery::random::Random;
use bindery::storage::tables::AssociationRecord;
use bindery::storage::{Found, Rotation, RotationProgress, Store, StoreError, associations};
use bindery::types::{LookupHash, Medium, Pepper, ServerName, ThreePid, Timestamp, UserId};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::server::START;

const GRACE: Duration = Duration::from_mins(10);

/// More than one step of a rotation takes up.
const ADDRESSES: u16 = 150;

fn open(folder: &Path) -> Store {
    let settings = config::Store {
        path: folder.to_owned(),
        ..config::Store::default()
    };
    Store::open(&settings, &ServerName::localhost()).unwrap()
}

fn threepid(number: u16) -> ThreePid {
    ThreePid::parse(Medium::Email, &format!("user{number}@example.org")).unwrap()
}

fn user(number: u16) -> UserId {
    UserId::parse(&format!("@u{number}:example.org")).unwrap()
}

fn record(number: u16) -> AssociationRecord {
    AssociationRecord {
        mxid: user(number),
        ts: START,
        not_before: START,
        not_after: Timestamp::from_millis(u64::MAX),
    }
}

async fn bind(store: &Store, bound: Vec<(u16, u16)>) {
    let change = move |tx: &mut bindery::storage::Tx<'_>| -> Result<(), StoreError> {
        bound.iter().try_for_each(|(address, user)| {
            associations::put(tx, &threepid(*address), &record(*user))
        })
    };
    store.write(change).await.unwrap();
}

async fn unbind(store: &Store, address: u16, from: u16) {
    let change = move |tx: &mut bindery::storage::Tx<'_>| -> Result<(), StoreError> {
        associations::remove(tx, &threepid(address), &user(from))
    };
    store.write(change).await.unwrap();
}

fn find(store: &Store, pepper: &Pepper, addresses: &[u16], now: Timestamp) -> Option<Found> {
    let hash = |number: &u16| {
        let threepid = threepid(*number);
        LookupHash::of(threepid.address(), threepid.medium(), pepper)
    };
    let hashes: Vec<Option<LookupHash>> = addresses.iter().map(|a| Some(hash(a))).collect();
    let found: Result<_, StoreError> = store.read(|tx| tx.lookup(pepper, &hashes, now));
    found.unwrap()
}

/// What a store is expected to answer.
#[derive(Default)]
struct Model {
    bound: BTreeMap<u16, u16>,
    current: Option<Pepper>,
    previous: Option<(Pepper, Timestamp)>,
    retired: Vec<Pepper>,
}

impl Model {
    fn turn_to(&mut self, pepper: Pepper, now: Timestamp) {
        if let Some((gone, _)) = self.previous.take() {
            self.retired.push(gone);
        }
        if let Some(before) = self.current.replace(pepper) {
            self.previous = Some((before, now.plus(GRACE)));
        }
    }

    fn holds(&self, store: &Store, now: Timestamp) {
        let addresses: Vec<u16> = (0..ADDRESSES).collect();
        let expected: Found = addresses
            .iter()
            .map(|address| {
                let mxid = user(*self.bound.get(address)?);
                Some(Arc::from(mxid.as_str()))
            })
            .collect();
        let found = |pepper: &Pepper| find(store, pepper, &addresses, now);
        if let Some(current) = &self.current {
            assert_eq!(found(current).as_ref(), Some(&expected));
        }
        if let Some((previous, until)) = &self.previous {
            let expected = (now < *until).then_some(&expected);
            assert_eq!(found(previous).as_ref(), expected);
        }
        for retired in &self.retired {
            assert_eq!(found(retired), None);
        }
        let told = store.read(|tx| Ok::<_, StoreError>(tx.peppers())).unwrap();
        assert_eq!(told.map(|peppers| peppers.current), self.current);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Bind(u16, u16),
    Unbind(u16),
    Begin,
    Fill,
    Finish,
    GiveUp,
    Wait(u64),
    EndGrace,
    Restart,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..ADDRESSES, 0..9_u16).prop_map(|(address, user)| Step::Bind(address, user)),
        3 => (0..ADDRESSES).prop_map(Step::Unbind),
        3 => Just(Step::Begin),
        6 => Just(Step::Fill),
        2 => Just(Step::Finish),
        1 => Just(Step::GiveUp),
        2 => (0..800_u64).prop_map(Step::Wait),
        2 => Just(Step::EndGrace),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Copies a folder as a crash would leave it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn run(filled: u16, steps: Vec<Step>) {
    let folder = TempDir::new().unwrap();
    let mut place = folder.path().join("0");
    let mut store = open(&place);
    let clock = ManualClock::at(START);
    let mut model = Model::default();
    bind(&store, (0..filled).map(|number| (number, 1)).collect()).await;
    model.bound.extend((0..filled).map(|number| (number, 1)));
    let mut rotation: Option<(Rotation, Pepper, bool)> = None;
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Bind(address, user) => {
                bind(&store, vec![(address, user)]).await;
                model.bound.insert(address, user);
            }
            Step::Unbind(address) => {
                if let Some(user) = model.bound.remove(&address) {
                    unbind(&store, address, user).await;
                }
            }
            Step::Begin => {
                let pepper = Random::system().pepper().unwrap();
                let begun = store.rotate_to(pepper.clone());
                let expected = rotation.is_none() && model.previous.is_none();
                assert_eq!(begun.is_ok(), expected);
                if let Ok(begun) = begun {
                    rotation = Some((begun, pepper, false));
                }
            }
            Step::Fill => {
                if let Some((rotation, _, built)) = &mut rotation {
                    *built |= matches!(rotation.step().unwrap(), RotationProgress::Built(_));
                }
            }
            Step::Finish => match rotation.take() {
                Some((done, pepper, true)) => {
                    done.finish(clock.now(), GRACE).await.unwrap();
                    model.turn_to(pepper, clock.now());
                }
                unfinished => rotation = unfinished,
            },
            Step::GiveUp => rotation = None,
            Step::Wait(seconds) => clock.advance(Duration::from_secs(seconds)),
            Step::EndGrace => {
                let is_over = |(_, until): &mut (Pepper, Timestamp)| *until <= clock.now();
                let gone = model.previous.take_if(is_over);
                assert_eq!(store.end_grace(clock.now()).await.unwrap(), gone.is_some());
                model.retired.extend(gone.map(|(pepper, _)| pepper));
            }
            Step::Restart => {
                rotation = None;
                assert!(store.close(Duration::from_secs(10)));
                store = open(&place);
            }
            Step::Crash => {
                let next = folder.path().join((number + 1).to_string());
                copy(&place, &next);
                rotation = None;
                store = open(&next);
                place = next;
            }
        }
        model.holds(&store, clock.now());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn lookups_equal_a_plain_model_after_any_interleaving(filled in 0..ADDRESSES, steps in steps()) {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(run(filled, steps));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nothing_is_lost_while_others_bind_and_peppers_change() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let clock = Arc::new(ManualClock::at(START));
    let pepper = || Random::system().pepper().unwrap();
    let rotate = async || {
        store.end_grace(clock.now()).await.unwrap();
        let rotated = store.rotate_pepper(pepper(), &*clock, GRACE).await;
        rotated.unwrap();
    };
    bind(&store, (0..ADDRESSES).map(|number| (number, 1)).collect()).await;
    rotate().await;
    let done = Arc::new(AtomicBool::new(false));
    let change = async |store: Store, clock: Arc<ManualClock>, done: Arc<AtomicBool>, part: u16| {
        let mut rounds = 0_u16;
        while !done.load(Ordering::Relaxed) || rounds == 0 {
            rounds = rounds.wrapping_add(1);
            for address in (part..ADDRESSES).step_by(16) {
                let user = rounds % 7;
                let expected = if rounds.is_multiple_of(3) {
                    unbind(&store, address, (rounds - 1) % 7).await;
                    None
                } else {
                    bind(&store, vec![(address, user)]).await;
                    Some(Arc::from(self::user(user).as_str()))
                };
                let told = store.read(|tx| Ok::<_, StoreError>(tx.peppers()));
                let current = told.unwrap().unwrap().current;
                let found = find(&store, &current, &[address], clock.now());
                assert_eq!(
                    found,
                    Some(Found::from_iter([expected])),
                    "in the lookup when it is answered"
                );
            }
        }
    };
    let changes: Vec<_> = (0..4)
        .map(|part| {
            let (store, clock, done) = (store.clone(), Arc::clone(&clock), Arc::clone(&done));
            tokio::spawn(change(store, clock, done, part))
        })
        .collect();
    for _ in 0..20 {
        clock.advance(GRACE);
        rotate().await;
    }
    done.store(true, Ordering::Relaxed);
    for change in changes {
        change.await.unwrap();
    }
    // Both peppers find the same, and the same as after a restart.
    let now = clock.now();
    let peppers = store
        .read(|tx| Ok::<_, StoreError>(tx.peppers()))
        .unwrap()
        .unwrap();
    let addresses: Vec<u16> = (0..ADDRESSES).collect();
    let by_current = find(&store, &peppers.current, &addresses, now);
    let previous = peppers.previous.unwrap().pepper;
    assert_eq!(find(&store, &previous, &addresses, now), by_current);
    assert!(store.close(Duration::from_secs(10)));
    let store = open(folder.path());
    assert_eq!(find(&store, &peppers.current, &addresses, now), by_current);
    assert_eq!(find(&store, &previous, &addresses, now), by_current);
}
