//! Disks that fail, write less than they were asked to, or are full.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::super::codec::{Key, Record};
use super::super::tables::{Nothing, Table};
use super::super::{Store, StoreError, Tx};
use super::disk::{TestDisk, power_cut};
use super::model::{self, Model, QUIET};

const PATIENCE: Duration = Duration::from_mins(1);

struct Site {
    root: TempDir,
    disk: TestDisk,
    store: Store,
    model: Model,
}

impl Site {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let disk = TestDisk::over(root.path());
        let store = model::open(root.path(), &disk, QUIET).unwrap();
        let mut site = Self {
            root,
            disk,
            store,
            model: Model::new(),
        };
        site.writes(1);
        site
    }

    #[track_caller]
    fn writes(&mut self, version: u64) {
        let change = vec![(1, Some(version)), (2, Some(version))];
        model::commit(&self.store, &change).unwrap();
        model::apply(&mut self.model, &change);
        assert_eq!(model::content(&self.store), self.model);
    }

    #[track_caller]
    fn is_refused(&self) -> String {
        let refusal = model::commit(&self.store, &vec![(1, Some(99)), (3, Some(99))]).unwrap_err();
        assert!(refusal.is_unavailable(), "{refusal}");
        assert_eq!(model::content(&self.store), self.model, "reads go on");
        refusal.to_string()
    }

    /// What is there after a restart, and after a power cut right after that restart.
    fn restarted(self) -> (Model, Model) {
        assert!(self.store.close(PATIENCE));
        self.disk
            .faults(|faults| *faults = super::disk::Faults::default());
        let store = model::open(self.root.path(), &self.disk, QUIET).unwrap();
        let first = model::content(&store);
        let left = TempDir::new().unwrap();
        power_cut(&self.disk.steps(), &mut || false, left.path());
        let second = model::content(&model::reopen(left.path()));
        (first, second)
    }
}

#[test]
fn after_a_failed_sync_nothing_is_written_until_a_restart_made_sure_of_what_is_there() {
    let mut site = Site::new();
    site.writes(2);
    site.disk.faults(|faults| faults.sync = true);
    assert!(site.is_refused().contains("cannot be synced"));
    // The disk claims to be well again, which says nothing about what it lost.
    site.disk.faults(|faults| faults.sync = false);
    let steps = site.disk.step_count();
    site.is_refused();
    assert_eq!(site.disk.step_count(), steps, "nothing more was written");

    let acknowledged = site.model.clone();
    let mut with_it = acknowledged.clone();
    model::apply(&mut with_it, &vec![(1, Some(99)), (3, Some(99))]);
    let (served, after_power_cut) = site.restarted();
    assert!(served == acknowledged || served == with_it);
    assert_eq!(after_power_cut, served, "what was served is durable");
}

#[test]
fn a_short_write_is_taken_back() {
    for written in [0, 1, 53, 54, 100, 200] {
        let mut site = Site::new();
        site.disk.faults(|faults| faults.short = Some(written));
        assert!(site.is_refused().contains("cannot be written"));
        site.writes(3);
        let model = site.model.clone();
        assert_eq!(site.restarted(), (model.clone(), model));
    }
}

#[test]
fn what_cannot_be_taken_back_ends_writing() {
    let site = Site::new();
    site.disk.faults(|faults| {
        faults.short = Some(70);
        faults.truncate = true;
    });
    assert!(site.is_refused().contains("cannot be removed"));
    site.disk.faults(|faults| faults.truncate = false);
    site.is_refused();
    let model = site.model.clone();
    assert_eq!(site.restarted(), (model.clone(), model));
}

#[test]
fn below_the_reserve_of_free_space_nothing_is_written_and_writing_resumes() {
    let mut site = Site::new();
    site.disk.set_free(QUIET.sizes.reserve - 1);
    let steps = site.disk.step_count();
    assert!(site.is_refused().contains("the disk is full"));
    assert_eq!(site.disk.step_count(), steps, "nothing was written");
    site.disk.set_free(QUIET.sizes.reserve);
    site.writes(4);
}

