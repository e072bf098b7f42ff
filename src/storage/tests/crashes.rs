//! Power cuts at every moment, in every way that a disk may take them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::codec::{Key as _, Record as _};
use super::super::journal::Journal;
use super::super::layout::Layout;
use super::super::tables::{AssociationRecord, Associations, Table as _};
use super::super::{Store, merge, recovery};
use super::disk::{Step, TestDisk, power_cut};
use super::model::{self, Change, Model, QUIET, SMALL};
use crate::types::ThreePid;

/// A small source of chances that can be repeated.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// What journal and snapshots hold, without an index.
fn journal_content(folder: &Layout) -> Model {
    let all = |sequence| {
        let mut segments = recovery::list(folder)?.segments;
        segments.retain(|first| *first > sequence);
        Ok(segments)
    };
    merge::with_rows(folder, all, |moment| {
        let mut model = Model::new();
        moment.rows(folder, &mut |table, key, record| {
            if table == Associations::ID {
                let threepid = ThreePid::from_bytes(key).unwrap();
                let record = AssociationRecord::from_bytes(record).unwrap();
                let number = model::number(&threepid);
                model.insert(number, record.ts.as_millis());
            }
            Ok(())
        })?;
        Ok(model)
    })
    .unwrap()
}

/// Runs a fixed program, and answers the steps with, after each change, how many steps there were and what must be there.
pub(super) fn recorded() -> (Vec<Step>, Vec<(usize, Model)>) {
    let root = TempDir::new().unwrap();
    let disk = TestDisk::over(root.path());
    let mut model = Model::new();
    let mut acknowledged = vec![(0, model.clone())];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for round in 0..3_u64 {
        let store = model::open(root.path(), &disk, SMALL).unwrap();
        for step in 0..12_u64 {
            let version = round * 100 + step;
            let change: Change = (0..4)
                .map(|n| {
                    let number = u8::try_from((version * 5 + n * 3) % 16).unwrap();
                    (number, (n != 2).then_some(version))
                })
                .collect();
            model::commit(&store, &change).unwrap();
            model::apply(&mut model, &change);
            acknowledged.push((disk.step_count(), model.clone()));
            if step == 7 {
                runtime.block_on(store.snapshot()).unwrap();
            }
        }
        assert!(store.close(Duration::from_mins(1)));
    }
    (disk.steps(), acknowledged)
}

/// The states that may be found after a cut: what was acknowledged before, or the change that was under way.
pub(super) fn allowed(acknowledged: &[(usize, Model)], cut: usize) -> &[(usize, Model)] {
    let done = acknowledged.partition_point(|(steps, _)| *steps <= cut);
    &acknowledged[done - 1..acknowledged.len().min(done + 1)]
}

