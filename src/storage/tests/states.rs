//! Which states a power cut can leave: the generator reaches each kind, and where there are few, all of them are tried.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::crashes::{allowed, recorded, survives};
use super::disk::{Step, power_cut};

/// Up to how many states of one cut are all tried; of more, only these.
const FEW: usize = 48;

/// Answers that differ from run to run until each sequence of them was given once.
#[derive(Default)]
struct Every {
    answers: Vec<bool>,
    next: usize,
}

impl Every {
    fn chance(&mut self) -> bool {
        if self.next == self.answers.len() {
            self.answers.push(false);
        }
        self.next += 1;
        self.answers[self.next - 1]
    }

    /// Turns to the next sequence; false if there is none.
    fn turn(&mut self) -> bool {
        self.answers.truncate(self.next);
        self.next = 0;
        while self.answers.last() == Some(&true) {
            self.answers.pop();
        }
        match self.answers.last_mut() {
            Some(last) => {
                *last = true;
                true
            }
            None => false,
        }
    }
}

/// What a folder holds, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn files(folder: &Path) -> Files {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// All states that a cut after these steps can leave.
fn states(steps: &[Step]) -> Vec<Files> {
    let mut every = Every::default();
    let mut found = Vec::new();
    loop {
        let root = TempDir::new().unwrap();
        power_cut(steps, &mut || every.chance(), root.path());
        let state = files(root.path());
        if !found.contains(&state) {
            found.push(state);
        }
        if !every.turn() {
            return found;
        }
    }
}

fn create(name: &str, number: usize) -> Step {
    Step::Create(name.into(), number)
}

/// A file whose name and content are durable.
fn durable(name: &str, number: usize, content: &[u8]) -> Vec<Step> {
    vec![
        create(name, number),
        Step::Append(number, content.to_vec()),
        Step::Sync(number),
        Step::SyncFolder("".into()),
    ]
}

/// Some files with their content.
fn holding(files: &[(&str, &[u8])]) -> Files {
    files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
        .collect()
}

/// The generator leaves exactly these states.
#[track_caller]
fn leaves(steps: &[Step], expected: &[Files]) {
    let found = states(steps);
    for state in expected {
        assert!(found.contains(state), "never left: {state:?}");
    }
    for state in &found {
        assert!(expected.contains(state), "should not be left: {state:?}");
    }
}

#[test]
fn what_is_durable_stays() {
    let steps = durable("a", 0, b"first");
    leaves(&steps, &[holding(&[("a", b"first")])]);
}

#[test]
fn of_sectors_that_are_not_synced_any_may_be_there_and_any_may_be_missing() {
    let (old, new) = ([1; 512], [[2; 512], [3; 512]]);
    let mut steps = durable("a", 0, &old);
    steps.push(Step::Append(0, new.concat()));
    let file = |parts: &[[u8; 512]]| holding(&[("a", &parts.concat())]);
    let zeros = [0; 512];
    leaves(
        &steps,
        &[
            file(&[old]),
            // The file has grown by one sector, with and without what was written there,
            file(&[old, zeros]),
            file(&[old, new[0]]),
            // or by both.
            file(&[old, zeros, zeros]),
            file(&[old, new[0], zeros]),
            file(&[old, zeros, new[1]]),
            file(&[old, new[0], new[1]]),
        ],
    );
}

#[test]
fn a_cut_that_is_not_synced_may_be_lost_or_done_in_part() {
    let (first, second) = ([1; 512], [2; 512]);
    let mut steps = durable("a", 0, &[first, second].concat());
    steps.push(Step::Truncate(0, 0));
    let file = |parts: &[[u8; 512]]| holding(&[("a", &parts.concat())]);
    leaves(&steps, &[file(&[]), file(&[first]), file(&[first, second])]);
}

#[test]
fn names_that_are_not_synced_may_be_missing_or_of_before() {
    let mut new = durable("a", 0, b"first");
    new.extend([
        create("b", 1),
        Step::Append(1, b"second".to_vec()),
        Step::Sync(1),
    ]);
    let (first, second): (&[u8], &[u8]) = (b"first", b"second");
    leaves(
        &new,
        &[
            holding(&[("a", first)]),
            holding(&[("a", first), ("b", second)]),
        ],
    );
    // In place of the other file, which is either the one or the other.
    let mut renamed = new.clone();
    renamed.push(Step::SyncFolder("".into()));
    renamed.push(Step::Rename("b".into(), "a".into()));
    leaves(
        &renamed,
        &[
            holding(&[("a", first), ("b", second)]),
            holding(&[("a", second)]),
        ],
    );
    let mut removed = renamed.clone();
    removed.push(Step::SyncFolder("".into()));
    removed.push(Step::Remove("a".into()));
    leaves(&removed, &[holding(&[("a", second)]), holding(&[])]);
}

#[test]
fn after_a_power_cut_with_few_states_each_of_them_keeps_what_was_acknowledged() {
    let (steps, acknowledged) = recorded();
    let (mut complete, mut tried) = (0, 0);
    for cut in 0..=steps.len() {
        let allowed = allowed(&acknowledged, cut);
        let mut every = Every::default();
        for way in 1..=FEW {
            let root = TempDir::new().unwrap();
            power_cut(&steps[..cut], &mut || every.chance(), root.path());
            survives(
                root.path(),
                allowed,
                &format!("cut after {cut} steps, state {way}"),
            );
            tried += 1;
            if !every.turn() {
                complete += 1;
                break;
            }
        }
    }
    assert!(
        complete * 10 > steps.len() * 9,
        "{complete} of {} cuts were tried in all their states, {tried} in all",
        steps.len()
    );
}