#[tokio::test]
async fn whether_a_change_could_be_written_is_known_without_one() {
    let site = tokio::task::spawn_blocking(Site::new).await.unwrap();
    let probe = async || site.store.check_writable().await.map_err(|e| e.to_string());
    let refused = async || {
        let change = |tx: &mut Tx<'_>| model::write(tx, &vec![(1, Some(99))]);
        assert!(site.store.write(change).await.is_err());
    };
    assert_eq!(probe().await, Ok(()));
    site.disk.set_free(QUIET.sizes.reserve - 1);
    for _ in 0..2 {
        assert!(probe().await.unwrap_err().contains("the disk is full"));
    }
    site.disk.set_free(QUIET.sizes.reserve);
    assert_eq!(probe().await, Ok(()));

    // A disk that has room and takes nothing shows only when something is written.
    site.disk.faults(|faults| faults.short = Some(10));
    refused().await;
    site.disk.faults(|faults| faults.short = Some(10));
    assert!(probe().await.unwrap_err().contains("cannot be written"));
    assert_eq!(probe().await, Ok(()), "it takes something again");
    let steps = site.disk.step_count();
    assert_eq!(probe().await, Ok(()));
    assert_eq!(site.disk.step_count(), steps, "and need not be tried again");

    site.disk.faults(|faults| faults.sync = true);
    refused().await;
    site.disk.faults(|faults| faults.sync = false);
    assert!(probe().await.unwrap_err().contains("cannot be synced"));
    let model = site.model.clone();
    let restarted = tokio::task::spawn_blocking(move || site.restarted()).await;
    let mut with_it = model.clone();
    model::apply(&mut with_it, &vec![(1, Some(99))]);
    let (served, after_power_cut) = restarted.unwrap();
    assert!(served == model || served == with_it);
    assert_eq!(served, after_power_cut);
}

#[tokio::test]
async fn a_snapshot_that_fails_stops_nobody() {
    let mut site = tokio::task::spawn_blocking(Site::new).await.unwrap();
    site.disk.faults(|faults| faults.create = true);
    assert!(site.store.snapshot().await.is_err());
    site = tokio::task::spawn_blocking(move || {
        site.writes(5);
        site
    })
    .await
    .unwrap();
    site.disk.faults(|faults| faults.create = false);
    site.disk.set_free(QUIET.sizes.reserve / 4);
    let refused = site.store.snapshot().await.unwrap_err().to_string();
    assert!(refused.contains("free space"), "{refused}");
    site.disk.set_free(u64::MAX);
    assert!(site.store.snapshot().await.unwrap() > 0);
    let unfinished = fs::read_dir(site.root.path().join("journal"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "new")
        .count();
    assert_eq!(unfinished, 0);
}

/// A table that the index does not have: the way to an index that fails.
enum Nowhere {}

impl Table for Nowhere {
    const NAME: &'static str = "nowhere";
    const ID: u8 = 99;
    type Key = [u8; 32];
    type Record = Nothing;
}

#[tokio::test]
async fn a_failing_index_is_told_to_whoever_runs_the_server() {
    let site = tokio::task::spawn_blocking(Site::new).await.unwrap();
    let failed = tokio::spawn({
        let store = site.store.clone();
        async move { store.failed().await }
    });
    let refused = site
        .store
        .write(|tx| tx.put::<Nowhere>(&[0; 32], &Nothing {}))
        .await;
    assert!(refused.is_err());
    assert!(failed.await.unwrap().contains("table 99"));
    let model = site.model.clone();
    let restarted = tokio::task::spawn_blocking(move || site.restarted()).await;
    assert_eq!(restarted.unwrap(), (model.clone(), model));
    assert_eq!(<[u8; 32] as Key>::to_bytes(&[0; 32]).len(), 32);
    assert_eq!(Nothing::VERSION, 1);
}

#[tokio::test]
async fn no_read_waits_for_the_disk() {
    let mut site = tokio::task::spawn_blocking(Site::new).await.unwrap();
    let (release, hold) = std::sync::mpsc::channel();
    site.disk.faults(|faults| faults.hold = Some(hold));
    let store = site.store.clone();
    let write = tokio::task::spawn_blocking(move || model::commit(&store, &vec![(1, Some(8))]));
    // Until the writer is in the sync, and while it is.
    for _ in 0..1000 {
        assert_eq!(model::content(&site.store), site.model);
    }
    assert!(!write.is_finished());
    release.send(()).unwrap();
    write.await.unwrap().unwrap();
    model::apply(&mut site.model, &vec![(1, Some(8))]);
    assert_eq!(model::content(&site.store), site.model);
    let refused: Result<(), StoreError> = site.store.write(|_| Err(StoreError::Stopped)).await;
    assert!(refused.is_err());
}