/// Journal and snapshots of a folder can be read, hold one of the allowed states, and go on doing so after the next start,
/// also when the power goes again right after it.
pub(super) fn survives(root: &Path, allowed: &[(usize, Model)], what: &str) {
    let folder = Layout::new(root);
    if !folder.journal().is_dir() {
        assert_eq!(allowed[0].1, Model::new(), "{what}");
        return;
    }
    let found = recovery::examine(&folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    let disk = TestDisk::over(root);
    Journal::resume(Arc::new(disk.clone()), folder.clone(), SMALL.sizes, &found).unwrap();
    let first = journal_content(&folder);
    assert!(
        allowed.iter().any(|(_, model)| *model == first),
        "{what}: {first:?} is none of {allowed:?}"
    );
    let again = TempDir::new().unwrap();
    power_cut(&disk.steps(), &mut || false, again.path());
    let folder = Layout::new(again.path());
    recovery::examine(&folder).unwrap();
    assert_eq!(journal_content(&folder), first, "{what}");
}

#[test]
fn after_any_power_cut_what_was_acknowledged_is_there_and_nothing_is_half_there() {
    let (steps, acknowledged) = recorded();
    let mut dice = Dice(0x5eed);
    let mut cuts = 0;
    for cut in 0..=steps.len() {
        let allowed = allowed(&acknowledged, cut);
        for way in 0..12 {
            let root = TempDir::new().unwrap();
            let mut chance = || match way {
                0 => false,
                1 => true,
                _ => dice.next() % 4 < way % 4 + 1,
            };
            power_cut(&steps[..cut], &mut chance, root.path());
            survives(
                root.path(),
                allowed,
                &format!("cut after {cut} steps, way {way}"),
            );
            cuts += 1;
        }
    }
    assert!(cuts > 1000, "{cuts}");
}

#[test]
fn a_store_opens_twice_after_a_power_cut_with_any_index_that_may_be_there() {
    let (steps, acknowledged) = recorded();
    let mut dice = Dice(0xd1ce);
    for cut in (0..=steps.len()).step_by(9) {
        let root = TempDir::new().unwrap();
        let mut chance = || dice.next().is_multiple_of(2);
        power_cut(&steps[..cut], &mut chance, root.path());
        let mut seen = Vec::new();
        for _ in 0..2 {
            let store = model::reopen(root.path());
            seen.push(model::content(&store));
            assert!(store.close(Duration::from_mins(1)));
        }
        assert_eq!(seen[0], seen[1]);
        let allowed = allowed(&acknowledged, cut);
        assert!(allowed.iter().any(|(_, model)| *model == seen[0]));
    }
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// One step of a random program.
#[derive(Debug, Clone)]
enum Action {
    Commit(Change),
    Refused(Change),
    Snapshot,
    Forget,
    Reopen,
    /// The power goes, with a seed for what survives; the index is gone, old, or that of the moment.
    PowerCut(u64, u8),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let change = || prop::collection::vec((0..12_u8, prop::option::of(0..1000_u64)), 1..6);
    let action = prop_oneof![
        12 => change().prop_map(Action::Commit),
        2 => change().prop_map(Action::Refused),
        2 => Just(Action::Snapshot),
        1 => Just(Action::Forget),
        1 => Just(Action::Reopen),
        3 => (1..u64::MAX, 0..3_u8).prop_map(|(seed, index)| Action::PowerCut(seed, index)),
    ];
    prop::collection::vec(action, 1..30)
}

/// A running store with everything that a crash of it needs.
struct Site {
    root: TempDir,
    disk: TestDisk,
    store: Store,
    /// The index as it was when the store was opened.
    old_index: TempDir,
}

impl Site {
    fn open(root: TempDir, small: bool) -> Self {
        let old_index = TempDir::new().unwrap();
        if root.path().join("index").exists() {
            copy_folder(&root.path().join("index"), &old_index.path().join("index"));
        }
        let disk = TestDisk::over(root.path());
        let options = if small { SMALL } else { QUIET };
        let store = model::open(root.path(), &disk, options).unwrap();
        Self {
            root,
            disk,
            store,
            old_index,
        }
    }

    /// Closes and answers the folder.
    fn close(self) -> TempDir {
        assert!(self.store.close(Duration::from_mins(1)));
        self.root
    }

    /// Cuts the power after some step since `since`, and answers the folder that is left and whether all steps were made.
    fn power_cut(self, since: usize, seed: u64, index: u8) -> (TempDir, bool) {
        let steps = self.disk.steps();
        let mut dice = Dice(seed);
        let cut = since + dice.below(steps.len() - since + 1);
        let all = cut == steps.len();
        let (disk, old_index) = (self.disk.clone(), TempDir::new().unwrap());
        if self.old_index.path().join("index").exists() {
            copy_folder(self.old_index.path(), old_index.path());
        }
        let closed = self.close();
        let left = TempDir::new().unwrap();
        let steps = disk.steps()[..cut].to_vec();
        power_cut(&steps, &mut || dice.next().is_multiple_of(2), left.path());
        let source = match index {
            0 => None,
            1 => Some(old_index.path().join("index")),
            // sled is told only what the journal has.
            _ => all.then(|| closed.path().join("index")),
        };
        if let Some(source) = source.filter(|source| source.exists()) {
            copy_folder(&source, &left.path().join("index"));
        }
        (left, all)
    }
}

/// How many random programs are run; more by `BINDERY_STORE_CASES`.
#[expect(
    clippy::disallowed_methods,
    reason = "how long to test is no setting of the server"
)]
fn cases() -> u32 {
    let cases = std::env::var("BINDERY_STORE_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(32)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_programs_keep_what_was_acknowledged(actions in actions(), small in any::<bool>()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut site = Site::open(TempDir::new().unwrap(), small);
        let mut model = Model::new();
        // Before the last commit, and the number of steps then.
        let mut before = (model.clone(), site.disk.step_count());
        for action in actions {
            match action {
                Action::Commit(change) => {
                    before = (model.clone(), site.disk.step_count());
                    model::commit(&site.store, &change).unwrap();
                    model::apply(&mut model, &change);
                }
                Action::Refused(change) => {
                    let refused = site.store.write_blocking(move |tx| {
                        model::write(tx, &change)?;
                        Err::<(), _>(super::super::StoreError::Stopped)
                    });
                    prop_assert!(refused.is_err());
                }
                Action::Snapshot => {
                    runtime.block_on(site.store.snapshot()).unwrap();
                    before = (model.clone(), site.disk.step_count());
                }
                Action::Forget => {
                    runtime.block_on(site.store.forget_deleted()).unwrap();
                    before = (model.clone(), site.disk.step_count());
                }
                Action::Reopen => {
                    site = Site::open(site.close(), small);
                    before = (model.clone(), site.disk.step_count());
                }
                Action::PowerCut(seed, index) => {
                    let (left, all) = site.power_cut(before.1, seed, index);
                    site = Site::open(left, small);
                    let found = model::content(&site.store);
                    prop_assert!(found == model || (!all && found == before.0));
                    model = found;
                    before = (model.clone(), site.disk.step_count());
                }
            }
            prop_assert_eq!(&model::content(&site.store), &model);
        }
        let site = Site::open(site.close(), small);
        prop_assert_eq!(model::content(&site.store), model);
    }
}
